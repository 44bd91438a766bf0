"""Charts as plotly figures for the page, in its light colours; DARK has the colour of the dark page for each."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from alibi.reporting import words
from alibi.reporting.chart import BAR_WIDTH, COLOURS, MORE_COLOURS, PARTS, Axis, Panel, Point, Series

TEXT, SOFT, RULE, PAPER = ("#1C1C1C", "#E6E6E3"), ("#595959", "#A9A9A4"), ("#D9D9D4", "#3A3D40"), ("#F6F6F4", "#202224")
DARK = dict([TEXT, SOFT, RULE, PAPER, *COLOURS.values(), *MORE_COLOURS, *(look.colour for _, look in PARTS.values())])
AXIS = {"gridcolor": RULE[0], "linecolor": SOFT[0], "zerolinecolor": SOFT[0], "automargin": True, "fixedrange": True}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": TEXT[0]},
        "margin": {"l": 48, "r": 10, "t": 10, "b": 42},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"bgcolor": PAPER[0], "bordercolor": RULE[0], "font": {"color": TEXT[0]}, "align": "left"},
        "xaxis": AXIS,
        "yaxis": AXIS,
        "dragmode": False,
        "hovermode": "closest",
        "showlegend": False,
    }
)
CURVES = {
    "main": {"mode": "lines+markers", "line": {"width": 2.2}, "marker": {"size": 6}},
    "member": {"mode": "lines", "line": {"width": 0.9}, "opacity": 0.7},
    "plain": {"mode": "lines", "line": {"width": 1.4}},
}


def panel_json(panel: Panel, numbers: Mapping[str, int]) -> dict:
    """A panel for the page, which has the template once. A trace's `meta` holds the numbers of its runs, by which the
    page shows or hides it.

    Args:
        numbers: of the runs, by label.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 270 if panel.title else 380})
    for series in panel.series:
        about = {"meta": [numbers[run] for run in series.runs], "legendgroup": series.label}
        figure.add_traces([trace.update(about) for trace in _traces(series, panel.x)])
    figure.update_xaxes(_axis(panel.x))
    figure.update_yaxes(_axis(panel.y), tickformat=",~g", rangemode="normal")
    for x, text in panel.marks:
        line = {"color": SOFT[0], "width": 1.2, "dash": "dash"}
        figure.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, yref="paper", line=line)
        # On a log axis an annotation is placed by the logarithm, unlike a shape.
        figure.add_annotation(
            x=math.log10(x), y=1, yref="paper", text=text, textangle=-90, xanchor="left", yanchor="top",
            showarrow=False, font={"size": 10, "color": SOFT[0]},
        )  # fmt: skip
    content = figure.to_plotly_json()
    del content["layout"]["template"]
    return {"title": panel.title, "choosable": panel.y.choosable, **content}


def _axis(axis: Axis) -> dict:
    values, texts = zip(*axis.ticks, strict=True) if axis.ticks else (None, None)
    return {"title_text": axis.label, "type": "log" if axis.log else "linear", "tickvals": values, "ticktext": texts}


def _traces(series: Series, x_axis: Axis) -> list[go.Scatter | go.Bar]:
    """A series is one trace, and one more for its band."""
    colour, points = series.look.colour[0], series.points
    x, y = [_rounded(point.x) for point in points], [_rounded(point.y) for point in points]
    if series.kind == "bar":
        return [go.Bar(x=x, y=y, width=BAR_WIDTH, marker={"color": colour}, opacity=0.75, hoverinfo="skip")]
    low, high = ([_rounded((point.interval or (point.y, point.y))[end]) for point in points] for end in (0, 1))
    has_intervals = any(point.interval for point in points)
    shown = go.Scatter(x=x, y=y, name=escape(series.name), **_hover(points, x_axis))
    if series.kind == "dot":
        shown.update(mode="markers", marker={"size": 4, "color": TEXT[0]})
        lengths = {"array": np.subtract(high, y).round(6).tolist(), "arrayminus": np.subtract(y, low).round(6).tolist()}
        shown.error_y = {**lengths, "visible": has_intervals, "thickness": 1, "width": 0, "color": TEXT[0]}
        return [shown]
    shown.update(CURVES[series.kind], line={"color": colour, "dash": series.look.dash[1]})
    shown.marker.update(color=colour, symbol=series.look.marker[1])
    outline = {"x": [*x, *x[::-1]], "y": [*low, *high[::-1]], "fill": "toself", "fillcolor": colour, "opacity": 0.16}
    band = go.Scatter(outline, mode="lines", line={"width": 0}, hoverinfo="skip")
    return [band, shown] if has_intervals else [shown]


def _hover(points: Sequence[Point], x_axis: Axis) -> dict:
    """The box shown for a point."""
    position = f"{x_axis.name} %{{x:,}}<br>" if x_axis.name else ""
    texts = []
    for point in points:
        interval = f" ({' to '.join(map(words.number, point.interval))})" if point.interval else ""
        texts.append("<br>".join(part for part in (words.number(point.y) + interval, escape(point.note)) if part))
    return {"hovertemplate": f"<b>%{{fullData.name}}</b><br>{position}%{{text}}<extra></extra>", "text": texts}


def _rounded(value: float) -> float:
    """As many digits as anyone can read off a chart, to keep the page small."""
    return value if isinstance(value, int) else float(f"{value:.6g}")

"""The report as one HTML page: plotly, figures, tables, style and script inside, nothing fetched from anywhere.

Figures are in the colours of the light page; DARK has the colour of the dark page for each.
"""

import json
import math
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from alibi.analysis import Comparison
from alibi.reporting import report_tables, study_charts, words
from alibi.reporting.chart import BAR_WIDTH, COLOUR_PAIRS, PARTS, Axis, Chart, Look, Panel, Series, looks_of
from alibi.reporting.measure_charts import measure_charts, training_effect_chart
from alibi.reporting.sentences import sentence_table
from alibi.reporting.study_charts import TOKENS
from alibi.reporting.table import Table, plain_cells
from alibi.reporting.task_charts import learning_chart, tasks_chart
from alibi.reporting.task_tables import task_tables
from alibi.results import METRICS

FILES = Path(__file__).parent / "page"
LARGEST_BYTES = 6_000_000
TEXT, SOFT, RULE, PAPER = ("#1C1C1C", "#E6E6E3"), ("#595959", "#A9A9A4"), ("#D9D9D4", "#3A3D40"), ("#F6F6F4", "#202224")
DARK = dict([TEXT, SOFT, RULE, PAPER, *COLOUR_PAIRS, *(look.colour for _, look in PARTS.values())])
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
    "plain": {"mode": "lines+markers", "line": {"width": 1.4}, "marker": {"size": 3}},
}


def render_page(comparison: Comparison) -> str:
    """The page's HTML.

    Raises:
        ValueError: it is larger than 6 MB.
    """
    environment = Environment(loader=FileSystemLoader(FILES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    numbers, looks = {run.label: number for number, run in enumerate(comparison.runs)}, looks_of(comparison)
    page = environment.get_template("page.html").render(
        comparison=comparison,
        looks=looks,
        numbers=numbers,
        parts=PARTS.values(),
        plotly=Markup(get_plotlyjs()),
        data={"figures": _figures(comparison, numbers, looks), "template": TEMPLATE.to_plotly_json(), "dark": DARK},
        metrics=METRICS,
        words=words,
        tables=report_tables,
        sentences=sentence_table(comparison),
        task_tables=task_tables(comparison),
        study_charts=study_charts,
        settings=setting_rows(comparison),
        made_with=made_with(comparison),
    )
    if (size := len(page.encode())) > LARGEST_BYTES:
        raise ValueError(f"the page is {size:,} bytes, and may be {LARGEST_BYTES:,}; name fewer runs or lengths.")
    return page


def _figures(comparison: Comparison, numbers: Mapping[str, int], looks: Mapping[str, Look]) -> list[dict]:
    """Every figure, with the choices (the page's controls, by name) for which the page shows it.

    Args:
        numbers: of the runs, by label.
    """
    found = []

    def add(name: str, chart: Chart, **when: object) -> None:
        panels = [panel_json(panel, numbers) for panel in chart.panels]
        choices = {choice: str(value).lower() for choice, value in when.items()}
        found.append({"chart": name, "when": choices, "panels": panels})

    for number, part in enumerate(comparison.sets):
        for metric in part.metrics:
            for relative in (False, True):
                panel = study_charts.perplexity_panel(part, looks, metric, relative)
                shown = Chart("", "", [panel] if panel.series else [])
                add("perplexity", shown, set=number, unit=metric, relative=relative)
            shown_with = " ".join(map(str, study_charts.sets_with_split(comparison, part)))
            add("split", study_charts.split_chart(part, metric), set=shown_with, unit=metric)
        for length in study_charts.context_lengths(part):
            add("context", study_charts.context_chart(part, looks, length), set=number, context=length)
        for name, chart in measure_charts(part, looks).items():
            add(name, chart, set=number)
        add("cost", study_charts.cost_chart(part, looks), set=number)
    for tokens in TOKENS if comparison.has_origins else TOKENS[:1]:
        add("training", study_charts.training_chart(comparison, tokens == "total"), tokens=tokens)
    add("against-training", training_effect_chart(comparison))
    add("tasks", tasks_chart(comparison))
    add("learning", learning_chart(comparison))
    return [figure for figure in found if figure["panels"]]


def panel_json(panel: Panel, numbers: Mapping[str, int]) -> dict:
    """A panel for the page, which has the template once. A trace's `meta` holds the numbers of its runs, by which the
    page shows or hides it.

    Args:
        numbers: of the runs, by label.
    """
    figure = go.Figure(layout={"template": TEMPLATE, "height": 270 if panel.title else 380})
    for series in panel.series:
        about = {"meta": [numbers[run] for run in series.runs], "legendgroup": series.label}
        figure.add_traces([trace.update(about) for trace in _traces(series, panel.x.label)])
    figure.update_xaxes(_axis(panel.x))
    rangemode = "tozero" if panel.y.from_zero else "normal"
    figure.update_yaxes(_axis(panel.y), tickformat=",~g", rangemode=rangemode)
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
    return {"title": panel.title, **content}


def _axis(axis: Axis) -> dict:
    values, texts = zip(*axis.ticks, strict=True) if axis.ticks else (None, None)
    label = "<br>".join(escape(line) for line in textwrap.wrap(axis.label, 44))
    return {"title_text": label, "type": "log" if axis.log else "linear", "tickvals": values, "ticktext": texts}


def _traces(series: Series, x_label: str) -> list[go.Scatter | go.Bar]:
    """A series is one trace, and one more for its band."""
    colour, points = series.look.colour[0], series.points
    x, y = [_rounded(point.x) for point in points], [_rounded(point.y) for point in points]
    if series.kind == "bar":
        return [go.Bar(x=x, y=y, width=BAR_WIDTH, marker={"color": colour}, opacity=0.75, hoverinfo="skip")]
    low, high = ([_rounded((point.interval or (point.y, point.y))[end]) for point in points] for end in (0, 1))
    has_intervals = any(point.interval for point in points)
    intervals = [f" ({' to '.join(map(words.number, point.interval))})" if point.interval else "" for point in points]
    texts = [words.number(point.y) + interval for point, interval in zip(points, intervals, strict=True)]
    shown = go.Scatter(x=x, y=y, name=escape(series.name), text=texts)
    shown.hovertemplate = f"<b>%{{fullData.name}}</b><br>{x_label}: %{{x:,}}<br>%{{text}}<extra></extra>"
    if series.kind == "dot":
        shown.hovertemplate = "<b>%{fullData.name}</b><br>%{text}<extra></extra>"
        shown.update(mode="markers", marker={"size": 4, "color": TEXT[0]})
        lengths = {"array": np.subtract(high, y).round(6).tolist(), "arrayminus": np.subtract(y, low).round(6).tolist()}
        shown.error_y = {**lengths, "visible": has_intervals, "thickness": 1, "width": 0, "color": TEXT[0]}
        return [shown]
    shown.update(CURVES[series.kind], line={"color": colour, "dash": series.look.dash[1]})
    shown.marker.update(color=colour, symbol=series.look.marker[1])
    outline = {"x": [*x, *x[::-1]], "y": [*low, *high[::-1]], "fill": "toself", "fillcolor": colour, "opacity": 0.16}
    band = go.Scatter(outline, mode="lines", line={"width": 0}, hoverinfo="skip")
    return [band, shown] if has_intervals else [shown]


def _rounded(value: float) -> float:
    """As many digits as anyone can read off a chart, to keep the page small."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def setting_rows(comparison: Comparison) -> tuple[Table, list[tuple[str, str]], list[str]]:
    """(table of the settings that differ, the common ones, labels of the runs whose file has none)."""
    every = {run.label: run.result.checkpoint.settings for run in comparison.runs}
    stated = {label: {k: _shown(v) for k, v in settings.items()} for label, settings in every.items() if settings}
    names = sorted({name for settings in stated.values() for name in settings})
    values = {name: [settings.get(name, words.UNKNOWN) for settings in stated.values()] for name in names}
    differing = [name for name in names if len(set(values[name])) > 1]
    rows = [plain_cells(*row) for row in zip(stated, *(values[name] for name in differing), strict=True)]
    table = Table("settings", "Settings that differ", ["run", *differing], rows if differing else [])
    return table, [(n, values[n][0]) for n in names if n not in differing], [run for run in every if run not in stated]


def made_with(comparison: Comparison) -> list[tuple[list[str], list[tuple[str, str]]]]:
    """(rows by run, set and length, machine and versions) for each way in which rows were made."""
    found: dict[str, list[str]] = defaultdict(list)
    for part in (*comparison.sets, *comparison.tasks):
        for run in part.runs:
            for length, row in run.result.rows.items():
                way = row.get("made_with") or run.result.content.made_with or {}  # older versions state it once a file
                found[json.dumps(way, sort_keys=True)].append(f"{run.label}, {part.title}: {length}")
    return [
        (rows if len(found) > 1 else ["every row"], [(name, _shown(value)) for name, value in json.loads(way).items()])
        for way, rows in found.items()
    ]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)

"""Charts as files for a paper: PNG, SVG and PDF at a column's or a page's width, the same bytes for the same data."""

import logging
import os
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogFormatter, NullLocator

from alibi.reporting.chart import BAR_WIDTH, Chart, Panel, Series

# One and two columns of a usual two-column paper, in inches.
COLUMN, PAGE = 3.4, 7.0
STYLE = Path(__file__).parent / "paper.mplstyle"
CURVES = {
    "main": {"lw": 1.2, "ms": 2.8},
    "member": {"lw": 0.5, "alpha": 0.6, "marker": ""},
    "plain": {"lw": 0.9, "alpha": 0.85, "marker": ""},
}
# By default every file states its date.
NO_DATE = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def write_figure(chart: Chart, folder: Path) -> list[Path]:
    """Write STEM.png, .svg and .pdf into `folder`; returns their paths, none if the chart has no panel."""
    if not chart.panels:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every table of a font
    paths = [folder / f"{chart.stem}.{ending}" for ending in NO_DATE]
    with matplotlib.rc_context({"svg.hashsalt": chart.stem}, STYLE):
        figure = _draw(chart)
        # Lay out once instead of once for each file.
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
        for path, (ending, metadata) in zip(paths, NO_DATE.items(), strict=True):
            unfinished = path.with_name(f".{path.name}.{os.getpid()}")
            figure.savefig(unfinished, format=ending, metadata=metadata)
            os.replace(unfinished, path)  # another process may draw the same figure
    return paths


def _draw(chart: Chart) -> Figure:
    rows = -(-len(chart.panels) // chart.columns)
    figure = Figure(figsize=(COLUMN if chart.columns == 1 else PAGE, 2.8 if rows == 1 else 0.5 + 1.9 * rows))
    grid = figure.subplots(rows, chart.columns, squeeze=False).ravel()
    for number, (axes, panel) in enumerate(zip(grid, chart.panels, strict=False)):
        _draw_panel(axes, panel)
        axes.set_title(_plain_text(panel.title or (chart.title if number == 0 else "")))
        if number + chart.columns < len(chart.panels):
            axes.set_xlabel("")
        if number % chart.columns:
            axes.set_ylabel("")
    for axes in grid[len(chart.panels) :]:
        axes.set_visible(False)
    _add_legend(figure, [series for panel in chart.panels for series in panel.series])
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for series in panel.series:
        _draw_series(axes, series)
    for x, text in panel.marks:
        axes.axvline(x, color="0.6", lw=0.8, ls="--", zorder=0)
        axes.annotate(
            text, (x, 0.98), (3, 0), ("data", "axes fraction"), "offset points", rotation=90, va="top",
            fontsize=6, color="0.4", in_layout=False,
        )  # fmt: skip
    axes.set_xlabel(panel.x.label)
    axes.set_ylabel(panel.y.label)
    if panel.x.log:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}" if panel.x.log else EngFormatter(sep=""))
    if ticks := panel.x.ticks:
        axes.set_xticks(*zip(*ticks, strict=True), rotation=45 if len(ticks) > 7 else 0)
    if panel.y.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))


def _draw_series(axes: Axes, series: Series) -> None:
    points, colour = series.points, series.look.colour[0]
    x, y = [point.x for point in points], [point.y for point in points]
    bounded = [point for point in points if point.interval]
    edges = [p.x for p in bounded], [p.interval[0] for p in bounded], [p.interval[1] for p in bounded]
    if series.kind == "bar":
        axes.bar(x, y, BAR_WIDTH, color=colour, alpha=0.75)
        axes.axhline(0, color="0.3", lw=0.6)
        axes.grid(visible=False, axis="x")
    elif series.kind == "dot":
        axes.vlines(*edges, lw=0.7, color="black")
        axes.plot(x, y, "o", ms=1.4, color="black")
    else:
        if bounded:
            axes.fill_between(*edges, color=colour, alpha=0.15, lw=0)
        axes.plot(x, y, **_curve_style(series))


def _curve_style(series: Series) -> dict:
    look = series.look
    return {"color": look.colour[0], "ls": look.dash[0], "marker": look.marker[0], **CURVES[series.kind]}


def _add_legend(figure: Figure, every: list[Series]) -> None:
    """Under the axes, where it hides no curve."""
    handles = {
        _plain_text(series.label): Line2D([], [], **_curve_style(series))
        if series.kind in CURVES
        else Patch(color=series.look.colour[0], alpha=0.75)
        for series in every
    }
    columns = min(3, len(handles)) if max(map(len, handles)) < 25 else 1
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


def _plain_text(name: str) -> str:
    """A name that matplotlib shows as it is.

    It would read a pair of dollars as mathematics, and leave a label that begins with _ out of the legend.
    """
    name = name if len(name) <= 60 else f"{name[:40]}…{name[-19:]}"
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")

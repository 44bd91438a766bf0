"""Charts as files for a paper: PNG, SVG and PDF at a column's or a page's width, the same bytes for the same data."""

import logging
import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogFormatter, NullLocator

from alibi.reporting.chart import BAR_WIDTH, Chart, Panel, Series

# One and two columns of a usual two-column paper, in inches.
COLUMN, PAGE = 3.3, 6.8
PANEL = 2.2  # least width of a panel
STYLE = Path(__file__).parent / "paper.mplstyle"
CURVES = {
    "main": {"lw": 1.2, "ms": 2.8},
    "member": {"lw": 0.5, "alpha": 0.6, "marker": ""},
    "plain": {"lw": 0.9, "alpha": 0.85, "ms": 1.8},
}
# Of the legend, in inches: the height of a line, the mean width of a letter, and a handle with its spaces.
LINE, LETTER, HANDLE = 0.14, 0.062, 0.5
# By default every file states its date.
NO_DATE = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def write_figure(
    chart: Chart, folder: Path, endings: Sequence[str] = ("png", "svg", "pdf"), width: float | None = None
) -> list[Path]:
    """Write a chart as STEM.png, .svg and .pdf into `folder`; returns their paths, none if the chart has no panel.

    Args:
        width: in inches; None: of a page if panels stand side by side, else of a column.
    """
    if not chart.panels:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every table of a font
    paths = [folder / f"{chart.stem}.{ending}" for ending in endings]
    with matplotlib.rc_context({"svg.hashsalt": chart.stem}, STYLE):
        figure = _draw(chart, width or (COLUMN if chart.columns == 1 else PAGE))
        # Lay out once instead of once for each file.
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
        for path, ending in zip(paths, endings, strict=True):
            unfinished = path.with_name(f".{path.name}.{os.getpid()}")
            figure.savefig(unfinished, format=ending, metadata=NO_DATE[ending])
            os.replace(unfinished, path)  # another process may draw the same figure
    return paths


def _draw(chart: Chart, width: float) -> Figure:
    columns = min(chart.columns, max(1, int(width / PANEL)))
    rows = -(-len(chart.panels) // columns)
    entries, legend_columns = _legend([series for panel in chart.panels for series in panel.series], width)
    lines = sum(text.count("\n") + 1 for text in entries) / legend_columns
    height = (2.4 if rows == 1 else 0.2 + 1.9 * rows) + LINE * max(3, lines)
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (axes, panel) in enumerate(zip(grid, chart.panels, strict=False)):
        _draw_panel(axes, panel)
        axes.set_title(_plain_text(panel.title))
        if number + columns < len(chart.panels):
            axes.set_xlabel("")
        if number % columns and panel.y == chart.panels[number - 1].y:
            axes.set_ylabel("")
    for axes in grid[len(chart.panels) :]:
        axes.set_visible(False)
    figure.suptitle("\n".join(textwrap.wrap(_plain_text(chart.title), int(width / LETTER))))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=legend_columns)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for series in panel.series:
        _draw_series(axes, series)
    for x, text in panel.marks:
        axes.axvline(x, color="0.6", lw=0.8, ls="--", zorder=0)
        axes.annotate(
            text, (x, 0.98), (3, 0), ("data", "axes fraction"), "offset points", rotation=90, va="top",
            color="0.4", in_layout=False,
        )  # fmt: skip
    axes.set_xlabel(panel.x.label)
    axes.set_ylabel("\n".join(textwrap.wrap(panel.y.label, 28)))
    if panel.y.from_zero:
        axes.set_ylim(0, 1.05 * max(point.y for series in panel.series for point in series.points) or 1)
    if not panel.y.log:
        axes.yaxis.set_major_formatter(EngFormatter(sep="") if panel.y.from_zero else "{x:g}")
    if panel.x.log:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}" if panel.x.log else EngFormatter(sep=""))
    if ticks := panel.y.ticks:
        axes.set_yticks(*zip(*ticks, strict=True))
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


def _legend(every: list[Series], width: float) -> tuple[dict[str, Artist], int]:
    """Entries under the axes, where they hide no curve, long ones wrapped; and the number of columns that fit."""
    room = int((width - HANDLE) / LETTER)
    entries = {
        "\n".join(textwrap.wrap(_plain_text(series.label), room, drop_whitespace=False)): (
            Line2D([], [], **_curve_style(series))
            if series.kind in CURVES
            else Patch(color=series.look.colour[0], alpha=0.75)
        )
        for series in every
    }
    longest = max(len(line) for text in entries for line in text.split("\n"))
    most = max(1, min(len(entries), int(width / (HANDLE + LETTER * longest))))
    rows = math.ceil(len(entries) / most)
    return entries, math.ceil(len(entries) / rows)


def _plain_text(name: str) -> str:
    """A name that matplotlib shows as it is.

    It would read a pair of dollars as mathematics, and leave a label that begins with _ out of the legend.
    """
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")

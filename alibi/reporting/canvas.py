"""What every figure shares: a column's width, small type, length axes, and files that come out alike each time."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from alibi.reporting import words
from alibi.reporting.lines import Line

# One and two columns of a usual two-column paper, in inches.
COLUMN, PAGE = 3.4, 7.0
SMALL = 7
# Beyond this ratio of largest to smallest value a linear axis hides the small ones.
LOG_AXIS_FROM = 3.0


def new_figure(width: float, height: float) -> Figure:
    """A figure whose text is readable when it is printed at its own size."""
    return Figure(figsize=(width, height), dpi=300, layout="constrained")


def plain(axes) -> None:
    """Type sizes, a light grid, and no frame where no axis is."""
    axes.tick_params(labelsize=SMALL, length=2.5)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_fontsize(SMALL + 0.5)
    axes.grid(alpha=0.25, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def text_of(name: str) -> str:
    """A name as matplotlib shows it.

    A pair of dollars would be read as mathematics, and a label that begins with _ left out of the legend.
    """
    name = name if len(name) <= 60 else f"{name[:40]}…{name[-19:]}"
    return name.replace("$", r"\$").replace("_", " _", 1) if name.startswith("_") else name.replace("$", r"\$")


def measured(lines: Sequence[Line]) -> str:
    """A title: the text and the protocol that all lines share."""
    first = lines[0].results[0].content
    return text_of(f"{words.text(first['data'])}, {first['protocol']['name']}")


def log_lengths(axes, lengths: Sequence[int]) -> None:
    """A log2 x axis with a tick at each length that was evaluated."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sorted(lengths)))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    if len(lengths) > 7:
        axes.tick_params(axis="x", rotation=45)


def log_values(axes, values: Sequence[float]) -> None:
    """A log y axis where the values span much."""
    span = max(values) / min(values) if min(values) > 0 else 0
    if span > LOG_AXIS_FROM:
        axes.set_yscale("log")
        subs = (1, 1.5, 2, 3, 5, 7) if span <= 20 else (1, 2, 5) if span <= 1e4 else (1,)
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def mark_training_lengths(axes, lines: Iterable[Line]) -> None:
    for seq_len in sorted({line.seq_len for line in lines} - {None}):
        axes.axvline(seq_len, color="0.6", lw=0.8, ls="--", zorder=0)
        note = axes.annotate(
            f"trained at {seq_len}", (seq_len, 0.98), (3, 0), ("data", "axes fraction"), "offset points",
            rotation=90, va="top", fontsize=SMALL - 1, color="0.4",
        )  # fmt: skip
        note.set_in_layout(False)


def draw_line(axes, line: Line, curves: Sequence[Sequence[tuple]], mean: Sequence[tuple], markers: bool = True) -> None:
    """A line's runs thin and their mean thick; one run alone is the thick line.

    Args:
        curves: points (x, y) of each run.
        mean: points of the mean over the seeds.
    """
    colour = line.look.colour[0]
    if len(curves) > 1:
        for curve in curves:
            axes.plot(*zip(*curve, strict=True), lw=0.5, alpha=0.6, color=colour, ls=line.look.dash[0])
    style = {"marker": line.look.marker[0], "ms": 2.8} if markers else {}
    axes.plot(
        *(zip(*mean, strict=True) if mean else ((), ())),
        lw=1.2, color=colour, ls=line.look.dash[0], label=text_of(line.label), **style,
    )  # fmt: skip


def legend(figure: Figure, axes) -> None:
    """Under the axes, where it hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(3, len(labels)) if max(map(len, labels)) < 25 else 1
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL - 0.5,
        handlelength=1.8, labelspacing=0.3, columnspacing=1.2, borderpad=0.2,
    )  # fmt: skip


def save(figure: Figure, stem: Path) -> list[Path]:
    """PNG, SVG and PDF. The same data gives the same file, and text stays text."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    dates = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in dates]
    # Laid out once, not once a file.
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    # Type 42 keeps TrueType text whole, which publishers ask for.
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every table of a font
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": stem.name, "pdf.fonttype": 42}):
        for path in paths:
            ending, beside = path.suffix[1:], path.with_name(f".{path.name}.{os.getpid()}")
            figure.savefig(beside, format=ending, metadata=dates[ending])
            os.replace(beside, path)  # another process may draw the same figure
    return paths

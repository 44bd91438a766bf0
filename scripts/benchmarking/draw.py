"""The benchmark's rows as a table and as figures: tokens a second, and memory, against length."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from tabulate import tabulate

from alibi.config.known import choices
from benchmarking.cases import DENSE, LIMIT, TORCH

PANELS = {"tokens_per_sec": "tokens per second", "peak_memory_mib": "peak memory, MiB"}
COLOURS = colormaps["tab10"].colors


def table(rows: Sequence[dict], style: str) -> str:
    """One line a row; times over what they are held against as medians of ratios within rounds."""
    heads = ["section", "length", "precision", "case", "tokens/s", "peak MiB", "/ none", "/ products", "/ torch"]
    lines = []
    for row in rows:
        over = row.get("time_over", {})
        lines.append(
            [
                row["section"],
                row["length"],
                row["precision"],
                row["name"],
                f"{row['tokens_per_sec']:,.0f}",
                f"{row['peak_memory_mib']:,.0f}" if "peak_memory_mib" in row else "",
                *(f"{over[name]:.3f}" if name in over else "" for name in ("none", LIMIT, TORCH)),
            ]
        )
    right = ["left", "right", "left", "left", *["right"] * 5]
    return tabulate(lines, heads, style, colalign=right, disable_numparse=True)


def draw(rows: Sequence[dict], folder: Path, machine: str) -> list[Path]:
    """A figure a section and precision: speed, and memory where it was measured; returns the files."""
    paths = []
    for section, precision in dict.fromkeys((row["section"], row["precision"]) for row in rows):
        chosen = [row for row in rows if (row["section"], row["precision"]) == (section, precision)]
        panels = [(field, label) for field, label in PANELS.items() if any(field in row for row in chosen)]
        figure = Figure(figsize=(3 + 4 * len(panels), 4.5), layout="constrained")
        for axis, (field, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _panel(axis, chosen, field)
            axis.set_ylabel(label)
        figure.suptitle(f"{section}, {precision}\n{machine}", fontsize="small")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False)
        for path in figure_paths(folder, section, precision):
            figure.savefig(path, dpi=150)
            paths.append(path)
    return paths


def figure_paths(folder: Path, section: str, precision: str) -> list[Path]:
    """The files of one figure."""
    return [folder / f"{section}-{precision}.{suffix}" for suffix in ("png", "svg")]


def _panel(axis: Axes, rows: Sequence[dict], field: str) -> None:
    """One line a case: ours whole, other projects' dashed, the limit dotted."""
    ours = cycle(COLOURS)
    theirs = cycle(zip(COLOURS, "sDv^<>PX*h", strict=True))
    for name in dict.fromkeys(row["name"] for row in rows):
        points = sorted((row["length"], row[field]) for row in rows if row["name"] == name and field in row)
        if name in (LIMIT, TORCH):
            look = {"color": "black", "linestyle": ":", "marker": "."}
        elif name.removesuffix(DENSE) in choices("model"):
            look = {"color": next(ours), "marker": "o"}
        else:
            colour, marker = next(theirs)
            look = {"color": colour, "linestyle": "--", "marker": marker}
        if points:
            axis.plot(*zip(*points, strict=True), markersize=4, linewidth=1.2, label=name, **look)
    lengths = sorted({row["length"] for row in rows})
    axis.set(xscale="log", yscale="log", xlabel="length, tokens")
    axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.grid(True, which="major", linewidth=0.4)

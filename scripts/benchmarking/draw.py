"""The benchmark's rows as a table and as figures: tokens a second, and memory, against length."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from tabulate import tabulate

from benchmarking.cases import LIMIT, TORCH


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


def draw(rows: Sequence[dict], folder: Path) -> list[Path]:
    """A figure a section and precision, speed beside memory; returns the files."""
    paths = []
    for section, precision in dict.fromkeys((row["section"], row["precision"]) for row in rows):
        chosen = [row for row in rows if (row["section"], row["precision"]) == (section, precision)]
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        axes = figure.subplots(1, 2)
        for axis, field, label in zip(
            axes, ("tokens_per_sec", "peak_memory_mib"), ("tokens per second", "peak memory, MiB"), strict=True
        ):
            for name in dict.fromkeys(row["name"] for row in chosen):
                points = sorted((r["length"], r[field]) for r in chosen if r["name"] == name and field in r)
                if points:
                    axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
            axis.set(xscale="log", yscale="log", xlabel="length, tokens", ylabel=label)
            axis.grid(True, which="major", linewidth=0.4)
        figure.suptitle(f"{section}, {precision}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False)
        for suffix in ("png", "svg"):
            paths.append(folder / f"{section}-{precision}.{suffix}")
            figure.savefig(paths[-1], dpi=150)
    return paths

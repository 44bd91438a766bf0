"""Perplexity against length: log2 x axis, one line a run, coloured by method, the training length marked."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from alibi.reporting.results import Result, told_apart

# Okabe and Ito's colours, which the colour-blind tell apart; a method keeps its own in every figure.
COLOURS = {"alibi": "#0072B2", "sinusoidal": "#D55E00", "rotary": "#009E73", "t5": "#CC79A7", "none": "#555555"}
MORE_COLOURS = ("#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*"
# Beyond this ratio of largest to smallest perplexity a linear axis hides the small ones.
LOG_AXIS_FROM = 3.0


def draw_perplexity(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write perplexity-<protocol>.png and .svg into `folder`; returns their paths, none if no row has a number."""
    curves = [(r, [(n, row["perplexity"]) for n, row in r.rows.items() if "error" not in row]) for r in results]
    curves = [(r, points) for r, points in curves if points]
    if not curves:
        return []
    figure = Figure(figsize=(6.4, 4.2), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    methods = list(dict.fromkeys(r.method for r, _ in curves))
    spare = iter(MORE_COLOURS * len(methods))
    colours = {method: COLOURS.get(method) or next(spare) for method in methods}
    drawn: dict[str, int] = {}
    for result, points in curves:
        marker = MARKERS[drawn.get(result.method, 0) % len(MARKERS)]
        drawn[result.method] = drawn.get(result.method, 0) + 1
        label = _label(result, [r for r, _ in curves])
        axes.plot(*zip(*points, strict=True), marker=marker, ms=4, lw=1.6, color=colours[result.method], label=label)
    for seq_len in sorted({r.seq_len for r, _ in curves}):
        axes.axvline(seq_len, color="0.6", lw=1, ls="--", zorder=0)
        note = axes.annotate(
            f"trained at {seq_len}", (seq_len, 0.98), (4, 0), ("data", "axes fraction"), "offset points",
            rotation=90, va="top", fontsize=7, color="0.4",
        )  # fmt: skip
        note.set_in_layout(False)
    _set_axes(axes, curves)
    axes.legend(frameon=False, fontsize=8)
    return _save(figure, folder / f"perplexity-{curves[0][0].protocol}")


def _label(result: Result, results: Sequence[Result]) -> str:
    """The method, and what else tells this run from the others."""
    parts = [told_apart(results)[result.path]]
    for name, value in (("L", result.seq_len), ("seed", result.seed), ("step", result.step)):
        if len({{"L": r.seq_len, "seed": r.seed, "step": r.step}[name] for r in results}) > 1:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _set_axes(axes, curves: list[tuple[Result, list[tuple[int, float]]]]) -> None:
    lengths = sorted({length for _, points in curves for length, _ in points})
    values = [value for _, points in curves for _, value in points]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    if len(lengths) > 8:
        axes.tick_params(axis="x", rotation=45)
    if max(values) / min(values) > LOG_AXIS_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    data = curves[0][0].content["data"]
    protocol = curves[0][0].content["protocol"]["name"]
    axes.set_xlabel("length of evaluation (tokens)")
    axes.set_ylabel("perplexity per token")
    axes.set_title(f"{data['name']} {data['split']}, {protocol}", fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, stem: Path) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
    # Text stays text, and the same data gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": stem.name}):
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths

"""The figures of scripts/show_position.py: bias, turn and attention against distance, a line for each head.

Legend: H heads, L queries, M keys, N distances from 0.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, PercentFormatter
from torch import Tensor

from alibi.reporting.matplotlib_figures import NO_DATE, STYLE
from showing.attention import AttentionByDistance

ENDINGS = ("png", "svg")
LEAST_WEIGHT = 1e-7  # the lowest weight that the figure of attention shows
HIDDEN = "0.85"  # grey of what a query does not see
DASHES = ("-", "--", "-.")


@dataclass(frozen=True)
class Shown:
    """What there is to see of one layer.

    Attributes:
        name, where: the second and third line of the title.
        seq_len: the training length.
        windows: how many keys each head sees; None: all.
        alike: the bias at a distance is the same for all queries.
        turn_HN: None: nothing is turned.
        attention: None without a run.
    """

    name: str
    where: str
    seq_len: int
    windows: list[int | None]
    bias_HLM: Tensor
    bias_HN: Tensor
    alike: bool
    turn_HN: Tensor | None = None
    attention: AttentionByDistance | None = None

    @property
    def length(self) -> int:
        return self.bias_HN.shape[1]

    @property
    def no_bias(self) -> bool:
        """Whether nothing but 0 is added to the scores of keys that are seen."""
        return bool((self.bias_HN.where(self.bias_HN > -math.inf, 0.0) == 0).all())

    def figures(self) -> dict[str, Callable[["Shown"], Figure]]:
        """Those that say something of this layer, by the stem of their files."""
        nothing = self.no_bias and self.alike and not self.bias_HN.isinf().any()
        drawn = {} if nothing and self.turn_HN is not None else {"bias": draw_bias}
        drawn |= {"turn": draw_turn} if self.turn_HN is not None else {}
        return drawn | ({"attention": draw_attention} if self.attention is not None else {})


def draw(shown: Shown, folder: Path) -> list[Path]:
    """Write the figures, remove those of an earlier call that this layer does not have, and return the files."""
    written, drawn = [], shown.figures()
    for stem in ("bias", "turn", "attention"):
        paths = {ending: folder / f"{stem}.{ending}" for ending in ENDINGS}
        if stem not in drawn:
            for path in paths.values():
                path.unlink(missing_ok=True)
            continue
        with matplotlib.rc_context({"svg.hashsalt": stem, "figure.dpi": 150}, STYLE):
            figure = drawn[stem](shown)
            for ending, path in paths.items():
                unfinished = path.with_name(f".{path.name}.{os.getpid()}")
                figure.savefig(unfinished, format=ending, metadata=NO_DATE[ending])
                os.replace(unfinished, path)
        written += paths.values()
    return written


def draw_bias(shown: Shown) -> Figure:
    """Against distance, linear and logarithmic; and query by key for one head, where the distance does not say all."""
    about = "nothing is added to the scores" if shown.no_bias else "what is added to the score of a key"
    figure, axes = _figure(shown, f"Bias: {about}", 2 if shown.alike else 3)
    lines = shown.bias_HN.where(shown.bias_HN > -math.inf, math.nan).numpy()
    for axis, log in zip(axes, (False, True), strict=False):
        _distance_axis(axis, shown, log)
        _lines(axis, lines, log)
        if shown.no_bias:
            axis.set(ylim=(-1, 1), yticks=[0])
    axes[0].set_ylabel("bias, nats" if shown.alike or shown.no_bias else "bias, nats, mean over the queries")
    if not shown.alike:
        _matrix(figure, axes[2], shown)
    _legend(figure, lines, [f", {_keys(window)}" for window in shown.windows] if len(set(shown.windows)) > 1 else None)
    return figure


def draw_turn(shown: Shown) -> Figure:
    figure, axes = _figure(shown, "Turn: score of the last query and keys equal to it (all ones)", 2)
    for axis, log in zip(axes, (False, True), strict=True):
        _distance_axis(axis, shown, log)
        axis.axhline(0, color="0.6", lw=0.6)
        axis.axhline(1, color="0.4", lw=1, ls="--", label="without the turn")
        _lines(axis, shown.turn_HN.numpy(), log)
    axes[0].set_ylabel("score, 1 without the turn")
    _legend(figure, shown.turn_HN.numpy())
    return figure


def draw_attention(shown: Shown) -> Figure:
    attention, uniform = shown.attention, AttentionByDistance.uniform(shown.length)
    figure, axes = _figure(shown, f"Attention by distance, mean over {attention.num_queries:,} queries of text", 2)
    weights = attention.weight_HN.numpy()
    for axis, one, lines in (
        (axes[0], uniform.weight_HN[0], np.where(weights > 0, weights, math.nan)),
        (axes[1], uniform.weight_HN[0].cumsum(0), weights.cumsum(1)),
    ):
        _distance_axis(axis, shown, True)
        axis.plot(range(shown.length), one.numpy(), color="0.4", lw=1, ls="--", label="uniform over\nall keys")
        _lines(axis, lines, True)
    axes[0].set(yscale="log", ylabel="weight of the key at this distance")
    least = min(weights[weights > 0].min(), uniform.weight_HN.min().item())
    axes[0].set_ylim(max(LEAST_WEIGHT, 0.5 * least), 1.5)
    axes[1].set(ylim=(0, 1.03), ylabel="share of the weight up to this distance")
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure, weights)
    return figure


def _figure(shown: Shown, about: str, panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(1.3 + 3 * panels, 3.5))
    name = shown.name.replace("$", r"\$")  # a pair would be mathematics
    figure.suptitle(f"{about}\n{name}\n{shown.where}")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _look(head: int, num_heads: int) -> dict:
    """Colours from dark to light in the order of heads, and neighbours with different dashes."""
    colour = colormaps["viridis"](0.88 * head / max(1, num_heads - 1))  # its lightest would be lost on white
    return {"color": colour, "ls": DASHES[head % len(DASHES)], "lw": 1.2}


def same_lines(lines_HN: np.ndarray) -> dict[int, list[int]]:
    """Heads that have the same line, by the first of them."""
    by_line: dict[bytes, list[int]] = {}
    for head, line in enumerate(lines_HN):
        by_line.setdefault(line.tobytes(), []).append(head)
    return {heads[0]: heads for heads in by_line.values()}


def _lines(axis: Axes, lines_HN: np.ndarray, log: bool) -> None:
    """One for each head, heads with the same line together; a bar where a line ends because no key is seen farther."""
    for head in same_lines(lines_HN):
        line, look = lines_HN[head], _look(head, len(lines_HN))
        dots = {"marker": "o", "ms": 2.2, "markevery": _powers(len(line) - 1)} if log else {}
        axis.plot(range(len(line)), line, **look, **dots)
        (seen,) = np.isfinite(line).nonzero()
        if len(seen) and seen[-1] < len(line) - 1:
            axis.plot(seen[-1], line[seen[-1]], color=look["color"], marker="|", ms=9, mew=1.5)


def _legend(figure: Figure, lines_HN: np.ndarray, more: list[str] | None = None) -> None:
    """Heads, then what else has a label."""
    entries = {}
    for head, heads in same_lines(lines_HN).items():
        label = heads_label(heads, len(lines_HN)) + (more[head] if more else "")
        entries[label] = Line2D([], [], **_look(head, len(lines_HN)))
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), loc="outside right center", ncols=-(-len(entries) // 17))


def heads_label(heads: list[int], num_heads: int) -> str:
    if len(heads) == num_heads:
        return "all heads"
    if len(heads) > 1 and heads[-1] - heads[0] == len(heads) - 1:
        return f"heads {heads[0]}–{heads[-1]}"
    return f"head{'s' if len(heads) > 1 else ''} {', '.join(map(str, heads))}"


def _keys(window: int | None) -> str:
    return "all keys" if window is None else f"{window:,} key{'s' if window > 1 else ''}"


def _powers(last: int) -> list[int]:
    """0, 1, 2, 4, ... up to `last`."""
    return [0, *(2**power for power in range(last.bit_length()))]


def _distance_axis(axis: Axes, shown: Shown, log: bool) -> None:
    """Distances from 0; on a logarithmic axis 0 stands apart. Marks the window and the training length."""
    last = shown.length - 1
    if log:
        axis.set_xscale("symlog", base=2, linthresh=1)
        ticks = _powers(max(1, last))
        axis.set_xticks(ticks, [f"{tick}" for tick in ticks], rotation=45 if len(ticks) > 8 else 0)
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlim(-0.15 if log else -0.02 * last, max(1, last) * (1.15 if log else 1.02))
    axis.set_xlabel("distance from query to key, tokens" + (" (log)" if log else ""))
    if len(set(shown.windows)) == 1 and (window := shown.windows[0]) is not None and window <= last:
        seen = ": sinks alone" if shown.bias_HN[0, window] > -math.inf else ""
        label = f"beyond the window\nof {window:,}{seen}"
        axis.axvspan(window, axis.get_xlim()[1], color=HIDDEN, lw=0, zorder=0, label=label)
    if shown.seq_len <= last:
        axis.axvline(shown.seq_len, color="0.4", lw=1, ls=":", zorder=1, label=f"training\nlength {shown.seq_len:,}")


def _matrix(figure: Figure, axis: Axes, shown: Shown) -> None:
    """Query by key, of the head whose bias differs most between queries at the same distance."""
    bias_HLM = shown.bias_HLM.numpy()
    head = max(range(len(bias_HLM)), key=lambda h: _spread(bias_HLM[h]))
    colours = colormaps["viridis"].with_extremes(bad=HIDDEN)
    image = axis.imshow(np.ma.masked_invalid(bias_HLM[head]), cmap=colours, interpolation="nearest")
    which = "all heads" if len(same_lines(bias_HLM)) == 1 else f"head {head}, which varies most"
    axis.set(xlabel="key, position", ylabel="query, position", title=f"{which}; grey: hidden")
    axis.grid(False)
    if not shown.no_bias:
        figure.colorbar(image, ax=axis, shrink=0.8, label="bias, nats")


def _spread(bias_LM: np.ndarray) -> float:
    """The mean over distances of the standard deviation between queries."""
    rows = (np.diagonal(bias_LM, -distance) for distance in range(len(bias_LM)))
    return float(np.mean([row[seen].std() if (seen := np.isfinite(row)).any() else 0.0 for row in rows]))

"""What a chart is: panels of series over two axes, and how lines look, on paper and on the page.

matplotlib_figures and page draw it; neither adds data.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from alibi.analysis import Comparison

# Spacing and width of bars that share an x position.
BAR_STEP, BAR_WIDTH = 0.27, 0.25

# Okabe and Ito's colours, which colour-blind readers can tell apart; with each a lighter one for dark pages.
COLOURS = {
    "alibi": ("#0072B2", "#56B4E9"),
    "sinusoidal": ("#D55E00", "#F28E4E"),
    "rotary": ("#009E73", "#2FC79B"),
    "t5": ("#CC79A7", "#E6A3C8"),
    "none": ("#555555", "#B5B5B5"),
}
# For other methods: the rest of theirs, and Paul Tol's muted ones.
MORE_COLOURS = (
    ("#E69F00", "#F2B84B"), ("#56B4E9", "#9AD4F5"), ("#332288", "#8C7FE0"), ("#117733", "#4FB872"),
    ("#999933", "#CFCF6B"), ("#000000", "#FFFFFF"),
)  # fmt: skip
COLOUR_PAIRS = (*COLOURS.values(), *MORE_COLOURS)
# No two lines have the same marker and dash, so that they differ in print: matplotlib's name, plotly's, and SVG's
# (a character, the lengths of strokes and gaps).
MARKERS = (
    ("o", "circle", "●"), ("s", "square", "■"), ("D", "diamond", "◆"), ("^", "triangle-up", "▲"),
    ("v", "triangle-down", "▼"), ("X", "x", "✖"), ("P", "cross", "✚"), ("*", "star", "★"),
)  # fmt: skip
DASHES = (("-", "solid", "none"), ("--", "dash", "6 3"), (":", "dot", "2 2"), ("-.", "dashdot", "6 2 2 2"))


@dataclass(frozen=True)
class Look:
    """A (light, dark) colour, and (matplotlib, plotly, SVG) names of marker and dash."""

    colour: tuple[str, str]
    marker: tuple[str, str, str] = MARKERS[0]
    dash: tuple[str, str, str] = DASHES[0]


# The two parts of a change with length, and their sum: (name, look).
PARTS = {
    "longer_context": ("longer context", Look(("#0072B2", "#56B4E9"))),
    "early_tokens": ("early tokens", Look(("#E69F00", "#F2B84B"))),
    "whole": ("whole change", Look(("#555555", "#B5B5B5"))),
}


class Point(NamedTuple):
    """One value, and its interval where it has one."""

    x: float
    y: float
    interval: Sequence[float] | None = None


@dataclass(frozen=True)
class Series:
    """
    Attributes:
        label: the legend's entry, a line or a part of a split; series that share it share the entry.
        name: whose points these are: a run, or the mean of several.
        runs: labels of the runs it was made from. The page hides it unless all of them are chosen.
        kind: "main" has markers; "member" is thin, one of several seeds or training loss; "plain" is thin;
            "bar" and "dot" stand at positions 0, 1, ... of the x axis.
    """

    label: str
    name: str
    runs: tuple[str, ...]
    points: list[Point]
    look: Look
    kind: Literal["main", "member", "plain", "bar", "dot"]


@dataclass(frozen=True)
class Axis:
    """
    Attributes:
        from_zero: a linear axis that begins at zero, for quantities of which a fraction of the axis is a fraction.
        ticks: (value, text), or None for the drawing library's own.
    """

    label: str
    log: bool = False
    from_zero: bool = False
    ticks: list[tuple[float, str]] | None = None


@dataclass(frozen=True)
class Panel:
    """
    Attributes:
        marks: training lengths, vertical lines with a text.
    """

    x: Axis
    y: Axis
    series: list[Series]
    title: str = ""
    marks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Chart:
    """
    Attributes:
        stem: of its files.
    """

    stem: str
    title: str
    panels: list[Panel]
    columns: int = 1


def looks_of(comparison: Comparison) -> dict[str, Look]:
    """By label of the line: the colour of its method, and a marker and dash that no other line has.

    An adaptation has its own dash, the same for every method; beside one method alone, its own colour too.
    """
    lines = {run.line: run.result for part in (*comparison.sets, *comparison.tasks) for run in part.runs}
    adapted = list(dict.fromkeys(result.adaptation for result in lines.values() if result.adaptation))
    methods = {result.checkpoint.model for result in lines.values()}
    looks: dict[str, Look] = {}
    for place, (label, result) in enumerate(lines.items()):
        marker, turn = place % len(MARKERS), place // len(MARKERS)
        dash = DASHES[(marker + turn) % len(DASHES)]
        markers = (*MARKERS[marker:], *MARKERS[:marker])
        if adapted:
            dash = DASHES[(1 + adapted.index(result.adaptation)) % len(DASHES) if result.adaptation else 0]
        taken = {look.marker for look in looks.values() if look.dash == dash}
        free = next((one for one in markers if one not in taken), markers[0])
        colour = colour_of(result.checkpoint.model)
        if result.adaptation and len(methods) == 1:
            others = [pair for pair in COLOUR_PAIRS if pair != colour]
            colour = others[adapted.index(result.adaptation) % len(others)]
        looks[label] = Look(colour, free, dash)
    return looks


def colour_of(method: str) -> tuple[str, str]:
    """The same for a method in every figure, whatever else is in it: one of its own, or one that its name selects."""
    number = int.from_bytes(hashlib.sha256(method.encode()).digest()[:4])
    return COLOURS.get(method) or MORE_COLOURS[number % len(MORE_COLOURS)]

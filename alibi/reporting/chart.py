"""What a chart is: panels of series over two axes, and how lines look, on paper and on the page.

matplotlib_figures and page draw it; neither adds data.
"""

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
MORE_COLOURS = (("#E69F00", "#F2B84B"), ("#56B4E9", "#9AD4F5"), ("#000000", "#FFFFFF"))
COLOUR_PAIRS = (*COLOURS.values(), *MORE_COLOURS)
# Lines of one method differ by marker and dash: (matplotlib's name, plotly's name).
MARKERS = (("o", "circle"), ("s", "square"), ("D", "diamond"), ("^", "triangle-up"), ("v", "triangle-down"))
DASHES = (("-", "solid"), ("--", "dash"), (":", "dot"), ("-.", "dashdot"))


@dataclass(frozen=True)
class Look:
    """A (light, dark) colour, and (matplotlib, plotly) names of marker and dash."""

    colour: tuple[str, str]
    marker: tuple[str, str] = MARKERS[0]
    dash: tuple[str, str] = DASHES[0]


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
        kind: "main" has markers; "member" is thin, one of several seeds or training loss; "plain" has no markers;
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
        ticks: (value, text), or None for the drawing library's own.
    """

    label: str
    log: bool = False
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
    """By label of the line: the colour of its method, and a marker and dash that the method's other lines lack."""
    methods = {run.line: run.result.checkpoint.model for part in comparison.sets for run in part.runs}
    spare = iter(MORE_COLOURS * len(methods))
    colours = {method: COLOURS.get(method) or next(spare) for method in dict.fromkeys(methods.values())}
    looks: dict[str, Look] = {}
    for label, method in methods.items():
        place = sum(methods[other] == method for other in looks)
        looks[label] = Look(colours[method], MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)])
    return looks

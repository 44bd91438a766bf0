"""What a chart is: panels of series over two axes. matplotlib_figures and plotly_figures draw it; neither adds data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from alibi.reporting.looks import Look

# Bars of one position stand so far apart, in units of the positions, and are so wide.
BAR_STEP, BAR_WIDTH = 0.27, 0.25


class Point(NamedTuple):
    """One value, its interval where it has one, and more about it for a reader who points at it."""

    x: float
    y: float
    interval: Sequence[float] | None = None
    note: str = ""


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
        name: what a value is called where one point is described; empty if values are mere positions.
        ticks: (value, text), or None for the drawing library's own.
        choosable: the reader may switch between log and linear.
    """

    label: str
    name: str = ""
    log: bool = False
    ticks: list[tuple[float, str]] | None = None
    choosable: bool = False


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
        note: what a reader must know about its data.
    """

    stem: str
    title: str
    panels: list[Panel]
    columns: int = 1
    note: str = ""

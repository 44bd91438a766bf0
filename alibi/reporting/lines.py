"""A line of a chart, and how it looks. The comparison says which runs it is; a method keeps its colour everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass

from alibi.results.result import Result

# Okabe and Ito's colours, which the colour-blind tell apart; beside each a lighter one for dark pages.
COLOURS = {
    "alibi": ("#0072B2", "#56B4E9"),
    "sinusoidal": ("#D55E00", "#F28E4E"),
    "rotary": ("#009E73", "#2FC79B"),
    "t5": ("#CC79A7", "#E6A3C8"),
    "none": ("#555555", "#B5B5B5"),
}
# The two parts of a change with length, and their sum: name for people, colours as above.
PARTS = {
    "longer_context": ("longer context", ("#0072B2", "#56B4E9")),
    "early_tokens": ("early tokens", ("#E69F00", "#F2B84B")),
    "whole": ("whole change", ("#555555", "#B5B5B5")),
}
MORE_COLOURS = (("#E69F00", "#F2B84B"), ("#56B4E9", "#9AD4F5"), ("#000000", "#FFFFFF"))
# Lines of one method differ by marker and dash: matplotlib's and plotly's words for them.
MARKERS = (("o", "circle"), ("s", "square"), ("D", "diamond"), ("^", "triangle-up"), ("v", "triangle-down"))
DASHES = (("-", "solid"), ("--", "dash"), (":", "dot"), ("-.", "dashdot"))


@dataclass(frozen=True)
class Look:
    """How a line is drawn: (light, dark) colour, and (matplotlib, plotly) names."""

    colour: tuple[str, str]
    marker: tuple[str, str]
    dash: tuple[str, str]


@dataclass(frozen=True)
class Line:
    """Runs that differ by their seed alone, in one set of results."""

    label: str
    method: str
    seq_len: int | None
    results: tuple[Result, ...]
    look: Look

    def mean(self, metric: str) -> list[tuple[int, float]]:
        """(length, mean over the seeds) where every seed has a number."""
        every = [r.numbers for r in self.results]
        return [
            (length, sum(rows[length][metric] for rows in every) / len(every))
            for length in every[0]
            if all(rows.get(length, {}).get(metric) is not None for rows in every)
        ]


def looks(names: Sequence[tuple[str, str]]) -> list[Look]:
    """A look for each (line, method): colour by method, marker and dash by the line's place among its method's."""
    methods = list(dict.fromkeys(method for _, method in names))
    spare = iter(MORE_COLOURS * len(methods))
    colours = {method: COLOURS.get(method) or next(spare) for method in methods}
    seen: dict[str, int] = {}
    result = []
    for _, method in names:
        place = seen[method] = seen.get(method, -1) + 1
        result.append(Look(colours[method], MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)]))
    return result

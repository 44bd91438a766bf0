"""How lines look, on paper and on the page: a method keeps its colour in every chart."""

from dataclasses import dataclass

from alibi.analysis import Comparison

# Okabe and Ito's colours, which colour-blind readers can tell apart; with each a lighter one for dark pages.
COLOURS = {
    "alibi": ("#0072B2", "#56B4E9"),
    "sinusoidal": ("#D55E00", "#F28E4E"),
    "rotary": ("#009E73", "#2FC79B"),
    "t5": ("#CC79A7", "#E6A3C8"),
    "none": ("#555555", "#B5B5B5"),
}
MORE_COLOURS = (("#E69F00", "#F2B84B"), ("#56B4E9", "#9AD4F5"), ("#000000", "#FFFFFF"))
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


def looks_of(comparison: Comparison) -> dict[str, Look]:
    """By label of the line: colour by method, marker and dash by the line's place among the lines of its method."""
    methods = {run.line: run.result.method for part in comparison.sets for run in part.runs}
    spare = iter(MORE_COLOURS * len(methods))
    colours = {method: COLOURS.get(method) or next(spare) for method in dict.fromkeys(methods.values())}
    looks: dict[str, Look] = {}
    for label, method in methods.items():
        place = sum(methods[other] == method for other in looks)
        looks[label] = Look(colours[method], MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)])
    return looks

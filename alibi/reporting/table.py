"""A table of a report, and how its cells are written."""

from dataclasses import dataclass

from alibi.analysis import ResultSet
from alibi.analysis.statistics import Difference
from alibi.reporting import words

# A cell's text, and the small text under it (an interval), or nothing.
Cell = tuple[str, str]
EMPTY = ("", "")


@dataclass(frozen=True)
class Table:
    """One table. `strong` are the places of rows that sum up others."""

    name: str
    title: str
    header: list[str]
    rows: list[list[Cell]]
    note: str = ""
    strong: tuple[int, ...] = ()


def by_length(
    kind: str, title: str, part: ResultSet, metric: str, header: list[str], rows: list[list[Cell]], note: str
) -> Table:
    """A table of one metric of a set, with a column for each length."""
    name = f"{kind}-{part.slug}-{metric.replace('_', '-')}"
    return Table(name, f"{title}, {part.title}", [*header, *map(str, part.lengths)], rows, note)


def plain_cells(*texts: str) -> list[Cell]:
    return [(text, "") for text in texts]


def number_cell(value: float, pair: list[float] | None, mark: str = "") -> Cell:
    return f"{words.number(value)}{mark}", words.interval(*pair) if pair else ""


def signed_cell(value: float, pair: list[float] | None) -> Cell:
    return words.signed(value), words.interval(*pair, signed=True) if pair else ""


def difference_cell(difference: Difference | None) -> Cell:
    """A pair's ratio as a change, or its difference, with the interval under it."""
    if not difference:
        return EMPTY
    value, pair = difference.value, difference.interval
    if difference.is_ratio:
        return words.change(value), words.change_interval(*pair) if pair else ""
    return signed_cell(value, pair)

"""The difference of two runs on the same text, with a paired interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alibi.analysis.curves import rounding_of
from alibi.analysis.statistics import interval, resampled_sums
from alibi.results import Result

# The count of the text that a metric divides the nats by.
UNITS = {"perplexity": "tokens", "word_perplexity": "words", "bits_per_byte": "bytes"}
LARGEST_EXPONENT = 700  # exp of more is no float


@dataclass(frozen=True)
class Difference:
    """Perplexity of one run over that of another, or bits per byte of one minus those of another."""

    value: float
    is_ratio: bool
    interval: list[float] | None = None

    @property
    def if_equal(self) -> float:
        return 1.0 if self.is_ratio else 0.0

    def reversed(self) -> "Difference":
        """As seen from the second run."""
        bounds = self.interval and self.interval[::-1]
        if self.is_ratio:
            return Difference(1 / self.value, True, bounds and [1 / bound for bound in bounds])
        return Difference(-self.value, False, bounds and [-bound for bound in bounds])

    def to_dict(self) -> dict:
        return {"ratio" if self.is_ratio else "difference": self.value, "interval": self.interval}


class PairedDraws:
    """Resampled sums of results on one text: of the nats of each length, and of the counts.

    Results whose groups of the text are others, or that have no groups, have none.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        grouped = [result for result in results if result.content.groups]
        columns: dict[tuple[int, object], list] = {}
        for result in grouped:
            groups, first = result.content.groups, grouped[0].content.groups
            if (groups.words, groups.bytes) == (first.words, first.bytes):
                columns |= {(id(result), unit): getattr(groups, unit) for unit in UNITS.values()}
                columns |= {
                    (id(result), n): row["group_nats"] for n, row in result.scored.items() if "group_nats" in row
                }
        self.num_groups = len(grouped[0].content.groups.words) if grouped else 0
        self.sums: dict[tuple[int, object], np.ndarray] = {}
        if columns:
            sums = resampled_sums(np.column_stack([np.array(column, np.float64) for column in columns.values()]))
            self.sums = dict(zip(columns, sums.T, strict=True))

    def difference(self, a: Result, b: Result, length: int, metric: str) -> Difference | None:
        """On the same resamples for both. None where a ratio is beyond what a float can hold.

        An interval is widened by what rounding may do, so that it does not tell a run from its own copy.
        """
        unit = UNITS[metric]
        means = [result.scored[length]["nll_nats"] / getattr(result.data, unit) for result in (a, b)]
        bounds = None
        if all((id(result), length) in self.sums for result in (a, b)):
            drawn = [self.sums[id(result), length] / self.sums[id(result), unit] for result in (a, b)]
            bounds = interval(drawn[0] - drawn[1], self.num_groups)
        if bounds:
            rounding = rounding_of(a.content.precision) * max(map(abs, means))
            bounds = [bounds[0] - rounding, bounds[1] + rounding]
        gap = means[0] - means[1]
        if metric == "bits_per_byte":
            return Difference(gap / math.log(2), False, bounds and [bound / math.log(2) for bound in bounds])
        if max(map(abs, (gap, *(bounds or ())))) > LARGEST_EXPONENT:
            return None
        return Difference(math.exp(gap), True, bounds and [math.exp(bound) for bound in bounds])

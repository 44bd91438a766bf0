"""Bootstrap intervals over the groups of a text, of one run and of the difference of two, and means over seeds.

A resample draws as many groups as there are, with replacement. All quantities of one text are resampled together, so
two lengths or two runs are compared on equal text, and the text's own effect on both cancels in their difference. Such
an interval holds for these weights: it covers variation of the text, not of the training seed.

Source: the expanded percentile interval of Hesterberg, "What Teachers Should Know About the
Bootstrap", The American Statistician 69 (2015), section 5.2: the plain percentile interval is too
short where groups are few.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from scipy import stats

from alibi.analysis.curves import rounding_of
from alibi.results import METRICS, Result

LEVEL = 0.95
RESAMPLES = 10_000
# With fewer groups there is no interval.
MIN_GROUPS = 10
LARGEST_GAP = 700  # nats; the ratio of two perplexities further apart is close to the largest float

ABOUT_INTERVALS = {
    "level": LEVEL,
    "resamples": RESAMPLES,
    "least_units": MIN_GROUPS,
    "method": "paired bootstrap over the groups of the text, expanded percentile interval",
    "holds_for": "these weights, over texts of this kind; another seed of training moves the numbers too",
}


@lru_cache(maxsize=2)
def _draws(num_groups: int) -> np.ndarray:
    """(RESAMPLES, G): how often each group is drawn. Every call draws the same, which pairs the resamples."""
    even = np.full(num_groups, 1 / num_groups)
    return np.random.default_rng(0).multinomial(num_groups, even, RESAMPLES).astype(np.uint16)


def resampled_sums(sums_GK: np.ndarray) -> np.ndarray:
    """Sum of each column over the groups of each resample: (G, K) to (RESAMPLES, K)."""
    parts = np.array_split(_draws(len(sums_GK)), 10)
    return np.concatenate([part.astype(np.float64) @ sums_GK for part in parts])


def interval(values: np.ndarray, num_groups: int, level: float = LEVEL) -> list[float] | None:
    """[low, high] at `level` of a statistic, given its value in each resample.

    Returns:
        None with fewer than MIN_GROUPS groups, or where a value is not finite.
    """
    if num_groups < MIN_GROUPS or not np.isfinite(values).all():
        return None
    tail = (1 - level) / 2
    wider = NormalDist().cdf(-math.sqrt(num_groups / (num_groups - 1)) * stats.t.ppf(1 - tail, num_groups - 1))
    return np.quantile(values, [wider, 1 - wider]).tolist()


def row_intervals(group_nats: np.ndarray, sizes: np.ndarray) -> dict[str, list[float] | None]:
    """Intervals of the perplexities of one row, by the names of the row's own numbers.

    Args:
        group_nats: (G,), of each group.
        sizes: (G, 3): tokens, words and bytes of each group.
    """
    nats, tokens, words, num_bytes = resampled_sums(np.column_stack([group_nats, sizes])).T
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        values = {
            "perplexity": np.exp(nats / tokens),
            "word_perplexity": np.exp(nats / words),
            "bits_per_byte": nats / num_bytes / math.log(2),
        }
    return {name: interval(value, len(sizes)) for name, value in values.items()}


def answer_intervals(right_S: np.ndarray, answers_S: np.ndarray) -> dict[str, list[float] | None]:
    """Intervals of a task's row: of accuracy by bootstrap over strings, of exact match Wilson's.

    Args:
        right_S, answers_S: right answers of each string, and all.
    """
    right, answers = resampled_sums(np.column_stack([right_S, answers_S])).T
    exact = stats.binomtest(int((right_S == answers_S).sum()), len(right_S)).proportion_ci(LEVEL, method="wilson")
    return {"accuracy": interval(right / answers, len(right_S)), "exact_match": [float(exact.low), float(exact.high)]}


@dataclass(frozen=True)
class SeedMean:
    """A number over the seeds of a line; the interval holds over seeds, and needs three."""

    values: list[float]
    mean: float
    interval: list[float] | None = None


def over_seeds(values: list[float]) -> SeedMean:
    """Student's t, since seeds are independent draws."""
    mean, number = float(np.mean(values)), len(values)
    if number < 3:
        return SeedMean(values, mean)
    half = float(stats.t.ppf((1 + LEVEL) / 2, number - 1) * np.std(values, ddof=1) / math.sqrt(number))
    return SeedMean(values, mean, [mean - half, mean + half])


@dataclass(frozen=True)
class Difference:
    """Perplexity of one run over that of another, or bits per byte of one minus those of another."""

    value: float
    is_ratio: bool
    interval: list[float] | None = None

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
                columns |= {(id(result), unit): getattr(groups, unit) for unit in ("tokens", "words", "bytes")}
                columns |= {
                    (id(result), n): row["group_nats"] for n, row in result.scored.items() if "group_nats" in row
                }
        self.num_groups = len(grouped[0].content.groups.words) if grouped else 0
        self.sums: dict[tuple[int, object], np.ndarray] = {}
        if columns:
            sums = resampled_sums(np.column_stack([np.array(column, np.float64) for column in columns.values()]))
            self.sums = dict(zip(columns, sums.T, strict=True))

    def ratio(self, a: tuple[Result, int], b: tuple[Result, int], metric: str) -> tuple[float, list[float] | None]:
        """A metric of one row over that of another, with its interval, on the same resamples for both.

        Args:
            a, b: a result and one of its lengths.
        """
        unit, exponential = METRICS[metric].unit, metric != "bits_per_byte"

        def ratio(at: np.ndarray, by: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                return np.exp(at - by) if exponential else at / by

        rows = a, b
        means = [result.scored[length]["nll_nats"] / getattr(result.data, unit) for result, length in rows]
        value, known = float(ratio(*np.array(means))), all((id(result), n) in self.sums for result, n in rows)
        if not known:
            return value, None
        drawn = [self.sums[id(result), length] / self.sums[id(result), unit] for result, length in rows]
        return value, interval(ratio(*drawn), self.num_groups)

    def difference(self, a: Result, b: Result, length: int, metric: str) -> Difference | None:
        """On the same resamples for both. None where a ratio is beyond what a float can hold.

        An interval is widened by what rounding may do, so that it does not tell a run from its own copy.
        """
        unit = METRICS[metric].unit
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
        if max(map(abs, (gap, *(bounds or ())))) > LARGEST_GAP:
            return None
        return Difference(math.exp(gap), True, bounds and [math.exp(bound) for bound in bounds])

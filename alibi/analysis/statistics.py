"""Bootstrap intervals over the groups of a text, and means over seeds.

A resample draws as many groups as there are, with replacement. All quantities of one text are resampled together, so
two lengths or two runs are compared on equal text, and the text's own effect on both cancels in their difference. Such
an interval holds for these weights: it covers variation of the text, not of the training seed.

Source: the expanded percentile interval of Hesterberg, "What Teachers Should Know About the
Bootstrap", The American Statistician 69 (2015), section 5.2: the plain percentile interval is too
short where groups are few.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 10_000
# With fewer groups there is no interval.
MIN_GROUPS = 10

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


def interval(values: np.ndarray, num_groups: int) -> list[float] | None:
    """[low, high] at LEVEL of a statistic, given its value in each resample.

    Returns:
        None with fewer than MIN_GROUPS groups, or where a value is not finite.
    """
    if num_groups < MIN_GROUPS or not np.isfinite(values).all():
        return None
    tail = (1 - LEVEL) / 2
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

import math

import numpy as np
import pytest

from alibi.analysis import statistics
from alibi.analysis.statistics import SeedMean, interval, over_seeds, resampled_sums, row_intervals

NUM_ARTICLES = 60


@pytest.fixture
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    statistics._draws.cache_clear()
    yield
    statistics._draws.cache_clear()


def articles(draw, number=NUM_ARTICLES, unevenness=0.5):
    """Nats of targets that hang together within their article, by article; the true mean is 4 nats."""
    sizes = np.exp(draw.normal(6.5, unevenness, number)).astype(int)
    return [4 + 0.4 * draw.normal() + 2 * draw.normal(size=size) for size in sizes]


def mean_interval(nats, counts):
    drawn = resampled_sums(np.column_stack([nats, counts]))
    return interval(drawn[:, 0] / drawn[:, 1], len(nats))


def test_intervals_cover_the_truth_on_text_that_hangs_together(fewer_resamples):
    """By article 95 % intervals hold the truth 95 times in 100; by blocks of 64 targets, far less often."""
    draw, covered, by_block, tries = np.random.default_rng(0), 0, 0, 400
    for number in range(tries):
        nats = articles(draw)
        low, high = mean_interval([a.sum() for a in nats], [len(a) for a in nats])
        covered += low <= 4 <= high
        if number < 60:
            blocks = [b for b in np.split(np.concatenate(nats), range(64, sum(map(len, nats)), 64)) if len(b)]
            low, high = mean_interval([b.sum() for b in blocks], [len(b) for b in blocks])
            by_block += low <= 4 <= high
    assert 0.925 <= covered / tries <= 0.975
    assert by_block / 60 < 0.8, "control: short blocks ignore how articles hang together"


@pytest.mark.parametrize("number", [12, 20])
def test_few_groups_cover_a_little_less(fewer_resamples, number):
    """What docs/numbers.md says of 10 to 20 articles of uneven length: 95 % intervals hold the truth 90 to 94 times."""
    draw, covered, tries = np.random.default_rng(0), 0, 800
    for _ in range(tries):
        nats = articles(draw, number, unevenness=1.0)
        low, high = mean_interval([a.sum() for a in nats], [len(a) for a in nats])
        covered += low <= 4 <= high
    assert 0.90 <= covered / tries < 0.95


def test_a_difference_is_paired(fewer_resamples):
    """What the text does to both runs cancels: the difference is far surer than either number."""
    draw = np.random.default_rng(1)
    nats = articles(draw)
    counts = np.array([len(a) for a in nats], float)
    one = np.array([a.sum() for a in nats])
    other = one + counts * (0.02 + 0.005 * draw.normal(size=NUM_ARTICLES))
    drawn = resampled_sums(np.column_stack([one, other, counts]))
    low, high = interval(drawn[:, 1] / drawn[:, 2] - drawn[:, 0] / drawn[:, 2], NUM_ARTICLES)
    assert 0.015 < low < 0.02 < high < 0.025
    alone = mean_interval(one, counts)
    assert alone[1] - alone[0] > 20 * (high - low)


def test_the_same_resamples_are_drawn_at_every_call():
    sums = np.random.default_rng(0).random((12, 2))
    assert resampled_sums(sums)[:, :1] == pytest.approx(resampled_sums(sums[:, :1]), rel=1e-14)
    assert resampled_sums(sums).shape == (statistics.RESAMPLES, 2)
    assert resampled_sums(np.ones((12, 1))).tolist() == [[12.0]] * statistics.RESAMPLES


def test_the_draws_are_those_of_every_other_process(fewer_resamples):
    """Two files are paired by drawing alike, although other processes wrote them."""
    sums = np.random.default_rng(0).random((12, 2))
    first = resampled_sums(sums)
    statistics._draws.cache_clear()
    assert np.array_equal(resampled_sums(sums), first)


def test_too_few_groups_and_infinite_values_have_no_interval():
    assert interval(np.arange(100.0), 9) is None
    assert interval(np.array([1.0, math.inf]), 60) is None
    assert interval(np.arange(100.0), 10) is not None


def test_intervals_of_a_row_hold_its_numbers(fewer_resamples):
    draw = np.random.default_rng(2)
    tokens = draw.integers(100, 900, 40)
    sizes = np.column_stack([tokens, tokens // 2, tokens * 4])
    nats = tokens * (3 + 0.2 * draw.normal(size=40))
    found = row_intervals(nats, sizes)
    total, (num_tokens, words, num_bytes) = nats.sum(), sizes.sum(0)
    for name, value in (
        ("perplexity", math.exp(total / num_tokens)),
        ("word_perplexity", math.exp(total / words)),
        ("bits_per_byte", total / num_bytes / math.log(2)),
    ):
        low, high = found[name]
        assert low < value < high < 1.5 * low
    assert row_intervals(1e6 * nats, sizes)["perplexity"] is None, "above the largest float64"


def test_seeds_have_an_interval_from_three_on():
    assert over_seeds([20.0]) == SeedMean([20.0], 20.0, None)
    assert over_seeds([20.0, 22.0]) == SeedMean([20.0, 22.0], 21.0, None)
    three = over_seeds([20.0, 22.0, 21.0])
    assert three.mean == 21.0
    # Student's t with two degrees of freedom: 4.3027 standard errors of 1 / sqrt(3).
    assert three.interval == pytest.approx([21 - 4.3027 / math.sqrt(3), 21 + 4.3027 / math.sqrt(3)], abs=1e-3)

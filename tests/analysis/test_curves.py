import math

import pytest
from result_files import as_result

from alibi.analysis import curves
from alibi.analysis.curves import Crossing, crossings
from alibi.results.parts import HowFar


def rows_of(curve):
    """Rows with the perplexities of a curve; an infinite one is the error that evaluation writes."""
    return [
        {"length": n, "nll_nats": 100 * math.log(value)}
        if math.isfinite(value)
        else {"length": n, "error": "overflow: exp(800 nats)"}
        for n, value in curve.items()
    ]


def how_far(rows, seq_len, within_percent, stride=8, **content):
    """Of sliding rows, unless the stride is None."""
    rows = [row | {"stride": stride or row["length"]} for row in rows]
    if "context" in content:
        content["context_sample"] = {"segments": 1, "group_targets": [16], "sha256": "0"}
    result = as_result("x.json", {"checkpoint": {"seq_len": seq_len}, "rows": rows, **content})
    return curves.how_far(result.content, within_percent)


def test_how_far_is_the_longest_length_within_the_margin():
    curve = {32: 50.0, 64: 20.0, 128: 19.0, 256: 20.3, 512: 20.41, 1024: 19.0}
    assert how_far(rows_of(curve), 64, 2.0) == HowFar(
        within_percent=2.0, training_length=64, length=256, breaks_at=512, by="sliding rows", measured_to=1024
    )
    assert how_far(rows_of(curve), 64, 3.0).length == 1024
    assert how_far(rows_of(curve), 64, 3.0).breaks_at is None
    assert how_far(rows_of(curve), 64, 0.0).length == 128, "falling is staying"


def test_a_length_that_overflowed_breaks():
    assert how_far(rows_of({64: 20.0, 128: math.inf}), 64, 2.0).breaks_at == 128


def test_a_length_that_is_not_a_number_breaks_and_one_without_memory_says_nothing():
    def reach(error):
        rows = [
            *rows_of({64: 20.0}),
            {"length": 128, "error": error},
            *rows_of({256: 19.0}),
        ]
        found = how_far(rows, 64, 2.0)
        return found.length, found.breaks_at

    assert reach("not a number: the sum of nats is nan") == (64, 128)
    assert reach("overflow: exp(800 nats) is above the largest float64") == (64, 128)
    assert reach("out of memory: tried 9 GiB") == (256, None)
    nothing = [{"length": 64, "error": "not a number: the sum of nats is nan"}]
    assert "length 64, the training length, is not a number" in how_far(nothing, 64, 2.0).reason


def test_without_the_training_length_there_is_no_answer():
    found = how_far(rows_of({128: 20.0}), 64, 2.0)
    assert found.length is None
    assert "length 64, the training length, was not evaluated" in found.reason


def context(curve):
    """A context sample with these perplexities."""
    zeros = {"group_nats": [0.0], "swapped_nll_nats": 0.0, "swapped_group_nats": [0.0]}
    return [{"n": n, "targets": 10, "nll_nats": 10 * math.log(value), **zeros} for n, value in curve.items()]


def test_nonoverlapping_rows_say_nothing_of_how_far():
    """T5's rose by less than 2 % to 256, and at equal context by 7 %: in longer windows few contexts are short."""
    curve = {64: 20.0, 128: 20.1, 256: 20.3}
    found = how_far(rows_of(curve), 64, 2.0, stride=None)
    assert found.length is None
    assert "context is not equal across these rows; eval.stride=8 or eval.measures=[context]" in found.reason
    sample = context({16: 25.0, 64: 20.0, 256: 21.4})
    found = how_far(rows_of(curve), 64, 2.0, stride=None, context=sample)
    assert (found.length, found.breaks_at, found.by) == (64, 256, "context sample")
    assert how_far(rows_of(curve), 64, 2.0, stride=32, context=sample).by == "sliding rows"
    assert how_far(rows_of(curve), 64, 2.0, stride=33).length is None, "targets that see less than half of L"


def test_two_curves_cross_between_lengths_on_a_logarithmic_axis():
    a, b = {64: 3.0, 256: 3.0, 1024: 3.0}, {64: 2.0, 256: 4.0, 1024: 5.0}
    [crossing] = crossings(a, b)
    assert crossing == Crossing(64, 256, 128.0)
    assert crossings(b, a) == [crossing]


def test_rounding_breaks_no_margin():
    assert how_far(rows_of({64: 20.0, 128: 20.0 * (1 + 1e-9), 256: 20.0 * (1 + 1e-6)}), 64, 0.0).length == 128


@pytest.mark.parametrize(
    ("gaps", "number"),
    [
        ([1, 2, 3], 0), ([1, -1, 1], 2), ([1, 0, 1], 0), ([1, 0, -1], 1), ([0, 0, 0], 0), ([1], 0),
        ([1e-7, -1e-7, 1e-7], 0), ([1, -1e-7, 1], 0), ([1, -1e-7], 0), ([1, -1e-7, -1], 1), ([1e-6, -1e-6, 1e-6], 2),
    ],
    ids=str,
)  # fmt: skip
def test_touching_is_not_crossing(gaps, number):
    lengths = [64, 128, 256][: len(gaps)]
    curve = {n: 3.0 + gap for n, gap in zip(lengths, gaps, strict=True)}
    assert len(crossings(curve, dict.fromkeys(lengths, 3.0))) == number


def test_where_they_are_equal_they_cross():
    [crossing] = crossings({32: 3.1, 64: 3.0, 512: 2.3}, {32: 3.0, 64: 3.0, 512: 3.0})
    assert crossing == Crossing(32, 512, 64)


def test_an_overflow_at_the_training_length_is_told_from_no_evaluation():
    assert "above the largest float" in how_far(rows_of({64: math.inf}), 64, 2.0).reason


def test_only_lengths_that_both_have_count():
    assert crossings({64: 1.0, 100: 9.0, 128: 1.0}, {64: 2.0, 128: 2.0}) == []

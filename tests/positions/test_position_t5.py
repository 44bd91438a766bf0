"""T5's buckets against transformers and against exact integers; its table; what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.t5.modeling_t5 import T5Attention

from alibi.positions.t5 import T5Bias, t5_bucket

# Counts and distances whose logarithmic steps meet no integer exactly, so that transformers'
# float32 logarithm has nothing to round wrong; exact meetings are tested against integers.
SETTINGS = [(32, 128), (32, 300), (64, 1000), (16, 100), (8, 50)]
FAR = torch.arange(-70_000, 70_001)


def transformers_bucket(distance, num_buckets, max_distance, causal):
    return T5Attention._relative_position_bucket(
        -distance, bidirectional=not causal, num_buckets=num_buckets, max_distance=max_distance
    )


def integer_bucket(distance: int, num_buckets: int, max_distance: int, causal: bool) -> int:
    """The rule in whole numbers: bucket e + k begins where (d / e)^(n - e) reaches (max / e)^k."""
    n = num_buckets if causal else num_buckets // 2
    offset = 0 if causal or distance >= 0 else n
    d, e = max(distance, 0) if causal else abs(distance), n // 2
    if d < e:
        return offset + d
    reached = [k for k in range(n - e) if d ** (n - e) * e**k >= max_distance**k * e ** (n - e)]
    return offset + e + max(reached)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), SETTINGS)
def test_buckets_are_those_of_transformers_at_every_distance(num_buckets, max_distance, causal):
    theirs = transformers_bucket(FAR, num_buckets, max_distance, causal)
    assert torch.equal(t5_bucket(FAR, num_buckets, max_distance, causal), theirs)


@pytest.mark.parametrize("causal", [True, False])
def test_comparison_of_buckets_notices_other_settings(causal):
    theirs = transformers_bucket(FAR, 32, 128, causal)
    assert not torch.equal(t5_bucket(FAR, 32, 129, causal), theirs)
    assert not torch.equal(t5_bucket(FAR, 16, 128, causal), theirs)
    assert not torch.equal(t5_bucket(FAR - 1, 32, 128, causal), theirs)
    assert not torch.equal(t5_bucket(FAR, 32, 128, not causal), theirs)
    if not causal:
        assert not torch.equal(t5_bucket(-FAR, 32, 128, causal), theirs)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [*SETTINGS, (32, 256), (32, 512), (64, 2048), (16, 128)])
def test_buckets_are_exact_also_where_a_step_meets_an_integer(num_buckets, max_distance, causal):
    distance = torch.arange(-2 * max_distance, 2 * max_distance + 1)
    ours = t5_bucket(distance, num_buckets, max_distance, causal).tolist()
    assert ours == [integer_bucket(d, num_buckets, max_distance, causal) for d in distance.tolist()]


def test_first_half_of_causal_buckets_is_exact_and_the_last_is_shared():
    bucket = t5_bucket(torch.tensor([0, 1, 15, 16, 127, 128, 10**9, -1, -500]), 32, 128, causal=True)
    assert bucket.tolist() == [0, 1, 15, 16, 31, 31, 31, 0, 0]


@settings(max_examples=60)
@given(st.integers(1, 16), st.integers(1, 4000), st.booleans())
def test_buckets_never_fall_and_use_the_whole_table(quarter, beyond, causal):
    num_buckets = 4 * quarter if causal else 8 * quarter
    max_distance = num_buckets // (2 if causal else 4) + beyond
    bucket = t5_bucket(torch.arange(max_distance + 50), num_buckets, max_distance, causal)
    assert (bucket.diff() >= 0).all()
    assert bucket[max_distance] == bucket[-1] == (num_buckets if causal else num_buckets // 2) - 1
    later = t5_bucket(-torch.arange(1, 50), num_buckets, max_distance, causal)
    expected = torch.zeros(49, dtype=torch.long) if causal else bucket[1:50] + num_buckets // 2
    assert torch.equal(later, expected)


def test_bias_is_the_row_of_the_bucket_and_keeps_its_gradient():
    position = T5Bias(64, 8, True)
    position.initialise(torch.Generator().manual_seed(0))
    distance = torch.tensor([[0, 3], [200, 17]])
    bias = position.bias().at(distance)
    assert bias.shape == (8, 2, 2)
    assert torch.equal(bias[:, 1, 0], position.table[31])
    bias.sum().backward()
    rows = torch.zeros(32)
    rows[t5_bucket(distance, 32, 128, causal=True).flatten()] = 1
    assert torch.equal(position.table.grad, rows[:, None].expand(-1, 8))


def test_table_is_drawn_at_the_scale_of_t5():
    position = T5Bias(256, 64, True, T5Bias.Settings(num_buckets=128))
    position.initialise(torch.Generator().manual_seed(0))
    assert position.table.std().item() == pytest.approx(256**-0.5, rel=0.05)


@pytest.mark.parametrize(
    ("causal", "values", "message"),
    [
        (True, {"num_buckets": 31}, r"^num_buckets \(31\) must be a multiple of 4 and at least 4"),
        (True, {"num_buckets": 0}, r"num_buckets \(0\)"),
        (False, {"num_buckets": 4}, r"num_buckets \(4\) must be a multiple of 4 and at least 8"),
        (True, {"max_distance": 16}, r"^max_distance \(16\) must be above the 16 distances"),
        (False, {"max_distance": 8}, r"max_distance \(8\) must be above the 8 distances"),
    ],
)
def test_settings_that_make_no_buckets_are_refused(causal, values, message):
    with pytest.raises(ValueError, match=message):
        T5Bias(64, 8, causal, T5Bias.Settings(**values))


def test_least_settings_that_make_buckets_work():
    assert t5_bucket(torch.arange(6), 4, 3, causal=True).tolist() == [
        integer_bucket(d, 4, 3, causal=True) for d in range(6)
    ]
    T5Bias(64, 8, False, T5Bias.Settings(num_buckets=8, max_distance=3))


@pytest.mark.parametrize(("shared", "is_shared"), [(None, True), (True, True), (False, False)])
def test_all_layers_share_the_table_unless_told_otherwise(shared, is_shared):
    assert T5Bias(64, 8, True, T5Bias.Settings(shared=shared)).shared is is_shared
    assert T5Bias(64, 8, True).shared is True

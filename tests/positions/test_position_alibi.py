"""ALiBi against the closed form, against transformers, and against float64 at long distances."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import ALiBiReference
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from alibi.positions import LinearBias
from alibi.positions.alibi import ALiBi, alibi_slopes

HEADS = (1, 2, 4, 8, 16, 6, 12, 20)


closed_form = ALiBiReference.slopes


def mpt_slopes(num_heads: int) -> torch.Tensor:
    bias_H1M = build_mpt_alibi_tensor(num_heads, 2)
    return -bias_H1M[:, 0, 0]  # the key one before the last


def bloom_slopes(num_heads: int) -> torch.Tensor:
    bias_H1M = build_alibi_tensor(torch.ones(1, 2, dtype=torch.long), num_heads, torch.float32)
    return bias_H1M[:, 0, 1]


@pytest.mark.parametrize("num_heads", HEADS)
def test_slopes_are_the_closed_form(num_heads):
    assert alibi_slopes(num_heads) == pytest.approx(closed_form(num_heads), rel=1e-14)


@pytest.mark.parametrize("theirs", [mpt_slopes, bloom_slopes])
@pytest.mark.parametrize("num_heads", HEADS)
def test_slopes_are_those_of_transformers(num_heads, theirs):
    assert alibi_slopes(num_heads) == pytest.approx(theirs(num_heads).tolist(), rel=1e-6)


@pytest.mark.parametrize("theirs", [closed_form, mpt_slopes, bloom_slopes])
def test_comparison_of_slopes_notices_one_wrong_slope(theirs):
    wrong = alibi_slopes(12)
    wrong[8] = 2**-0.51
    assert wrong != pytest.approx(list(map(float, theirs(12))), rel=1e-6)
    # Interpolating 2^(-8h/n), a common shortcut where n is not a power of two, is another rule.
    assert [2 ** (-8 * h / 12) for h in range(1, 13)] != pytest.approx(list(map(float, theirs(12))), rel=1e-6)


def test_slopes_of_twelve_heads_are_the_published_ones():
    published = [2.0**-h for h in range(1, 9)] + [0.7071, 0.3536, 0.1768, 0.0884]
    assert alibi_slopes(12) == pytest.approx(published, abs=5e-5)


@settings(max_examples=60)
@given(st.integers(1, 300))
def test_slopes_are_distinct_and_between_2_to_minus_8_and_1(num_heads):
    slopes = alibi_slopes(num_heads)
    assert len(set(slopes)) == num_heads
    assert min(slopes) == 2**-8
    assert max(slopes) < 1
    power = 1 << (num_heads.bit_length() - 1)
    assert slopes[:power] == sorted(slopes[:power], reverse=True)


@pytest.mark.parametrize("num_heads", [0, -3])
def test_no_heads_are_refused_by_value(num_heads):
    with pytest.raises(ValueError, match=rf"num_heads \({num_heads}\) must be at least 1"):
        alibi_slopes(num_heads)


def float64_bias(num_heads: int, distance: torch.Tensor) -> torch.Tensor:
    return -torch.tensor(closed_form(num_heads), dtype=torch.float64)[:, None] * distance.abs().double()


def last_row(bias: LinearBias, length: int, dtype: torch.dtype) -> torch.Tensor:
    """(H, length): what the last query of `length` tokens adds to its scores, cast once, as attention does."""
    return bias.at(torch.arange(length - 1, -1, -1)).to(dtype)


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return ((ours.double() - reference).abs() / reference.abs().clamp(min=1e-30)).max().item()


@pytest.mark.parametrize("num_heads", [8, 12])
def test_bias_in_float32_is_float64_rounded_up_to_65536(num_heads):
    length = 65_537
    reference = float64_bias(num_heads, torch.arange(length - 1, -1, -1))
    ours = last_row(ALiBi(96, num_heads, causal=True).bias(), length, torch.float32)
    assert relative_error(ours[:, :-1], reference[:, :-1]) <= 1e-6
    assert (ours[:, -1] == 0).all()
    wrong = torch.tensor(closed_form(num_heads), dtype=torch.float64) * (1 + 1e-5)
    control = last_row(LinearBias(wrong), length, torch.float32)
    assert relative_error(control[:, :-1], reference[:, :-1]) > 5e-6


@pytest.mark.parametrize("length", [512, 2048, 4096, 8192])
def test_bfloat16_row_of_attention_stays_near_float64(length):
    """Equal content scores. m * j, the form with the same bias in every row, is the control."""
    distance = torch.arange(length - 1, -1, -1)
    reference = float64_bias(12, distance).softmax(-1)

    def total_variation(bias_HM: torch.Tensor) -> torch.Tensor:
        return (bias_HM.double().softmax(-1) - reference).abs().sum(-1) / 2

    ours = last_row(ALiBi(96, 12, causal=True).bias(), length, torch.bfloat16)
    control = (torch.tensor(closed_form(12), dtype=torch.float64)[:, None] * torch.arange(length)).bfloat16()
    assert total_variation(ours).max() < 5e-3
    assert total_variation(ours)[0] < 1e-4  # slope 1/2
    assert total_variation(control)[0] > 0.1


def test_bias_is_symmetric_so_that_encoders_may_use_it():
    distance = torch.arange(-700, 701)
    bias = ALiBi(96, 12, causal=False).bias().at(distance)
    assert torch.equal(bias, bias.flip(1))
    assert (bias <= 0).all()  # a reward for distance would be positive on one side
    assert torch.equal(bias[:, 700], torch.zeros(12, dtype=torch.float64))


def test_bias_does_not_follow_the_type_of_the_model():
    position = ALiBi(96, 12, causal=True)
    distance = torch.arange(3000)
    before = position.bias().at(distance)
    assert torch.equal(position.to(torch.bfloat16).bias().at(distance), before)
    assert not torch.equal(before.bfloat16().double(), before)  # what a slope buffer in bfloat16 would give


def test_nothing_is_stored():
    position = ALiBi(96, 12, causal=True)
    assert not position.state_dict()
    assert not list(position.buffers())


@pytest.mark.parametrize("shape", [(7, 7), (3, 7, 7)])
def test_bias_of_distances_of_any_shape(shape):
    distance = (torch.arange(7)[:, None] - torch.arange(7)).expand(shape)
    bias = ALiBi(96, 12, causal=True).bias().at(distance)
    assert bias.shape == (12, *shape)
    assert bias[1, ..., 5, 2].unique().item() == -3 * 0.25

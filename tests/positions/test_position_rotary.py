"""Rotary against transformers and against complex numbers in float64, far past any training length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import RotaryReference
from transformers import GPTNeoXConfig, LlamaConfig
from transformers.models.gpt_neox import modeling_gpt_neox as neox
from transformers.models.llama import modeling_llama as llama

from alibi.positions.rotary import Rotary

D_MODEL, HEADS, WIDTH = 256, 4, 64
FAR = torch.tensor([0, 1, 2, 511, 2048, 16_384, 65_535, 65_536])


def random_heads(length: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, HEADS, length, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(seed))


turned_by_complex_numbers = RotaryReference.turned


def rotary(theta: float = 10000.0) -> Rotary:
    return Rotary(D_MODEL, HEADS, True, Rotary.Settings(theta))


def turned_by_ours(x_BHLK: torch.Tensor, positions: torch.Tensor, theta: float = 10000.0) -> torch.Tensor:
    return rotary(theta).turn_query(positions)(x_BHLK)


def turned_by_neox(x_BHLK: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    parameters = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    config = GPTNeoXConfig(
        hidden_size=D_MODEL, num_attention_heads=HEADS, max_position_embeddings=64, rope_parameters=parameters
    )
    cos, sin = neox.GPTNeoXRotaryEmbedding(config)(x_BHLK, positions[None])
    return neox.apply_rotary_pos_emb(x_BHLK, x_BHLK, cos, sin)[0]


def turned_by_llama(x_BHLK: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    parameters = {"rope_type": "default", "rope_theta": 10000.0}
    config = LlamaConfig(
        hidden_size=D_MODEL, num_attention_heads=HEADS, max_position_embeddings=64, rope_parameters=parameters
    )
    cos, sin = llama.LlamaRotaryEmbedding(config)(x_BHLK, positions[None])
    return llama.apply_rotary_pos_emb(x_BHLK, x_BHLK, cos, sin)[0]


def worst(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


def test_turn_is_float64_rounded_up_to_65536():
    x = random_heads(len(FAR)).clamp(-1, 1)
    reference = turned_by_complex_numbers(x, FAR)
    assert worst(turned_by_ours(x, FAR) - reference) <= 1e-6
    assert worst(turned_by_ours(x, FAR, theta=10001.0) - reference) > 1e-1
    near = torch.arange(5)
    x = random_heads(5)
    assert worst(turned_by_ours(x, near, theta=10001.0) - turned_by_complex_numbers(x, near)) > 1e-6


def test_angles_in_float32_would_be_a_thousandth_off():
    positions, exponent = torch.arange(65_000, 65_537)[:, None], -torch.arange(0, WIDTH, 2) / WIDTH
    narrow = positions.float() * 10000.0 ** exponent.float()
    wide = positions.double() * 10000.0 ** exponent.double()
    assert 1e-3 < worst(narrow.cos() - wide.cos()) < 1e-2


@pytest.mark.parametrize("theirs", [turned_by_neox, turned_by_llama])
def test_turn_is_that_of_transformers_past_any_training_length(theirs):
    """As near as transformers itself is to float64, its angles being float32."""
    near, x = torch.arange(32), random_heads(32).clamp(-1, 1)
    assert worst(turned_by_ours(x, near) - theirs(x, near)) <= 1e-5
    x = random_heads(len(FAR)).clamp(-1, 1)
    their_error = worst(theirs(x, FAR) - turned_by_complex_numbers(x, FAR))
    assert worst(turned_by_ours(x, FAR) - theirs(x, FAR)) <= their_error + 1e-6
    assert their_error < 1e-2
    assert worst(turned_by_ours(x, FAR, theta=10001.0) - theirs(x, FAR)) > 10 * their_error


@settings(max_examples=30)
@given(st.integers(0, 4000), st.integers(0, 4000), st.integers(-4000, 60_000))
def test_scores_depend_on_the_distance_alone(query, key, shift):
    shift = max(shift, -min(query, key))
    q, k = random_heads(1, torch.float64), random_heads(1, torch.float64, seed=1)

    def score(i, j):
        turned_q, turned_k = (turned_by_ours(x, torch.tensor([p])) for x, p in ((q, i), (k, j)))
        # The turn itself is float64 here only in its angles; the product follows the input.
        return (turned_q * turned_k).sum(-1)

    assert worst(score(query, key) - score(query + shift, key + shift)) < 1e-8
    if shift:
        assert worst(score(query, key) - score(query + shift, key)) > 1e-6


def test_turn_keeps_lengths_and_leaves_position_zero_alone():
    x = random_heads(len(FAR), torch.float64)
    turned = turned_by_ours(x, FAR)
    assert worst(turned.norm(dim=-1) - x.norm(dim=-1)) < 1e-12
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


def test_positions_may_differ_between_rows_of_a_batch():
    x = random_heads(5)
    positions = torch.stack([torch.arange(5), torch.arange(5) * 3 + 7])
    together = turned_by_ours(x, positions)
    for row in range(2):
        assert torch.equal(together[row], turned_by_ours(x, positions[row])[row])
    assert not torch.equal(together[0], turned_by_ours(x, positions[1])[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_turn_keeps_the_type_and_is_computed_wider(dtype):
    x = random_heads(len(FAR)).clamp(-1, 1).to(dtype)
    turned = turned_by_ours(x, FAR)
    assert turned.dtype == dtype
    assert (
        worst(turned.double() - turned_by_complex_numbers(x, FAR))
        <= 2 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps + torch.finfo(dtype).eps
    )


def test_angles_do_not_follow_the_type_of_the_model():
    x = random_heads(len(FAR))
    position = rotary().to(torch.bfloat16)
    assert torch.equal(position.turn_query(FAR)(x), turned_by_ours(x, FAR))
    assert not position.state_dict()


def test_keys_are_turned_as_queries_are():
    x = random_heads(len(FAR))
    assert torch.equal(rotary(500.0).turn_key(FAR)(x), rotary(500.0).turn_query(FAR)(x))
    assert not torch.equal(rotary(500.0).turn_key(FAR)(x), rotary().turn_query(FAR)(x))


def test_odd_head_width_is_refused_with_its_arithmetic():
    with pytest.raises(ValueError, match=r"d_model / num_heads \(60 / 4\) must be even and at least 2, not 15"):
        Rotary(60, 4, True)


@pytest.mark.parametrize(
    ("theta", "rule"), [(0.0, "above 0; the paper uses 10000"), (-1.0, "above 0"), (float("nan"), "a finite number")]
)
def test_theta_must_be_above_zero(theta, rule):
    with pytest.raises(ValueError, match=rf"^theta \({theta}\) must be {rule}"):
        Rotary.Settings(theta)

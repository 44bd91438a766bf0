"""Partial rotary against complex numbers in float64, against GPT-NeoX of transformers, and rotary at fraction 1."""

import pytest
import torch
from references import RotaryReference
from transformers import GPTNeoXConfig
from transformers.models.gpt_neox import modeling_gpt_neox as neox

from alibi.positions.rotary import Rotary
from alibi.positions.rotary_partial import RotaryPartial

D_MODEL, HEADS, WIDTH = 256, 4, 64
FAR = torch.tensor([0, 1, 2, 511, 2048, 16_384, 65_535, 65_536])


def random_heads(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, HEADS, length, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def partial(fraction: float = 0.25, theta: float = 10000.0) -> RotaryPartial:
    return RotaryPartial(D_MODEL, HEADS, True, RotaryPartial.Settings(theta, fraction))


def formula(x_BHLK: torch.Tensor, positions: torch.Tensor, turned: int, theta: float = 10000.0) -> torch.Tensor:
    """Rotary's complex numbers on a head of `turned` dimensions, and the rest of the head after it."""
    return torch.cat([RotaryReference.turned(x_BHLK[..., :turned], positions, theta), x_BHLK[..., turned:]], dim=-1)


def neox_embedding(fraction: float) -> neox.GPTNeoXRotaryEmbedding:
    parameters = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": fraction}
    config = GPTNeoXConfig(
        hidden_size=D_MODEL, num_attention_heads=HEADS, max_position_embeddings=64, rope_parameters=parameters
    )
    return neox.GPTNeoXRotaryEmbedding(config)


def frequencies_of(position: RotaryPartial, pairs: int) -> torch.Tensor:
    """Read off the turn at position 1, which moves the unit vector of k into the plane of k and k + pairs."""
    units = torch.eye(WIDTH, dtype=torch.float64)[None, None]
    image = position.turn_query(torch.ones(WIDTH, dtype=torch.long))(units)[0, 0]
    k = torch.arange(pairs)
    return torch.atan2(image[k, k + pairs], image[k, k])


def worst(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


@pytest.mark.parametrize(("fraction", "turned"), [(0.25, 16), (0.5, 32), (0.03125, 2), (0.75, 48), (1.0, 64)])
def test_turn_is_the_formula(fraction, turned):
    x = random_heads(len(FAR))
    ours = partial(fraction, theta=500.0).turn_query(FAR)(x)
    assert worst(ours - formula(x, FAR, turned, theta=500.0)) <= 1e-10
    assert worst(ours - formula(x, FAR + 1, turned, theta=500.0)) > 1e-1
    if turned > 2:  # the only pair of two dimensions turns by 1 at any theta
        assert worst(ours - formula(x, FAR, turned, theta=501.0)) > 1e-1
    if 2 < turned < WIDTH:  # exponents over the whole head, the other reading of "partial"
        assert worst(ours - formula(x, FAR, turned, theta=500.0**fraction)) > 1e-1
    assert torch.equal(ours[..., turned:], x[..., turned:])


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75, 1.0])
def test_frequencies_are_those_of_transformers(fraction):
    theirs = neox_embedding(fraction).inv_freq.double()
    assert len(theirs) == fraction * WIDTH / 2
    assert worst(frequencies_of(partial(fraction), len(theirs)) - theirs) <= 1e-7
    assert worst(frequencies_of(partial(fraction, theta=10010.0), len(theirs)) - theirs) > 1e-6


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_turn_is_that_of_transformers(fraction):
    positions, x = torch.arange(32), random_heads(32, torch.float32).clamp(-1, 1)
    theirs = neox.apply_rotary_pos_emb(x, x, *neox_embedding(fraction)(x, positions[None]))[0]
    assert worst(partial(fraction).turn_query(positions)(x) - theirs) <= 1e-5
    assert worst(partial(fraction / 2).turn_query(positions)(x) - theirs) > 1e-1


def test_all_of_the_head_is_rotary():
    x = random_heads(len(FAR), torch.float32)
    rotary = Rotary(D_MODEL, HEADS, True, Rotary.Settings(500.0))
    assert torch.equal(partial(1.0, 500.0).turn_query(FAR)(x), rotary.turn_query(FAR)(x))
    assert not torch.equal(partial(0.75, 500.0).turn_query(FAR)(x), rotary.turn_query(FAR)(x))


def test_scores_depend_on_the_distance_alone():
    q, k, positions, method = random_heads(9), random_heads(9, seed=1), torch.arange(9) * 50, partial()

    def scores(query_shift: int, key_shift: int) -> torch.Tensor:
        turned_q = method.turn_query(positions + query_shift)(q)
        return turned_q @ method.turn_key(positions + key_shift)(k).transpose(-1, -2)

    assert worst(scores(1000, 1000) - scores(0, 0)) <= 1e-10
    assert worst(scores(1000, 999) - scores(0, 0)) > 1e-1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_positions_may_differ_between_rows_and_the_type_is_kept(dtype):
    x = random_heads(5, dtype)
    positions = torch.stack([torch.arange(5), torch.arange(5) * 3 + 7])
    together = partial().turn_key(positions)(x)
    assert together.dtype == dtype
    for row in range(2):
        assert torch.equal(together[row], partial().turn_key(positions[row])(x)[row])
    assert not torch.equal(together[0], partial().turn_key(positions[1])(x)[0])


def test_gradient_is_the_turn_back():
    x = random_heads(len(FAR)).requires_grad_()
    given = random_heads(len(FAR), seed=1)
    (partial().turn_query(FAR)(x) * given).sum().backward()
    assert worst(x.grad - formula(given, -FAR, 16)) <= 1e-10
    assert worst(x.grad - formula(given, FAR, 16)) > 1e-1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"theta": 0.0}, r"^theta \(0\.0\) must be above 0; the paper uses 10000\.$"),
        ({"fraction": 0.0}, r"^fraction \(0\.0\) must be above 0 and at most 1; GPT-NeoX uses 0\.25\.$"),
        ({"fraction": 1.01}, r"^fraction \(1\.01\) must be above 0 and at most 1"),
        ({"fraction": float("nan")}, r"^fraction \(nan\) must be a finite number"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RotaryPartial.Settings(**values)


@pytest.mark.parametrize(
    ("width", "fraction", "turned"), [(64, 0.3, 20), (64, 0.01, 2), (12, 0.25, 4), (10, 0.9, 8), (10, 0.95, 10)]
)
def test_a_fraction_that_makes_no_pairs_is_refused_and_one_that_does_is_named(width, fraction, turned):
    with pytest.raises(ValueError, match=rf"^fraction \({fraction}\) of the head width \({width}\) must be") as error:
        RotaryPartial(width, 1, True, RotaryPartial.Settings(fraction=fraction))
    named = float(str(error.value).removesuffix(".").split("use ")[1])
    assert RotaryPartial(width, 1, True, RotaryPartial.Settings(fraction=named)).turned == turned


def test_a_fraction_rounded_by_floating_point_is_taken():
    assert 0.28 * 100 != 28
    assert RotaryPartial(100, 1, True, RotaryPartial.Settings(fraction=0.28)).turned == 28


def test_odd_head_width_is_refused():
    with pytest.raises(ValueError, match=r"d_model / num_heads \(60 / 4\) must be even and at least 2, not 15"):
        RotaryPartial(60, 4, True)

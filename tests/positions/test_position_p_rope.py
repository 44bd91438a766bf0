"""p-RoPE against complex numbers in float64, against transformers' rope type "proportional", and rotary at 1."""

import pytest
import torch
from references import RotaryReference
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from alibi.positions.p_rope import PRope
from alibi.positions.rotary import Rotary

HEADS, WIDTH = 4, 64
FAR = torch.tensor([0, 1, 2, 511, 2048, 16_384, 65_535, 65_536])


def random_heads(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, HEADS, length, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def p_rope(fraction: float = 0.75, theta: float = 10000.0, width: int = WIDTH) -> PRope:
    return PRope(width * HEADS, HEADS, True, PRope.Settings(theta, fraction))


def formula(x_BHLK: torch.Tensor, positions: torch.Tensor, kept: int, theta: float = 10000.0) -> torch.Tensor:
    """By complex numbers: pair k of a kept frequency turned, the pairs of the others left as they are."""
    frequency = [theta ** (-2 * k / WIDTH) if k < kept else 0.0 for k in range(WIDTH // 2)]
    angle = positions[:, None].double() * torch.tensor(frequency, dtype=torch.float64)
    first, second = x_BHLK.double().chunk(2, dim=-1)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], dim=-1)


def proportional(fraction: float, width: int = WIDTH) -> torch.Tensor:
    parameters = {"rope_type": "proportional", "rope_theta": 10000.0, "partial_rotary_factor": fraction}
    config = LlamaConfig(
        hidden_size=width * HEADS, num_attention_heads=HEADS, max_position_embeddings=64, rope_parameters=parameters
    )
    frequency, factor = ROPE_INIT_FUNCTIONS["proportional"](config)
    assert factor == 1
    return frequency.double()


def frequencies_of(position: PRope) -> torch.Tensor:
    """Read off the turn at position 1, which moves the unit vector of k into the plane of k and k + K/2."""
    units = torch.eye(position.head_dim, dtype=torch.float64)[None, None]
    image = position.turn_query(torch.ones(position.head_dim, dtype=torch.long))(units)[0, 0]
    k = torch.arange(position.head_dim // 2)
    return torch.atan2(image[k, k + position.head_dim // 2], image[k, k])


def worst(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


@pytest.mark.parametrize(("fraction", "kept"), [(0.75, 24), (0.25, 8), (0.03125, 1), (1.0, 32)])
def test_turn_is_the_formula(fraction, kept):
    x = random_heads(len(FAR))
    ours = p_rope(fraction, theta=500.0).turn_query(FAR)(x)
    assert worst(ours - formula(x, FAR, kept, theta=500.0)) <= 1e-10
    assert worst(ours - formula(x, FAR, kept - 1, theta=500.0)) > 1e-1
    if kept > 1:
        assert worst(ours - formula(x, FAR, kept, theta=501.0)) > 1e-3
    still = torch.arange(WIDTH) % (WIDTH // 2) >= kept
    assert torch.equal(ours[..., still], x[..., still])


@pytest.mark.parametrize("width", [64, 80, 10])
@pytest.mark.parametrize("fraction", [0.25, 0.3, 0.33, 0.55, 0.75, 0.99, 1.0])
def test_frequencies_and_their_rounding_are_those_of_transformers(fraction, width):
    theirs = proportional(fraction, width)
    assert worst(frequencies_of(p_rope(fraction, width=width)) - theirs) <= 1e-7
    if theirs.count_nonzero() > 1:
        assert worst(frequencies_of(p_rope(fraction, theta=10010.0, width=width)) - theirs) > 1e-6
    other = p_rope(1.0 if fraction < 1 else 0.9, width=width)
    assert worst(frequencies_of(other) - theirs) > 1e-5


def test_all_frequencies_are_rotary():
    x = random_heads(len(FAR), torch.float32)
    rotary = Rotary(WIDTH * HEADS, HEADS, True, Rotary.Settings(500.0))
    assert torch.equal(p_rope(1.0, 500.0).turn_query(FAR)(x), rotary.turn_query(FAR)(x))
    assert not torch.equal(p_rope(0.75, 500.0).turn_query(FAR)(x), rotary.turn_query(FAR)(x))


def test_kept_pairs_turn_as_those_of_rotary():
    x = random_heads(len(FAR))
    ours, theirs = p_rope(0.25).turn_query(FAR)(x), RotaryReference.turned(x, FAR)
    kept = torch.arange(WIDTH) % (WIDTH // 2) < 8
    assert worst(ours[..., kept] - theirs[..., kept]) <= 1e-10
    assert worst(ours[..., ~kept] - theirs[..., ~kept]) > 1e-1


def test_scores_depend_on_the_distance_alone():
    q, k, positions, method = random_heads(9), random_heads(9, seed=1), torch.arange(9) * 50, p_rope()

    def scores(query_shift: int, key_shift: int) -> torch.Tensor:
        turned_q = method.turn_query(positions + query_shift)(q)
        return turned_q @ method.turn_key(positions + key_shift)(k).transpose(-1, -2)

    assert worst(scores(1000, 1000) - scores(0, 0)) <= 1e-10
    assert worst(scores(1000, 999) - scores(0, 0)) > 1e-1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_positions_may_differ_between_rows_and_the_type_is_kept(dtype):
    x = random_heads(5, dtype)
    positions = torch.stack([torch.arange(5), torch.arange(5) * 3 + 7])
    together = p_rope().turn_key(positions)(x)
    assert together.dtype == dtype
    for row in range(2):
        assert torch.equal(together[row], p_rope().turn_key(positions[row])(x)[row])
    assert not torch.equal(together[0], p_rope().turn_key(positions[1])(x)[0])


def test_gradient_is_the_turn_back():
    x = random_heads(len(FAR)).requires_grad_()
    given = random_heads(len(FAR), seed=1)
    (p_rope().turn_query(FAR)(x) * given).sum().backward()
    assert worst(x.grad - formula(given, -FAR, 24)) <= 1e-10
    assert worst(x.grad - formula(given, FAR, 24)) > 1e-1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"theta": -1.0}, r"^theta \(-1\.0\) must be above 0; the paper uses 10000\.$"),
        ({"fraction": 0.0}, r"^fraction \(0\.0\) must be above 0 and at most 1; the paper's best is 0\.75\.$"),
        ({"fraction": 1.01}, r"^fraction \(1\.01\) must be above 0 and at most 1"),
        ({"fraction": float("nan")}, r"^fraction \(nan\) must be a finite number"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        PRope.Settings(**values)


def test_a_fraction_that_keeps_no_frequency_is_refused_and_one_that_does_is_named():
    message = (
        r"^fraction \(0\.03\) of the head's 32 frequencies must keep at least one; use 0\.0313, or the method none"
    )
    with pytest.raises(ValueError, match=message):
        p_rope(0.03)
    assert p_rope(0.0313).kept == 1


@pytest.mark.parametrize("width", range(2, 258, 2))
def test_the_fraction_named_keeps_one_frequency_at_every_width(width):
    with pytest.raises(ValueError, match=r"must keep at least one; use .*") as error:
        p_rope(1e-3, width=width)
    named = str(error.value).split("use ")[1].split(",")[0]
    assert p_rope(float(named), width=width).kept == 1


def test_odd_head_width_is_refused():
    with pytest.raises(ValueError, match=r"d_model / num_heads \(60 / 4\) must be even and at least 2, not 15"):
        PRope(60, 4, True)

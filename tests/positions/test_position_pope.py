"""PoPE against its sum of cosines in float64 and against x-transformers; how delta learns at the ends of its range."""

import math
import warnings

import pytest
import torch

from alibi.positions.pope import PoPE

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # x-transformers scripts a function with torch.jit
    from x_transformers import Decoder
    from x_transformers.x_transformers import apply_polar_pos_emb

HEADS, WIDTH = 4, 16
POSITIONS = torch.tensor([0, 1, 2, 3, 50, 511, 4096, 65_536])


def random_heads(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, HEADS, length, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def some_delta() -> torch.Tensor:
    return -2 * math.pi * torch.rand(HEADS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def pope(delta: torch.Tensor | None = None, theta: float = 10000.0, dtype: torch.dtype = torch.float64) -> PoPE:
    method = PoPE(WIDTH * HEADS, HEADS, True, PoPE.Settings(theta)).to(dtype)
    method.initialise(torch.Generator())
    if delta is not None:
        method.delta.data.copy_(delta)
    return method


def scores_of(method: PoPE, q: torch.Tensor, k: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor):
    return method.turn_query(queries)(q) @ method.turn_key(keys)(k).transpose(-1, -2)


def formula(q: torch.Tensor, k: torch.Tensor, queries, keys, delta: torch.Tensor, theta: float = 1e4) -> torch.Tensor:
    """One cosine for each dimension; softplus by its definition."""
    ahead = (keys - queries[:, None]).double()
    scores = torch.zeros(*q.shape[:2], *ahead.shape, dtype=torch.float64)
    for c in range(WIDTH):
        length_q, length_k = ((1 + x[..., c].double().exp()).log() for x in (q, k))
        cosine = (ahead * theta ** (-c / WIDTH) + delta[:, c, None, None]).cos()
        scores = scores + length_q[..., :, None] * length_k[..., None, :] * cosine
    return scores


def worst(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


@pytest.mark.parametrize("theta", [10000.0, 500.0])
def test_scores_are_the_formula(theta):
    q, k, delta = random_heads(len(POSITIONS)), random_heads(len(POSITIONS), seed=1), some_delta()
    reference = formula(q, k, POSITIONS, POSITIONS, delta, theta)
    assert worst(scores_of(pope(delta, theta), q, k, POSITIONS, POSITIONS) - reference) <= 1e-10
    assert worst(scores_of(pope(delta, theta + 1), q, k, POSITIONS, POSITIONS) - reference) > 1e-1
    assert worst(scores_of(pope(delta + 1e-3, theta), q, k, POSITIONS, POSITIONS) - reference) > 1e-4
    # The sign: a delta that turned queries in place of keys would be -delta.
    assert worst(formula(q, k, POSITIONS, POSITIONS, -delta, theta) - reference) > 1


def test_turn_is_that_of_x_transformers():
    """All of the doubled width, whose order is the same; their angles are float32."""
    positions, q, k = torch.arange(64), random_heads(64, torch.float32), random_heads(64, torch.float32, seed=1)
    stack = Decoder(dim=WIDTH * HEADS, depth=1, heads=HEADS, attn_dim_head=WIDTH, polar_pos_emb=True)
    delta = some_delta().float()
    stack.polar_pos_emb.learned_bias.data.copy_(delta[:, None])
    angles, bias = stack.polar_pos_emb(positions)
    their_q, their_k = apply_polar_pos_emb(q, angles), apply_polar_pos_emb(k, angles + bias)
    ours = pope(delta, dtype=torch.float32)
    assert worst(ours.turn_query(positions)(q) - their_q) <= 1e-5
    assert worst(ours.turn_key(positions)(k) - their_k) <= 1e-5
    theirs = their_q @ their_k.transpose(-1, -2) / WIDTH
    assert worst(scores_of(ours, q, k, positions, positions) / WIDTH - theirs) <= 1e-5
    other = pope(delta, theta=10010.0, dtype=torch.float32)
    assert worst(scores_of(other, q, k, positions, positions) / WIDTH - theirs) > 1e-4


def test_scores_depend_on_the_distance_alone():
    q, k, positions, method = random_heads(9), random_heads(9, seed=1), torch.arange(9) * 50, pope(some_delta())
    near = scores_of(method, q, k, positions, positions)
    assert worst(scores_of(method, q, k, positions + 1000, positions + 1000) - near) <= 1e-10
    assert worst(scores_of(method, q, k, positions + 1000, positions + 999) - near) > 1e-1


def test_content_sets_only_the_lengths():
    """Every pair of coordinates has the length softplus(x) and, at position 0, the angle 0 or delta."""
    x, delta = random_heads(len(POSITIONS)), some_delta()
    for turned, at_zero in (
        (pope(delta).turn_query(POSITIONS)(x), torch.zeros(HEADS, WIDTH, dtype=torch.float64)),
        (pope(delta).turn_key(POSITIONS)(x), delta),
    ):
        first, second = turned.chunk(2, dim=-1)
        assert turned.shape == (*x.shape[:-1], 2 * WIDTH)
        assert worst(torch.hypot(first, second) - (1 + x.exp()).log()) <= 1e-12
        assert worst(first[:, :, 0] - (1 + x[:, :, 0].exp()).log() * at_zero.cos()) <= 1e-12
        assert worst(second[:, :, 0] - (1 + x[:, :, 0].exp()).log() * at_zero.sin()) <= 1e-12
        assert worst(second[:, :, 1]) > 0.1


def test_angles_are_float64_rounded_up_to_65536_in_float32():
    q, k = (random_heads(len(POSITIONS), torch.float32, seed).clamp(-1, 1) for seed in (0, 1))
    delta = some_delta().float()
    reference = formula(q, k, POSITIONS, POSITIONS, delta.double())
    assert worst(scores_of(pope(delta, dtype=torch.float32), q, k, POSITIONS, POSITIONS) - reference) <= 1e-5
    angle = POSITIONS[:, None] * 10000.0 ** (-torch.arange(WIDTH).float() / WIDTH)
    exact = POSITIONS[:, None] * 10000.0 ** (-torch.arange(WIDTH).double() / WIDTH)
    assert worst(angle.cos() - exact.cos()) > 1e-4  # what angles in float32 would give


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_positions_may_differ_between_rows_and_the_type_is_kept(dtype):
    x, method = random_heads(5, dtype), pope(some_delta())
    positions = torch.stack([torch.arange(5), torch.arange(5) * 300 + 7])
    for turn in (method.turn_query, method.turn_key):
        together = turn(positions)(x)
        assert together.dtype == dtype
        for row in range(2):
            assert torch.equal(together[row], turn(positions[row])(x)[row])
        assert not torch.equal(together[0], turn(positions[1])(x)[0])


def test_gradients_are_those_of_the_formula():
    q, k = random_heads(len(POSITIONS)).requires_grad_(), random_heads(len(POSITIONS), seed=1).requires_grad_()
    given, method = random_heads(len(POSITIONS), seed=2)[..., : len(POSITIONS)], pope(some_delta())
    ours = torch.autograd.grad((scores_of(method, q, k, POSITIONS, POSITIONS) * given).sum(), (q, k, method.delta))
    delta = some_delta().requires_grad_()
    theirs = torch.autograd.grad((formula(q, k, POSITIONS, POSITIONS, delta) * given).sum(), (q, k, delta))
    other = torch.autograd.grad((formula(q, k, POSITIONS, POSITIONS, -delta) * given).sum(), (q, k, delta))
    for one, reference, control in zip(ours, theirs, other, strict=True):
        assert one.isfinite().all()
        assert worst(one - reference) <= 1e-10
        assert worst(one - control) > 0.1


def test_delta_starts_at_zero_and_has_a_gradient_there():
    method = pope()
    assert torch.equal(method.delta, torch.zeros(HEADS, WIDTH, dtype=torch.float64))
    scores_of(method, random_heads(6), random_heads(6, seed=1), torch.arange(6), torch.arange(6) * 2).sum().backward()
    assert method.delta.grad.isfinite().all()
    assert (method.delta.grad != 0).all()


@pytest.mark.parametrize(
    ("outside", "end", "same_angle"), [(0.3, 0.0, 0.3 - 2 * math.pi), (-2 * math.pi - 0.3, -2 * math.pi, -0.3)]
)
def test_delta_outside_of_its_range_counts_as_its_end(outside, end, same_angle):
    k, positions = random_heads(6), torch.arange(6)
    turned = pope(torch.full((HEADS, WIDTH), outside)).turn_key(positions)(k)
    assert torch.equal(turned, pope(torch.full((HEADS, WIDTH), end)).turn_key(positions)(k))
    assert worst(turned - pope(torch.full((HEADS, WIDTH), same_angle)).turn_key(positions)(k)) > 0.1


@pytest.mark.parametrize(("start", "goal"), [(0.05, -1.0), (-2 * math.pi - 0.05, 1.0 - 2 * math.pi)])
def test_delta_pushed_out_of_its_range_comes_back(start, goal):
    """Gradient descent to the keys of another delta, from outside; x-transformers' delta has no gradient there."""
    k, positions = random_heads(6), torch.arange(6)
    wanted = pope(torch.full((HEADS, WIDTH), goal)).turn_key(positions)(k).detach()
    method = pope(torch.full((HEADS, WIDTH), start))
    descent = torch.optim.SGD(method.parameters(), lr=0.02)
    for _ in range(500):
        descent.zero_grad()
        (method.turn_key(positions)(k) - wanted).square().sum().backward()
        descent.step()
    assert worst(method.delta - goal) < 1e-3

    theirs = Decoder(dim=WIDTH * HEADS, depth=1, heads=HEADS, attn_dim_head=WIDTH, polar_pos_emb=True).polar_pos_emb
    theirs.learned_bias.data.fill_(start)
    angles, bias = theirs(positions)
    (apply_polar_pos_emb(k, angles + bias) - wanted).square().sum().backward()
    assert (theirs.learned_bias.grad == 0).all()


def test_each_layer_has_its_own_delta_unless_told_otherwise():
    assert PoPE(64, 4, True).shared is False
    assert PoPE(64, 4, True, PoPE.Settings(shared=True)).shared is True
    assert {name: value.shape for name, value in PoPE(64, 4, True).state_dict().items()} == {"delta": (4, 16)}


def test_odd_head_widths_work():
    method = PoPE(60, 4, False)
    method.initialise(torch.Generator())
    assert method.turn_key(torch.arange(3))(torch.ones(1, 4, 3, 15)).shape == (1, 4, 3, 30)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"theta": 0.0}, r"^theta \(0\.0\) must be above 0; the paper uses 10000\.$"),
        ({"theta": float("nan")}, r"^theta \(nan\) must be a finite number"),
        ({"shared": 1}, r"^shared \(1\) must be true or false"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        PoPE.Settings(**values)

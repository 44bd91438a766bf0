"""xPos against an explicit sum in float64 and against x-transformers; where float32 ends, and what is refused there."""

import math
import warnings

import pytest
import torch

from alibi.positions.xpos import XPos

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # x-transformers scripts a function with torch.jit
    from x_transformers import Decoder
    from x_transformers.x_transformers import apply_rotary_pos_emb

HEADS, WIDTH = 4, 32
POSITIONS = torch.tensor([0, 1, 2, 3, 50, 511, 512, 700, 3000])


def random_heads(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, HEADS, length, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def xpos(scale_base: float = 512.0, gamma: float = 0.4, theta: float = 10000.0) -> XPos:
    return XPos(WIDTH * HEADS, HEADS, True, XPos.Settings(theta, scale_base, gamma))


def scores_of(method: XPos, q: torch.Tensor, k: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor):
    """Query . key, later keys left out, since theirs grow without bound."""
    scores = method.turn_query(queries)(q) @ method.turn_key(keys)(k).transpose(-1, -2)
    return scores.where(queries[:, None] >= keys, 0.0)


def formula(
    q: torch.Tensor, k: torch.Tensor, queries, keys, scale_base: float = 512.0, gamma: float = 0.4, theta: float = 1e4
) -> torch.Tensor:
    """The scores pair by pair: Re(q_c conj(k_c) e^(i d f_c)) * zeta_c^(d / scale_base), d = i - j."""
    distance = (queries[:, None] - keys).double()
    scores = torch.zeros(*q.shape[:2], *distance.shape, dtype=torch.float64)
    for c in range(WIDTH // 2):
        zeta = (2 * c + gamma * WIDTH) / ((1 + gamma) * WIDTH)
        pair_q, pair_k = (torch.complex(x[..., c], x[..., c + WIDTH // 2]) for x in (q.double(), k.double()))
        turn = torch.polar(zeta ** (distance / scale_base), distance * theta ** (-2 * c / WIDTH))
        scores += (pair_q[..., :, None] * pair_k[..., None, :].conj() * turn).real
    return scores.where(distance >= 0, 0.0)


def worst(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


@pytest.mark.parametrize("values", [{}, {"scale_base": 64.0}, {"gamma": 1.0}, {"theta": 500.0}])
def test_scores_are_the_formula(values):
    q, k = random_heads(len(POSITIONS)), random_heads(len(POSITIONS), seed=1)
    reference = formula(q, k, POSITIONS, POSITIONS, **values)
    assert worst(scores_of(xpos(**values), q, k, POSITIONS, POSITIONS) - reference) <= 1e-10
    for other in ({"scale_base": 510.0}, {"gamma": 0.41}, {"theta": 10010.0}):
        assert worst(scores_of(xpos(**{**values, **other}), q, k, POSITIONS, POSITIONS) - reference) > 1e-4


def test_scores_are_those_of_x_transformers():
    """Their pairs are neighbours, and their powers begin at the middle of the text, which the scores do not show."""
    positions, q, k = torch.arange(200), random_heads(200, torch.float32), random_heads(200, torch.float32, seed=1)
    stack = Decoder(
        dim=WIDTH * HEADS,
        depth=1,
        heads=HEADS,
        attn_dim_head=WIDTH,
        rotary_xpos=True,
        rotary_emb_dim=WIDTH,
        rotary_xpos_scale_base=64,
    )
    angles, scale = stack.rotary_pos_emb(positions)
    neighbours = torch.arange(WIDTH).reshape(2, -1).T.flatten()
    their_q = apply_rotary_pos_emb(q[..., neighbours], angles, scale)
    their_k = apply_rotary_pos_emb(k[..., neighbours], angles, scale**-1.0)
    theirs = (their_q @ their_k.transpose(-1, -2)).tril() / WIDTH
    ours = scores_of(xpos(64.0), q, k, positions, positions) / WIDTH
    assert worst(ours - theirs) <= 1e-5
    assert worst(scores_of(xpos(63.0), q, k, positions, positions) / WIDTH - theirs) > 1e-3
    unpermuted = apply_rotary_pos_emb(q, angles, scale) @ apply_rotary_pos_emb(k, angles, scale**-1.0).transpose(-1, -2)
    assert worst(ours - unpermuted.tril() / WIDTH) > 1e-1


def test_scores_depend_on_the_distance_alone():
    q, k, positions, method = random_heads(9), random_heads(9, seed=1), torch.arange(9) * 50, xpos()
    near = scores_of(method, q, k, positions, positions)
    assert worst(scores_of(method, q, k, positions + 1000, positions + 1000) - near) <= 1e-10
    assert worst(scores_of(method, q, k, positions + 1000, positions + 999) - near) > 1e-1


def test_fast_pairs_decay_most():
    """One unit query and key for each pair, at positions where the cosine of the distance is known: a distance of 0."""
    units = torch.eye(WIDTH, dtype=torch.float64)[None, None].expand(1, HEADS, -1, -1)
    here = torch.full((WIDTH,), 512)
    size_C = xpos().turn_query(here)(units)[0, 0].norm(dim=-1)[: WIDTH // 2]
    assert size_C[0].item() == pytest.approx(0.4 / 1.4, rel=1e-12)
    assert size_C[-1].item() == pytest.approx((WIDTH - 2 + 0.4 * WIDTH) / (1.4 * WIDTH), rel=1e-12)
    assert (size_C.diff() > 0).all()
    inverse_C = xpos().turn_key(here)(units)[0, 0].norm(dim=-1)[: WIDTH // 2]
    assert worst(size_C * inverse_C - 1) <= 1e-12


@pytest.mark.parametrize(("scale_base", "longest"), [(512.0, 32_768), (32.0, 2048), (16.0, 1024), (0.5, 32)])
def test_positions_stop_at_64_scale_bases(scale_base, longest):
    method = xpos(scale_base)
    assert method.longest == longest
    last = torch.tensor([longest - 1])
    for turn in (method.turn_query, method.turn_key):
        assert turn(last)(torch.full((1, HEADS, 1, WIDTH), 3000.0)).isfinite().all()
        for beyond in (torch.tensor([longest]), torch.tensor([[0, 1], [3, longest + 6]])):
            words = (
                rf"^length {beyond.max() + 1} is above {longest}, the longest for xpos with scale_base {scale_base}: "
            )
            with pytest.raises(
                ValueError, match=words + rf".*overflow float32.*; use lengths up to {longest}, or another"
            ):
                turn(beyond)


@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.4, 1.0, 30.0, 1e6])
def test_limit_follows_the_largest_power_of_any_gamma(gamma):
    method = xpos(100.0, gamma)
    power = method.longest / 100 * math.log1p(1 / gamma)
    assert power == pytest.approx(64 * math.log(3.5), rel=0.01)
    x = torch.full((1, HEADS, 1, WIDTH), 1000.0)
    assert method.turn_key(torch.tensor([method.longest - 1]))(x).isfinite().all()
    assert (method.turn_query(torch.tensor([method.longest - 1]))(x).abs().amax(-1) > 0).all()


def test_float32_ends_after_36260_positions():
    log_power = math.log(1.4 / 0.4) / 512
    assert torch.tensor(36_260 * log_power, dtype=torch.float64).exp().float().isfinite()
    assert torch.tensor(36_261 * log_power, dtype=torch.float64).exp().float().isinf()


def test_last_position_is_as_exact_as_the_first_in_float32():
    positions = torch.arange(32_768 - 64, 32_768)
    q, k = (random_heads(64, torch.float32, seed).clamp(-1, 1) for seed in (0, 1))
    reference = formula(q, k, positions, positions)
    assert worst(scores_of(xpos(), q, k, positions, positions) - reference) <= 1e-5
    assert worst(scores_of(xpos(511.0), q, k, positions - 600, positions - 600) - reference) > 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_positions_may_differ_between_rows_and_the_type_is_kept(dtype):
    x = random_heads(5, dtype)
    positions = torch.stack([torch.arange(5), torch.arange(5) * 300 + 7])
    for turn in (xpos().turn_query, xpos().turn_key):
        together = turn(positions)(x)
        assert together.dtype == dtype
        for row in range(2):
            assert torch.equal(together[row], turn(positions[row])(x)[row])
        assert not torch.equal(together[0], turn(positions[1])(x)[0])


def test_gradients_are_finite_and_those_of_the_formula():
    q, k = random_heads(len(POSITIONS)).requires_grad_(), random_heads(len(POSITIONS), seed=1).requires_grad_()
    given = random_heads(len(POSITIONS), seed=2)[..., : len(POSITIONS)]
    ours = torch.autograd.grad((scores_of(xpos(), q, k, POSITIONS, POSITIONS) * given).sum(), (q, k))
    theirs = torch.autograd.grad((formula(q, k, POSITIONS, POSITIONS) * given).sum(), (q, k))
    other = torch.autograd.grad((formula(q, k, POSITIONS, POSITIONS, gamma=0.41) * given).sum(), (q, k))
    for one, reference, control in zip(ours, theirs, other, strict=True):
        assert one.isfinite().all()
        assert worst(one - reference) <= 1e-10
        assert worst(one - control) > 1e-4


def test_nothing_is_stored():
    assert not xpos().state_dict()
    assert xpos().shared is True


@pytest.mark.parametrize("name", ["theta", "scale_base", "gamma"])
@pytest.mark.parametrize(
    ("value", "rule"), [(0.0, "above 0; the paper uses"), (-1.0, "above 0"), (math.inf, "a finite number")]
)
def test_settings_out_of_range_are_refused(name, value, rule):
    with pytest.raises(ValueError, match=rf"^{name} \({value}\) must be {rule}"):
        XPos.Settings(**{name: value})


def test_encoders_and_odd_head_widths_are_refused():
    with pytest.raises(ValueError, match=r"^xpos is for causal models alone; set causal=True"):
        XPos(64, 4, False)
    with pytest.raises(ValueError, match=r"d_model / num_heads \(60 / 4\) must be even and at least 2, not 15"):
        XPos(60, 4, True)

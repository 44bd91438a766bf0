"""Inkling's bias against its formula, against transformers and against x-transformers; its scale of queries."""

import math
import warnings

import pytest
import torch
from dense_bias import bias_of
from transformers.models.inkling.modeling_inkling import InklingRelativeLogits

from alibi.positions import Position, build_position

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit.script
    from x_transformers.x_transformers import RelativeProjPositionalBias

HEADS, D, L, EXTENT, RANK = 6, 48, 12, 5, 3
LATER = torch.ones(L, L).triu(1).bool()


def build(causal: bool = True, d_model: int = D, **values) -> Position:
    values = {"name": "inkling", "extent": EXTENT, "rank": RANK, "scale_length": 4, **values}
    position = build_position(values, d_model, HEADS, causal).double()
    position.initialise(torch.Generator().manual_seed(0))
    return position


def random_x(length: int = L) -> torch.Tensor:
    return torch.randn(2, length, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def tau(position: int, scale_length: int = 4, step: float = 0.1) -> float:
    return 1 + step * math.log(max(1, (position + 1) / scale_length))


def formula(position: Position, x_BLD: torch.Tensor, rows: list[list[int]], **of_tau) -> torch.Tensor:
    mix_HRD = position.weight_GD.view(HEADS, RANK, D)
    r_BLHR = torch.einsum("bld,hrd->blhr", x_BLD, mix_HRD)
    bias = torch.full((2, HEADS, len(rows[0]), len(rows[0])), -math.inf, dtype=torch.float64)
    for b, positions in enumerate(rows):
        for q, i in enumerate(positions):
            for k, j in enumerate(positions[: q + 1]):
                value = r_BLHR[b, q] @ position.bank_RE[:, i - j] if i - j < EXTENT else 0.0
                bias[b, :, q, k] = tau(i, **of_tau) * value
    return bias


def test_bias_is_the_formula():
    position, x = build(), random_x()
    ours, rows = bias_of(position, x), [list(range(L))] * 2
    torch.testing.assert_close(ours, formula(position, x, rows), rtol=0, atol=1e-10)
    for of_tau in ({"scale_length": 5}, {"step": 0.1001}):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(ours, formula(position, x, rows, **of_tau), rtol=0, atol=1e-10)


def test_bias_is_the_formula_at_positions_of_their_own_in_each_row():
    position, x, rows = build(), random_x(5), [[0, 1, 2, 3, 4], [3, 5, 9, 10, 65_536]]
    ours = bias_of(position, x, torch.tensor(rows))
    torch.testing.assert_close(ours, formula(position, x, rows), rtol=0, atol=1e-10)
    swapped = formula(position, x, rows[::-1])
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, swapped, rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale_length", [4, 128_000])
def test_bias_is_that_of_transformers(scale_length):
    position, x, i = build(scale_length=scale_length), random_x(), torch.arange(L)
    theirs = InklingRelativeLogits(RANK, EXTENT).double()
    theirs.proj.data.copy_(position.bank_RE)
    r_BLHR = (x @ position.weight_GD.T).view(2, L, HEADS, RANK)
    tau_L1 = torch.tensor([tau(j, scale_length) for j in range(L)], dtype=torch.float64)[:, None]
    ours = bias_of(position, x)
    torch.testing.assert_close(ours, (tau_L1 * theirs(r_BLHR, i, i)).masked_fill(LATER, -math.inf), rtol=0, atol=1e-10)
    theirs.proj.data.mul_(1 + 1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            ours, (tau_L1 * theirs(r_BLHR, i, i)).masked_fill(LATER, -math.inf), rtol=0, atol=1e-10
        )


def test_bias_is_that_of_x_transformers():
    position, x = build(scale_length=128_000), random_x()
    theirs = RelativeProjPositionalBias(D, HEADS, num_distance_basis=RANK, max_dist=EXTENT).double()
    theirs.distance_bank.data.copy_(position.bank_RE)
    theirs.to_distance_weights[0].weight.data.copy_(position.weight_GD)
    theirs.to_distance_weights[0].bias.data.zero_()
    ours = bias_of(position, x)
    torch.testing.assert_close(ours, theirs(x).masked_fill(LATER, -math.inf), rtol=0, atol=1e-10)
    theirs.distance_bank.data.copy_(position.bank_RE.roll(1, 1))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, theirs(x).masked_fill(LATER, -math.inf), rtol=0, atol=1e-10)


def test_queries_are_scaled_by_tau_and_keys_are_not():
    position = build()
    rows = torch.tensor([[0, 3, 4, 65_536], [7, 8, 9, 10]])
    q_BHLK = torch.randn(2, HEADS, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for positions in (rows, rows[0]):
        turned = position.turn_query(positions)(q_BHLK)
        tau_BL = torch.tensor([[tau(i) for i in row] for row in positions.expand(2, 4).tolist()], dtype=torch.float64)
        torch.testing.assert_close(turned, q_BHLK * tau_BL[:, None, :, None], rtol=1e-14, atol=0)
        assert not torch.allclose(turned, q_BHLK * tau_BL.flip(1)[:, None, :, None], rtol=1e-3)
    assert position.turn_key(rows) is None
    narrow = q_BHLK.bfloat16()
    turned = position.turn_query(rows)(narrow)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned[0, :, :2], narrow[0, :, :2])  # tau is 1 up to scale_length


def test_a_zero_bank_adds_nothing():
    position, x = build(), random_x()
    torch.nn.init.zeros_(position.bank_RE)
    assert torch.equal(bias_of(position, x), torch.zeros(2, HEADS, L, L).double().masked_fill(LATER, -math.inf))


def test_starts_at_its_two_scales():
    position = build(d_model=600, rank=64, extent=200)
    assert position.weight_GD.std().item() == pytest.approx(600**-0.5, rel=0.02)
    assert position.bank_RE.std().item() == pytest.approx(0.02, rel=0.02)
    for parameter in position.parameters():
        assert parameter.mean().item() == pytest.approx(0, abs=0.02 * parameter.std().item())


def test_gradients_reach_both_parameters_and_are_finite():
    position, x = build(), random_x()
    positions = torch.arange(65_536, 65_536 + L)
    table = position.content_bias(x, positions, None).table_BHLE
    assert table.shape == (2, HEADS, L, EXTENT)
    table.square().sum().backward()
    for parameter in position.parameters():
        assert parameter.grad.isfinite().all()
        assert (parameter.grad != 0).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"extent": 0}, r"extent \(0\) must be at least 1; the authors use 512"),
        ({"scale_length": -1}, r"scale_length \(-1\) must be at least 1; the authors use 128000"),
        ({"rank": 0}, r"rank \(0\) must be at least 1; the authors use 16"),
        ({"rank": 2.5}, r"rank \(2\.5\) must be a whole number"),
        ({"shared": "true"}, r"shared \('true'\) must be true or false"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=rf"^model\.position\.{message}"):
        build(**values)


def test_an_encoder_is_refused_and_each_layer_has_its_own_parameters():
    with pytest.raises(ValueError, match="inkling is for causal models alone"):
        build(causal=False)
    assert build().shared is False
    assert build(shared=True).shared is True

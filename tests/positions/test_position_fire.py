"""FIRE against its formula pair by pair, and against torch's linear layers at the start."""

import math

import pytest
import torch
from dense_bias import bias_of

from alibi.positions import PairBias, Position, build_position

HEADS, L = 6, 12


def build(causal: bool = True, heads: int = HEADS, **values) -> Position:
    position = build_position({"name": "fire", "threshold": 5.0, **values}, 8 * heads, heads, causal).double()
    position.initialise(torch.Generator().manual_seed(0))
    return position


def x_of(length: int) -> torch.Tensor:
    return torch.zeros(1, length, 8 * HEADS, dtype=torch.float64)


def formula(position: Position, positions: list[int], threshold: float = 5.0, epsilon: float = 1e-6) -> torch.Tensor:
    c, mu = position.c_1.item(), position.mu_1.item()
    units = list(zip(position.hidden_weight_W1[:, 0].tolist(), position.hidden_bias_W.tolist(), strict=True))
    output, bias = position.output_weight_HW.tolist(), position.output_bias_H.tolist()

    def psi(x: float) -> float:
        return math.log(abs(c) * x + 1)

    def at(h: int, q: int, k: int) -> float:
        if k > q:
            return -math.inf
        i, j = positions[q], positions[k]
        ratio = psi(i - j) / (psi(max(i, abs(mu * threshold))) + epsilon)
        hidden = [max(0.0, weight * ratio + shift) for weight, shift in units]
        return math.fsum(w * unit for w, unit in zip(output[h], hidden, strict=True)) + bias[h]

    rows = range(len(positions))
    return torch.tensor([[[at(h, q, k) for k in rows] for q in rows] for h in range(HEADS)], dtype=torch.float64)


@pytest.mark.parametrize(("c", "mu"), [(0.1, 1.0), (-0.7, -0.5), (3.0, 0.0)])
def test_bias_is_the_formula(c, mu):
    position = build()
    position.c_1.data.fill_(c)
    position.mu_1.data.fill_(mu)
    ours = bias_of(position, x_of(L))[0]
    torch.testing.assert_close(ours, formula(position, list(range(L))), rtol=0, atol=1e-10)
    wrong = formula(position, list(range(L)), epsilon=1.1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, wrong, rtol=0, atol=1e-10)
    if mu:
        with pytest.raises(AssertionError):
            torch.testing.assert_close(ours, formula(position, list(range(L)), threshold=6.0), rtol=0, atol=1e-10)


def test_bias_is_the_formula_at_positions_of_their_own_in_each_row():
    position = build()
    rows = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 7, 9, 65_536]])
    ours = bias_of(position, x_of(5).expand(2, -1, -1), rows)
    for row, positions in zip(ours, rows.tolist(), strict=True):
        torch.testing.assert_close(row, formula(position, positions), rtol=0, atol=1e-10)


def test_starts_as_the_authors_do():
    bias = build(heads=500, width=400)
    assert (bias.c_1.item(), bias.mu_1.item()) == (pytest.approx(0.1), 1.0)
    torch.manual_seed(0)
    theirs = [torch.nn.Linear(1, 400), torch.nn.Linear(400, 500)]
    ours = [bias.hidden_weight_W1, bias.hidden_bias_W, bias.output_weight_HW, bias.output_bias_H]
    for own, their in zip(ours, [one for layer in theirs for one in (layer.weight, layer.bias)], strict=True):
        assert own.shape == their.shape
        assert own.abs().max().item() == pytest.approx(their.abs().max().item(), rel=0.02)
        assert own.std().item() == pytest.approx(their.std().item(), rel=0.1)
    assert build().output_weight_HW.shape == (HEADS, 32)


def test_same_generator_gives_the_same_network():
    first, second = build().state_dict(), build().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("c", "mu"), [(0.1, 1.0), (0.0, 1.0), (0.1, 0.0)])
def test_gradients_are_finite_at_distance_0_and_far_away(c, mu):
    position = build()
    position.c_1.data.fill_(c)
    position.mu_1.data.fill_(mu)
    bias = position.bias()
    i, j = torch.tensor([0, 3, 65_536]).view(1, 1, 3, 1), torch.tensor([0, 1, 3, 65_536]).view(1, 1, 1, 4)
    at = bias.at(i, j, *bias.parameters)
    assert at.shape == (1, HEADS, 3, 4)
    at.sum().backward()
    assert at.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in position.parameters())


def test_parameters_reach_the_bias_through_its_arguments_alone():
    position = build()
    bias = position.bias()
    assert isinstance(bias, PairBias)
    assert {id(one) for one in bias.parameters} == {id(one) for one in position.parameters()}
    copies = [one.detach().clone().requires_grad_() for one in bias.parameters]
    i = torch.arange(L)
    bias.at(i.view(1, 1, L, 1), i.view(1, 1, 1, L), *copies).square().sum().backward()
    assert all(copy.grad.abs().sum() > 0 for copy in copies)
    assert all(one.grad is None for one in position.parameters())


def test_module_in_bfloat16_computes_in_float32():
    position = build().bfloat16()
    bias = position.bias()
    assert bias.at(torch.tensor([[[[9]]]]), torch.tensor([[[[2]]]]), *bias.parameters).dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 0.0}, r"threshold \(0\.0\) must be above 0; the authors use a quarter of the training length"),
        ({"threshold": -1}, r"threshold \(-1\) must be above 0"),
        ({"threshold": math.nan}, r"threshold \(nan\) must be a finite number"),
        ({"width": 0}, r"width \(0\) must be at least 1; the authors use 32"),
        ({"shared": 0}, r"shared \(0\) must be true or false"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=rf"^model\.position\.{message}"):
        build(**values)


def test_an_encoder_is_refused_and_each_layer_has_its_own_network():
    with pytest.raises(ValueError, match="fire is for causal models alone"):
        build(causal=False)
    assert build().shared is False
    assert build(shared=True).shared is True

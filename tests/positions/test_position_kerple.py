"""KERPLE's two kernels against their formulas; how they start; their gradients."""

import math

import pytest
import torch
from dense_bias import bias_of, dense_bias

from alibi.positions import LinearBias, Position, build_position
from alibi.positions.kerple import PowerBias

HEADS, X_BLD = 6, torch.zeros(1, 9, 48, dtype=torch.float64)
METHODS = ("kerple_log", "kerple_power")


def build(name: str, causal: bool = True, heads: int = HEADS, **values) -> Position:
    position = build_position({"name": name, **values}, 8 * heads, heads, causal).double()
    position.initialise(torch.Generator().manual_seed(0))
    return position


def softplus(u: float) -> float:
    return math.log(1 + math.exp(u))


def logarithm(raw_p: float, raw_a: float, distance: int) -> float:
    return -softplus(raw_p) * math.log(1 + softplus(raw_a) * distance)


def power(raw_p: float, raw_a: float, distance: int) -> float:
    return -softplus(raw_a) * distance ** (2 / (1 + math.exp(-raw_p)))


FORMULAS = {"kerple_log": logarithm, "kerple_power": power}


def formula(name: str, position: Position, causal: bool, shift: float = 0.0) -> torch.Tensor:
    def bias(raw_p: float, raw_a: float, i: int, j: int) -> float:
        return -math.inf if causal and j > i else FORMULAS[name](raw_p + shift, raw_a, abs(i - j))

    heads = list(zip(position.raw_p_H.tolist(), position.raw_a_H.tolist(), strict=True))
    return torch.tensor(
        [[[bias(*head, i, j) for j in range(9)] for i in range(9)] for head in heads], dtype=torch.float64
    )


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_bias_is_the_formula(name, causal):
    position = build(name, causal)
    ours = bias_of(position, X_BLD)[0]
    torch.testing.assert_close(ours, formula(name, position, causal), rtol=0, atol=1e-10)
    wrong = formula(name, position, causal, shift=1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, wrong, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "most_p"), [("kerple_log", 2.0), ("kerple_power", 1.99)])
def test_starts_as_the_authors_do(name, most_p):
    bias = build(name, heads=4000).bias()
    for values, scale, most in ((bias.p_H, 2.0, most_p), (bias.a_H, 1.0, 1.0)):
        assert values.min().item() == pytest.approx(0.01)  # some of 4000 fall below the floor
        assert most - 0.01 < values.max().item() <= most + 1e-12
        for quantile in (0.25, 0.5, 0.75):
            assert values.quantile(quantile).item() == pytest.approx(quantile * scale, abs=0.05 * scale)
    assert not torch.allclose(bias.p_H / 2, bias.a_H, atol=0.1)  # drawn apart


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_finite_and_zero_at_distance_0(name):
    position = build(name)
    at = position.bias().at(torch.tensor([0, 1, 65_536]))
    assert (at[:, 0] == 0).all()
    assert at.isfinite().all()
    for column, moves_p in ((0, False), (1, name == "kerple_log"), (2, True)):
        position.zero_grad()
        at[:, column].sum().backward(retain_graph=True)
        for grad_H, moves in ((position.raw_p_H.grad, moves_p), (position.raw_a_H.grad, column > 0)):
            assert grad_H.isfinite().all()
            assert (grad_H != 0).all() if moves else (grad_H == 0).all()


def test_gradients_of_the_power_are_those_of_finite_differences():
    bias, distance = build("kerple_power").bias(), torch.tensor([[0, 1, 2], [5, -3, 0]])
    parameters = [one.detach().requires_grad_() for one in (bias.p_H, bias.a_H)]
    assert torch.autograd.gradcheck(lambda p_H, a_H: PowerBias(p_H, a_H).at(distance), parameters)


def test_power_1_is_a_linear_bias():
    position, far = build("kerple_power"), torch.tensor([0, 1, 511, 65_536])
    slopes_H = position.bias().a_H
    torch.nn.init.zeros_(position.raw_p_H)  # 2 * sigmoid(0)
    ours, linear = dense_bias(position.bias(), far), dense_bias(LinearBias(slopes_H), far)
    torch.testing.assert_close(ours, linear, rtol=1e-12, atol=0)
    torch.nn.init.constant_(position.raw_p_H, 1e-6)
    assert not torch.allclose(dense_bias(position.bias(), far), linear, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_each_layer_has_its_own_unless_shared(name):
    assert build(name).shared is False
    assert build(name, shared=True).shared is True
    with pytest.raises(ValueError, match=r"model\.position\.shared \(1\) must be true or false"):
        build(name, shared=1)

"""BAM against its formula, against ALiBi at the start, and at extremes where powers overflow."""

import math

import pytest
import torch
from dense_bias import bias_of, dense_bias

from alibi.positions import Position, build_position

HEADS, X_BLD = 6, torch.zeros(1, 9, 48, dtype=torch.float64)
FAR = torch.tensor([0, 1, 2, 511, 65_536])


def build(name: str = "bam", causal: bool = True, **values) -> Position:
    position = build_position({"name": name, **values}, 48, HEADS, causal).double()
    position.initialise(torch.Generator().manual_seed(0))
    return position


def formula(position: Position, causal: bool, epsilon: float = 1e-5) -> torch.Tensor:
    def bias(A: float, b: float, i: int, j: int) -> float:
        return -math.inf if causal and j > i else -math.exp(A) * (abs(i - j) + epsilon) ** b

    heads = list(zip(position.log_scale_H.tolist(), position.power_H.tolist(), strict=True))
    return torch.tensor(
        [[[bias(*head, i, j) for j in range(9)] for i in range(9)] for head in heads], dtype=torch.float64
    )


@pytest.mark.parametrize("causal", [True, False])
def test_bias_is_the_formula(causal):
    position = build(causal=causal)
    position.power_H.data = torch.linspace(-0.6, 1.5, HEADS, dtype=torch.float64)
    ours = bias_of(position, X_BLD)[0]
    torch.testing.assert_close(ours, formula(position, causal), rtol=1e-12, atol=1e-10)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, formula(position, causal, epsilon=1.001e-5), rtol=1e-12, atol=1e-10)


def test_starts_at_alibi_but_for_the_epsilon():
    alibi, far = build("alibi").bias(), torch.tensor([0, 1, 511, 8192])
    difference = dense_bias(build().bias(), far) - dense_bias(alibi, far)
    shift = -1e-5 * alibi.slopes_H[:, None, None].expand(1, -1, 4, 4)
    torch.testing.assert_close(difference, shift, rtol=0, atol=1e-9)


def test_a_negative_power_hides_near_keys_and_shows_far_ones():
    position = build()
    torch.nn.init.constant_(position.power_H, -0.6)
    at = position.bias().at(FAR)
    assert (at.diff() > 0).all()
    assert (at[:, 0] / position.log_scale_H.exp()).tolist() == pytest.approx([-1000.0] * HEADS)


@pytest.mark.parametrize("log_scale", [-800.0, -5.0, 0.0, 15.0, 800.0])
@pytest.mark.parametrize("power", [-500.0, -30.0, -1.0, 0.0, 2.0, 30.0, 500.0])
def test_value_and_gradients_are_finite_at_extremes(log_scale, power):
    position = build()
    torch.nn.init.constant_(position.log_scale_H, log_scale)
    torch.nn.init.constant_(position.power_H, power)
    at = position.bias().at(FAR)
    at.sum().backward()
    for values in (at, position.log_scale_H.grad, position.power_H.grad):
        assert values.isfinite().all()
    assert at.min() >= -1e4 * (1 + 1e-12)
    assert at.max() <= 0


def test_lowest_bias_is_reached_and_then_no_longer_moved():
    position = build()
    torch.nn.init.constant_(position.log_scale_H, math.log(1e4) - 1)
    at = position.bias().at(torch.tensor([1, 2, 3]))
    assert at[0].tolist() == pytest.approx([-1e4 / math.e, -2e4 / math.e, -1e4], rel=1e-4)
    at[:, 2].sum().backward()
    assert (position.log_scale_H.grad == 0).all()


def test_each_layer_has_its_own_unless_shared():
    assert build().shared is False
    assert build(shared=True).shared is True
    with pytest.raises(ValueError, match=r"model\.position\.shared \('no'\) must be true or false"):
        build(shared="no")

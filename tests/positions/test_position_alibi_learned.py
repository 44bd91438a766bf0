"""Learned slopes against the formula, and against ALiBi at the start."""

import math

import pytest
import torch
from dense_bias import bias_of, dense_bias

from alibi.positions import LinearBias, Position, build_position

HEADS, X_BLD = 6, torch.zeros(1, 9, 48, dtype=torch.float64)


def build(name: str = "alibi_learned", causal: bool = True, **values) -> Position:
    position = build_position({"name": name, **values}, 48, HEADS, causal).double()
    position.initialise(torch.Generator().manual_seed(0))
    return position


def formula(log_slope_H: torch.Tensor, causal: bool, factor: float = 1.0) -> torch.Tensor:
    def bias(u: float, i: int, j: int) -> float:
        return -math.inf if causal and j > i else -factor * math.exp(u) * abs(i - j)

    return torch.tensor(
        [[[bias(u, i, j) for j in range(9)] for i in range(9)] for u in log_slope_H.tolist()], dtype=torch.float64
    )


@pytest.mark.parametrize("causal", [True, False])
def test_bias_is_the_formula_at_any_slopes(causal):
    position = build(causal=causal)
    torch.nn.init.normal_(position.log_slope_H, generator=torch.Generator().manual_seed(1))
    ours = bias_of(position, X_BLD)[0]
    torch.testing.assert_close(ours, formula(position.log_slope_H, causal), rtol=0, atol=1e-10)
    wrong = formula(position.log_slope_H, causal, factor=1 + 1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, wrong, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_starts_at_alibi(dtype):
    position = build().to(dtype)
    position.initialise(torch.Generator().manual_seed(0))
    far = torch.tensor([0, 1, 511, 65_536])
    reference = dense_bias(build("alibi").bias(), far)
    torch.testing.assert_close(dense_bias(position.bias(), far), reference, rtol=1e-6, atol=0)
    assert not torch.allclose(dense_bias(build("kerple_log").bias(), far), reference, rtol=1e-6, atol=0)


def test_attention_knows_that_it_is_linear():
    assert isinstance(build().bias(), LinearBias)


def test_gradient_of_a_slope_is_the_distance_times_the_slope():
    position = build()
    position.bias().at(torch.tensor([0, 65_536])).sum().backward()
    torch.testing.assert_close(position.log_slope_H.grad, -65_536 * position.log_slope_H.detach().exp())


def test_each_layer_has_its_own_unless_shared():
    assert build().shared is False
    assert build(shared=True).shared is True
    with pytest.raises(ValueError, match=r"model\.position\.shared \('yes'\) must be true or false"):
        build(shared="yes")

"""Sandwich against dot products of sinusoids and against values computed apart."""

import math

import pytest
import torch
from dense_bias import bias_of

from alibi.positions import Position, build_position

HEADS, X_BLD = 6, torch.zeros(1, 9, 48, dtype=torch.float64)


def build(causal: bool = True, **values) -> Position:
    return build_position({"name": "sandwich", **values}, 48, HEADS, causal).double()


def sinusoid(position: int, B: int) -> list[float]:
    angles = [position * 10000 ** (-2 * k / B) for k in range(1, B // 2 + 1)]
    return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]


def formula(B: int, causal: bool, first: int = 0, heads: int = HEADS) -> torch.Tensor:
    """The dot product of two embeddings, as the paper derives it, with positions from `first` on."""
    embedding_LB = torch.tensor([sinusoid(first + i, B) for i in range(9)], dtype=torch.float64)
    product_LL = embedding_LB @ embedding_LB.T - B / 2
    if causal:
        product_LL = product_LL.masked_fill(torch.ones(9, 9).triu(1).bool(), -math.inf)
    return torch.stack([product_LL / (8 * h / heads) for h in range(1, HEADS + 1)])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("B", [2, 32, 128])
def test_bias_is_the_dot_product_of_sinusoids(B, causal):
    ours = bias_of(build(causal, dimensions=B), X_BLD)[0]
    for first in (0, 1000):
        torch.testing.assert_close(ours, formula(B, causal, first), rtol=0, atol=1e-10)
    for wrong in (formula(B + 2, causal), formula(B, causal, heads=HEADS + 1)):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(ours, wrong, rtol=0, atol=1e-10)


def test_values_far_away_are_those_computed_apart():
    """Of methods.md 1.4, before the division, where head 3 of 24 divides by 1."""
    distance = torch.tensor([0, 1, 2, 4, 8, 16, 64, 256, 1024, 4096, 16384])
    position = build_position({"name": "sandwich"}, 48, 24, True)
    apart = [0, -1.4, -5.2, -13.8, -17.1, -22.3, -32.9, -42.4, -50.9, -67.3, -72.3]
    assert position.bias().at(distance)[2].tolist() == pytest.approx(apart, abs=0.051)


def test_bias_at_65536_is_that_of_exact_angles():
    ours = build().bias().at(torch.tensor([65_536]))[:, 0].tolist()
    total = math.fsum(math.cos(65_536 * 10000 ** (-2 * k / 128)) for k in range(1, 65)) - 64
    assert ours == pytest.approx([total / (8 * h / HEADS) for h in range(1, HEADS + 1)], abs=1e-9)


def test_nothing_is_stored_and_the_memory_is_that_of_the_result():
    position = build()
    assert not position.state_dict()
    assert position.shared
    assert position.bias().at(torch.zeros(2, 3, 4, dtype=torch.long)).shape == (HEADS, 2, 3, 4)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, r"dimensions \(0\) must be even and at least 2.*the paper uses 128"),
        (-4, r"dimensions \(-4\) must be even"),
        (127, r"dimensions \(127\) must be even"),
        (2.5, r"dimensions \(2\.5\) must be a whole number"),
    ],
)
def test_dimensions_that_make_no_pairs_are_refused(value, message):
    with pytest.raises(ValueError, match=rf"model\.position\.{message}"):
        build(dimensions=value)

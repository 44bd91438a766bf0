"""Hard-ALiBi's windows against its definition, pair by pair."""

import math

import pytest
import torch
from dense_bias import bias_of

from alibi.positions import Position, build_position

L = 9


def build(heads: int = 6, causal: bool = True, **values) -> Position:
    return build_position({"name": "hard_alibi", **values}, 8 * heads, heads, causal).double()


def formula(heads: int, windowed: int, extra: int = 0) -> torch.Tensor:
    def bias(head: int, i: int, j: int) -> float:
        seen = j <= i and (head >= windowed or i - j <= head + extra)
        return 0.0 if seen else -math.inf

    return torch.tensor(
        [[[bias(head, i, j) for j in range(L)] for i in range(L)] for head in range(heads)], dtype=torch.float64
    )


@pytest.mark.parametrize(
    ("heads", "windowed"), [(1, None), (1, 1), (2, None), (5, None), (5, 2), (6, 0), (6, 1), (6, 5), (6, 6)]
)
def test_heads_see_what_the_definition_says(heads, windowed):
    x = torch.zeros(1, L, 8 * heads, dtype=torch.float64)
    ours = bias_of(build(heads, windowed_heads=windowed), x).expand(1, heads, L, L)[0]
    expected = heads // 2 if windowed is None else windowed
    assert torch.equal(ours, formula(heads, expected))
    if expected:
        assert not torch.equal(ours, formula(heads, expected, extra=1))


def test_first_head_sees_itself_alone():
    assert build().head_windows() == (1, 2, 3, None, None, None)


def test_none_windowed_is_no_position():
    assert build(windowed_heads=0).head_windows() == (None,) * 6


def test_nothing_is_added_and_nothing_is_stored():
    position = build()
    assert position.bias() is None
    assert not position.state_dict()
    assert position.shared


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, r"windowed_heads \(-1\) must be at least 0; null takes half of the heads"),
        (7, r"windowed_heads \(7\) must be at most num_heads \(6\); null takes half of the heads"),
        (1.5, r"windowed_heads \(1\.5\) must be a whole number"),
    ],
)
def test_other_numbers_of_heads_are_refused(value, message):
    with pytest.raises(ValueError, match=rf"^model\.position\.{message}"):
        build(windowed_heads=value)


def test_an_encoder_is_refused():
    with pytest.raises(ValueError, match="hard_alibi is for causal models alone"):
        build(causal=False)

"""Blocks of the score bias against the bias written out in full, and that nothing (L, L) is ever made."""

import math

import pytest
import torch
from dense_reference import random_model, stack_of
from hypothesis import given, settings
from hypothesis import strategies as st
from largest_result import LargestResult
from references import REFERENCES

from alibi.model.score_bias import ScoreBias
from alibi.positions import Position, build_position

METHODS = sorted(REFERENCES)
WITH_BIAS = ["alibi", "t5"]


def method(name: str, causal: bool = True, num_heads: int = 4) -> Position:
    position = build_position({"name": name}, 32, num_heads, causal)
    position.initialise(torch.Generator().manual_seed(0))
    return position.requires_grad_(False)


def in_full(position, first_query, num_keys, num_queries, causal, padding_BM=None) -> torch.Tensor:
    """(B, H, L, M) in float64, from the method's own full bias and a mask written out."""
    keys = torch.arange(num_keys)
    queries = keys[first_query : first_query + num_queries]
    bias = position.bias(queries, keys)
    bias = torch.zeros(position.num_heads, num_queries, num_keys) if bias is None else bias
    hidden = (keys > queries[:, None]) & torch.tensor(causal)
    if padding_BM is not None:
        hidden = hidden | (padding_BM[:, None, None, :] & (keys != queries[:, None]))
    return (
        bias.double()
        .expand(*(hidden.shape[:1] if hidden.dim() == 4 else (1,)), -1, -1, -1)
        .masked_fill(hidden, -math.inf)
    )


def assembled(scores: ScoreBias, dtype=torch.float64) -> torch.Tensor:
    """All blocks put together, first query first; keys that no query of a block sees are -inf."""
    rows = []
    for start, stop in scores.blocks():
        block = scores.block(start, stop, dtype)
        assert block.dtype == dtype
        rows.append(torch.nn.functional.pad(block.flip(2), (0, scores.num_keys - block.shape[-1]), value=-math.inf))
    return torch.cat(rows, dim=2)


def score_bias(position, first_query, num_keys, causal, padding_BM=None, num_queries=None) -> ScoreBias:
    keys = torch.arange(num_keys)
    stop = num_keys if num_queries is None else first_query + num_queries
    return ScoreBias(position, keys[first_query:stop], keys, first_query, causal, True, padding_BM)


@settings(max_examples=80)
@given(
    st.sampled_from(sorted(REFERENCES)), st.integers(1, 60), st.booleans(), st.booleans(), st.integers(1, 70), st.data()
)
def test_blocks_are_the_full_bias(name, num_keys, causal, padded, block_size, data):
    first_query = data.draw(st.integers(0, num_keys - 1))
    position = method(name, causal)
    padding = None
    if padded:
        padding = torch.rand(2, num_keys, generator=torch.Generator().manual_seed(num_keys)) < 0.4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alibi.model.score_bias.QUERIES_PER_BLOCK", block_size)
        scores = score_bias(position, first_query, num_keys, causal, padding)
        if scores.plain and not causal:
            assert scores.block(*scores.blocks()[0], torch.float64) is None
            return
        ours = assembled(scores)
    reference = in_full(position, first_query, num_keys, num_keys - first_query, causal, padding)
    assert torch.equal(*torch.broadcast_tensors(ours, reference))


@pytest.mark.parametrize("name", WITH_BIAS)
@pytest.mark.parametrize("causal", [True, False])
def test_band_and_dense_path_agree(name, causal):
    """The same positions, said to be consecutive and not."""
    position, keys = method(name, causal), torch.arange(600)
    band = assembled(ScoreBias(position, keys[37:], keys, 37, causal, True))
    dense = assembled(ScoreBias(position, keys[37:], keys, 37, causal, False))
    assert torch.equal(band, dense)
    shifted = assembled(ScoreBias(position, keys[37:] + 1, keys, 37, causal, False))
    assert not torch.equal(band, shifted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("consecutive", [True, False])
def test_bias_is_rounded_once_and_at_the_end(dtype, consecutive):
    position, keys = method("alibi", num_heads=12), torch.arange(5000)
    scores = ScoreBias(position, keys[-3:], keys, 4997, True, consecutive)
    exact = in_full(position, 4997, 5000, 3, causal=True)
    assert torch.equal(scores.block(0, 3, dtype).flip(2), exact.to(dtype))
    distance_in_bfloat16 = torch.arange(5000).bfloat16().double()
    assert not torch.equal(distance_in_bfloat16, torch.arange(5000).double())


def test_both_types_may_be_asked_of_one_object():
    scores = score_bias(method("alibi"), 0, 10, causal=True)
    wide, narrow = scores.block(0, 10, torch.float64), scores.block(0, 10, torch.bfloat16)
    assert (wide.dtype, narrow.dtype) == (torch.float64, torch.bfloat16)
    assert torch.equal(wide.bfloat16(), narrow)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_no_row_is_empty_though_all_be_padding(name, causal):
    padding = torch.ones(2, 20, dtype=torch.bool)
    seen = assembled(score_bias(method(name, causal), 5, 20, causal, padding)).isfinite()
    assert (seen.sum(-1) == 1).all()


class ToyBias(Position, name="toy for scores"):
    """A bias that no distance describes: it depends on the key alone."""

    def bias(self, query_positions, key_positions):
        row = (key_positions % 3).double()[..., None, :].expand(*query_positions.shape, -1)
        return row[None].expand(self.num_heads, -1, -1) if row.dim() == 2 else row[:, None]


del Position.registry["toy for scores"]


@pytest.mark.parametrize("causal", [True, False])
def test_a_method_may_give_its_bias_in_full(causal, monkeypatch):
    monkeypatch.setattr("alibi.model.score_bias.QUERIES_PER_BLOCK", 8)
    position = ToyBias(32, 4, causal)
    for rows in (torch.arange(20), torch.arange(20).expand(2, -1)):
        scores = ScoreBias(position, rows[..., 3:], rows, 3, causal, rows.dim() == 1)
        assert not scores.plain
        ours, reference = assembled(scores), in_full(position, 3, 20, 17, causal)
        assert torch.equal(*torch.broadcast_tensors(ours, reference))


@pytest.mark.parametrize("use", ["causal", "encoder", "padded", "positions", "scored tail"])
@pytest.mark.parametrize("name", METHODS)
def test_no_operation_returns_a_matrix_of_lengths(name, use):
    L = 4096
    stack = stack_of(random_model(name, num_heads=4, causal=use != "encoder", num_layers=1))
    x = torch.randn(1, L, stack.d_model, generator=torch.Generator().manual_seed(0))
    values = {
        "padded": {"padding_mask": torch.arange(L)[None] < 9},
        "positions": {"positions": 2 * torch.arange(L)},
        "scored tail": {"first_query": L - 700},
    }.get(use, {})
    with torch.no_grad(), LargestResult() as largest:
        stack(x, **values)
    assert largest.elements < L * L


def test_a_full_bias_fails_the_test_of_memory():
    keys = torch.arange(1024)
    with LargestResult() as largest:
        method("alibi").bias(keys, keys)
    assert largest.elements == 4 * 1024**2

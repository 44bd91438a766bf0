"""Blocks of the score bias against the bias written out in full, and that nothing (L, L) is ever made."""

import math

import pytest
import torch
from dense_bias import dense_bias
from dense_reference import random_model, stack_of
from hypothesis import given, settings
from hypothesis import strategies as st
from largest_result import LargestResult
from stack_inputs import ONE_A_KIND, both_ways, settings_of
from test_model_fused import bias_at

from alibi.model.mask import Mask, Pass
from alibi.model.score_bias import ScoreBias
from alibi.positions import LinearBias, PairBias, Position, build_position

# By distance, by tokens, by a table of each query, by pair, by windows of heads, and none.
NAMES = ["none", "alibi", "t5", "fox", "cable", "inkling", "fire", "hard_alibi"]
WITH_BIAS = ["alibi", "t5", "kerple_log"]


def method(name: str, causal: bool = True, num_heads: int = 4) -> Position:
    position = build_position(settings_of(name), 32, num_heads, causal)
    position.initialise(torch.Generator().manual_seed(0))
    return position.requires_grad_(False)


def in_full(added, mask: Mask) -> torch.Tensor:
    """(B, H, L, M) in float64, from the whole bias and a mask written out."""
    of, (M, window) = mask.of, (mask.of.num_keys, mask.windows)
    keys = torch.arange(M)
    queries = keys[of.first_query : of.first_query + of.num_queries]
    full = dense_bias(added, of.key_positions)
    full = full[:, :, queries] if full.shape[2] == M else full
    distance = queries[:, None] - keys
    hidden = ((distance < 0) & torch.tensor(of.causal))[None, None]
    if of.padding_BM is not None:
        hidden = hidden | (of.padding_BM[:, None, None, :] & (distance != 0))
    windows = torch.tensor([M if one is None else one for one in window])[:, None, None]
    hidden = hidden | (distance >= windows)
    B, H = (max(sizes) for sizes in zip(full.shape[:2], hidden.shape[:2], strict=True))
    return full.expand(B, H, -1, -1).masked_fill(hidden, -math.inf)


def assembled(scores: ScoreBias, dtype=torch.float64) -> torch.Tensor:
    """All blocks put together, first query first; keys that no query of a block sees are -inf."""
    rows = []
    for start, stop in scores.blocks():
        block = scores.block(start, stop, dtype)
        assert block.dtype == dtype
        rows.append(torch.nn.functional.pad(block.flip(2), (0, scores.of.num_keys - block.shape[-1]), value=-math.inf))
    return torch.cat(rows, dim=2)


def score_bias(added, num_keys: int, first_query: int = 0, **values) -> ScoreBias:
    keys = torch.arange(num_keys)
    windows = values.pop("head_windows", None)
    return ScoreBias(added, Mask(Pass(keys[first_query:], keys, first_query, **values), head_windows=windows))


def of_queries(added, first_query: int):
    """A bias with a row for each query, without its first rows."""
    if hasattr(added, "table_BHLE"):
        return type(added)(added.table_BHLE[:, :, first_query:])
    if getattr(added, "gain_BHL", None) is not None:
        return type(added)(added.log_decay_BHM, added.gain_BHL[:, :, first_query:])
    return added


@settings(max_examples=120)
@given(st.sampled_from(NAMES), st.integers(1, 60), st.booleans(), st.booleans(), st.integers(1, 70), st.data())
def test_blocks_are_the_full_bias(name, num_keys, causal, padded, block_size, data):
    causal = causal or Position.registry[name].causal_only
    first_query = data.draw(st.integers(0, num_keys - 1))
    position = method(name, causal)
    padding = None
    if padded:
        padding = torch.rand(2, num_keys, generator=torch.Generator().manual_seed(num_keys)) < 0.4
    added = bias_at(position, num_keys, batch=2)
    if padded and hasattr(added, "log_decay_BHM"):  # which attention takes for 0 there
        real = type(added)(added.log_decay_BHM * ~padding[:, None], added.gain_BHL)
    else:
        real = added
    values = {"causal": causal, "padding_BM": padding, "head_windows": position.head_windows()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alibi.model.score_bias.QUERIES_PER_BLOCK", block_size)
        scores = score_bias(of_queries(added, first_query), num_keys, first_query, **values)
        if scores.plain and not causal:
            assert scores.block(*scores.blocks()[0], torch.float64) is None
            return
        ours = assembled(scores)
    reference = in_full(real, scores.mask)
    ours, reference = torch.broadcast_tensors(ours, reference)
    seen = reference.isfinite()
    assert torch.equal(ours.isfinite(), seen)
    # Decays are rounded to float32, and a network's sums have another order in blocks of another shape.
    tolerance = 1e-6 if name in ("fire", "fox", "cable") else 0.0
    assert ((ours - reference)[seen].abs() <= tolerance * (1 + reference[seen].abs())).all()


@pytest.mark.parametrize("name", WITH_BIAS)
@pytest.mark.parametrize("causal", [True, False])
def test_band_and_dense_path_agree(name, causal):
    """The same positions, said to be consecutive and not."""
    added, keys = method(name, causal).bias(), torch.arange(600)
    of = Pass(keys[37:], keys, 37, causal)
    band = assembled(ScoreBias(added, Mask(of)))
    dense = assembled(ScoreBias(added, Mask(Pass(keys[37:], keys, 37, causal, consecutive=False))))
    assert torch.equal(band, dense)
    shifted = assembled(ScoreBias(added, Mask(Pass(keys[37:] + 1, keys, 37, causal, consecutive=False))))
    assert not torch.equal(band, shifted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("consecutive", [True, False])
def test_bias_is_rounded_once_and_at_the_end(dtype, consecutive):
    scores = score_bias(method("alibi", num_heads=12).bias(), 5000, 4997, consecutive=consecutive)
    distance = torch.arange(4997, 5000)[:, None] - torch.arange(5000)
    exact = method("alibi", num_heads=12).bias().at(distance).masked_fill(distance < 0, -math.inf)
    assert torch.equal(scores.block(0, 3, dtype).flip(2)[0], exact.to(dtype))
    distance_in_bfloat16 = torch.arange(5000).bfloat16().double()
    assert not torch.equal(distance_in_bfloat16, torch.arange(5000).double())


def test_both_types_may_be_asked_of_one_object():
    scores = score_bias(method("alibi").bias(), 10)
    wide, narrow = scores.block(0, 10, torch.float64), scores.block(0, 10, torch.float32)
    assert (wide.dtype, narrow.dtype) == (torch.float64, torch.float32)
    assert torch.equal(wide.float(), narrow)


@both_ways(NAMES)
def test_no_row_is_empty_though_all_be_padding(method, causal):
    position = build_position(settings_of(method), 32, 4, causal)
    position.initialise(torch.Generator().manual_seed(0))
    padding = torch.ones(2, 20, dtype=torch.bool)
    added = of_queries(bias_at(position, 20, batch=2), 5)
    values = {"causal": causal, "padding_BM": padding, "head_windows": position.head_windows()}
    seen = assembled(score_bias(added, 20, 5, **values)).isfinite()
    assert (seen.sum(-1) == 1).all()


@pytest.mark.parametrize("causal", [True, False])
def test_a_bias_may_be_any_function_of_two_positions(causal, monkeypatch):
    """One that no distance describes: it depends on the key alone."""
    monkeypatch.setattr("alibi.model.score_bias.QUERIES_PER_BLOCK", 8)
    added = PairBias(lambda i, j: (j % 3).double())
    for rows in (torch.arange(20), torch.arange(20).expand(2, -1), 7 * torch.arange(40).view(2, 20)):
        mask = Mask(Pass(rows[..., 3:], rows, 3, causal, rows.dim() == 1))
        scores = ScoreBias(added, mask)
        assert not scores.plain
        ours, reference = assembled(scores), in_full(added, mask)
        assert torch.equal(*torch.broadcast_tensors(ours, reference))


@pytest.mark.parametrize("window", [1, 5, 13, 40])
@pytest.mark.parametrize("added", [LinearBias(torch.tensor([0.5, 0.25])), None, PairBias(lambda i, j: 0.1 * i - j)])
def test_windows_are_in_the_blocks(added, window, monkeypatch):
    monkeypatch.setattr("alibi.model.score_bias.QUERIES_PER_BLOCK", 8)
    keys = torch.arange(40)
    for head_windows in (None, (3, None)):
        mask = Mask(Pass(keys[7:], keys, 7), window, head_windows=head_windows)
        ours, reference = assembled(ScoreBias(added, mask)), in_full(added, mask)
        assert torch.equal(*torch.broadcast_tensors(ours.isfinite(), reference.isfinite()))
        torch.testing.assert_close(*torch.broadcast_tensors(ours, reference), atol=1e-6, rtol=0, check_dtype=False)
        wider = in_full(added, Mask(Pass(keys[7:], keys, 7), window + 1, head_windows=head_windows))
        assert (ours.isfinite() != wider.isfinite()).any() or window == 40  # control


def test_the_floor_is_a_number_of_nats_below_the_own_key():
    scores = score_bias(LinearBias(torch.tensor([0.5, 2.0])), 30)
    floored = assembled(scores.floored(torch.tensor([4.0, 6.0])))
    whole = assembled(scores)
    seen = whole.isfinite()
    assert torch.equal(floored[seen], whole.maximum(-torch.tensor([4.0, 6.0]).view(1, 2, 1, 1))[seen])
    assert torch.equal(seen, floored.isfinite())
    assert torch.equal(assembled(scores), whole), "the bias itself is as it was"


ENCODERS = [name for name in ONE_A_KIND if not Position.registry[name].causal_only]
USES = [(name, use) for name in ONE_A_KIND for use in ("causal", "padded", "positions", "scored tail")]


@pytest.mark.parametrize(("name", "use"), [*USES, *((name, "encoder") for name in ENCODERS)])
def test_no_operation_returns_a_matrix_of_lengths(name, use):
    L = 4096
    stack = stack_of(random_model(settings_of(name), num_heads=4, causal=use != "encoder", num_layers=1))
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
    with LargestResult() as largest:
        dense_bias(method("alibi").bias(), torch.arange(1024))
    assert largest.elements == 4 * 1024**2

"""Which keys a query sees, against one boolean matrix written out: in parts, in blocks, and counted."""

from dataclasses import replace

import pytest
import torch
from dense_reference import random_model, stack_of
from hypothesis import given
from hypothesis import strategies as st
from stack_inputs import left_padding, tokens

from alibi.model.mask import ALL, KEYS_APART, Mask, Part, Pass
from alibi.model.score_bias import ScoreBias

NO_PADDING = torch.zeros(1, 1, dtype=torch.bool)


def mask_of(M: int, first: int = 0, causal: bool = True, padding_BM=None, **windows) -> Mask:
    keys = torch.arange(M)
    return Mask(Pass(keys[first:], keys, first, causal, padding_BM=padding_BM), **windows)


def visible(mask: Mask, window=None, sink_tokens=None, head_windows=None, block_keys=None) -> torch.Tensor:
    """(B, H, L, M) bool, from what the mask was asked for."""
    of, M = mask.of, mask.of.num_keys
    query, key = torch.arange(of.first_query, of.first_query + of.num_queries)[:, None], torch.arange(M)
    real_BM = ~(NO_PADDING.expand(1, M) if of.padding_BM is None else of.padding_BM)
    sink_BM = real_BM & (real_BM.cumsum(1) <= (sink_tokens or 0))
    seen = []
    for own in head_windows or (None,):
        inside = torch.ones(len(query), M, dtype=torch.bool)
        for one in (window, own):
            if one is not None:
                inside &= query - key < one
        if block_keys is not None:
            half = (block_keys + 1) // 2
            inside &= query // half - key // half <= 1
        seen.append(inside | sink_BM[:, None, :])
    seen_BHLM = torch.stack(seen, dim=1) & real_BM[:, None, None, :] | (query == key)
    return seen_BHLM & (query >= key) if of.causal else seen_BHLM


@st.composite
def masks(draw) -> tuple[Mask, dict]:
    """A mask, and what it was asked for; padding is on the left."""
    M, causal = draw(st.integers(1, 60)), draw(st.booleans())
    padding = None
    if draw(st.booleans()):
        lengths = draw(st.lists(st.integers(1, M), min_size=2, max_size=3))
        padding = left_padding(lengths, M)
    wanted = {}
    if causal:
        some = st.none() | st.integers(1, 70)
        wanted = {"window": draw(some), "head_windows": draw(st.none() | st.tuples(some, some, some, some))}
        wanted["block_keys"] = draw(some)
        wanted["sink_tokens"] = draw(st.none() | st.integers(1, 8))
    return mask_of(M, draw(st.integers(0, M - 1)), causal, padding, **wanted), wanted


def blocks(mask: Mask, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, mask.of.num_queries)) for start in range(0, mask.of.num_queries, size)]


@given(masks(), st.integers(1, 70), st.sampled_from([1, 5, KEYS_APART]))
def test_parts_are_the_keys_of_a_block_once_and_all_of_them(asked, size, apart):
    """Each part has a key for every real query: the kernel's sum over no key at all is wrong."""
    mask, wanted = asked
    seen_BHLM = visible(mask, **wanted)
    num_heads = seen_BHLM.shape[1]
    real_BM = ~(NO_PADDING if mask.of.padding_BM is None else mask.of.padding_BM).expand(-1, mask.of.num_keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alibi.model.mask.KEYS_APART", apart)
        for start, stop in blocks(mask, size):
            real_BL = real_BM[:, mask.of.first_query + start : mask.of.first_query + stop]
            visits = torch.zeros(num_heads, mask.of.num_keys, dtype=torch.long)
            for first, last, heads in mask.parts(start, stop):
                visits[heads, first:last] += 1
                some_BHL = seen_BHLM[:, heads, start:stop, first:last].any(-1)
                assert (some_BHL | ~real_BL[:, None]).all(), (first, last)
            needed = seen_BHLM[:, :, start:stop].any(2).any(0).expand(num_heads, -1)
            assert (visits[needed] == 1).all()
            assert (visits <= 1).all()


def test_keys_outside_a_window_are_in_no_part():
    mask = mask_of(5000, window=100)
    assert mask.parts(4000, 4256) == [Part(3901, 4256, ALL)]
    assert mask.parts(0, 256) == [Part(0, 256, ALL)]
    assert mask_of(5000, first=1000, window=100).parts(0, 10) == [Part(901, 1010, ALL)]
    sinks = mask_of(5000, window=100, sink_tokens=4)
    assert sinks.parts(4000, 4256) == [Part(0, 4, ALL), Part(3901, 4256, ALL)]
    assert sinks.parts(100, 256) == [Part(0, 256, ALL)], "one part where the sinks touch the window"
    assert mask_of(5000).parts(4000, 4256) == [Part(0, 4256, ALL)]
    assert mask_of(5000, causal=False).parts(4000, 4256) == [Part(0, 5000, ALL)]


def test_a_window_counts_the_query_itself():
    for window in (1, 2, 5):
        seen = ScoreBias(None, mask_of(9, window=window)).block(0, 9, torch.float32)[0, 0].flip(0).isfinite()
        distance = torch.arange(9)[:, None] - torch.arange(9)
        assert torch.equal(seen, (distance >= 0) & (distance < window))
    assert mask_of(9, window=1).keys_of_queries().tolist() == [[[1] * 9]]
    assert not mask_of(9, window=9).windowed, "as wide as all keys: no window"
    assert mask_of(9, window=8).windowed


def test_a_window_of_one_attends_to_itself_alone():
    """The output is then the value of the token itself, whatever the others are."""
    stack = stack_of(random_model("none", window=1, num_layers=1)).double()
    x = tokens(stack, 300).double()
    alone = torch.cat([stack(x[:, at : at + 1]) for at in range(300)], dim=1)
    assert (stack(x) - alone).abs().max() < 1e-12
    stack.blocks[0].layer.window = 2
    assert (stack(x) - alone).abs().max() > 1e-2


def test_sinks_are_the_first_real_tokens_of_each_row():
    padding = left_padding([40, 25, 3], 40)
    mask = mask_of(40, padding_BM=padding, window=2, sink_tokens=3)
    seen_BLM = ScoreBias(None, mask).block(0, 40, torch.float32)[:, 0].flip(1).isfinite()
    last = [row.nonzero()[:, 0].tolist() for row in seen_BLM[:, -1]]
    assert last == [[0, 1, 2, 38, 39], [15, 16, 17, 38, 39], [37, 38, 39]]
    assert mask.parts(38, 40) == [Part(0, 40, ALL)], "those of all rows touch the window"
    wide = mask_of(400, padding_BM=left_padding([400, 385, 363], 400), window=2, sink_tokens=3)
    assert wide.parts(390, 400) == [Part(0, 40, ALL), Part(389, 400, ALL)]


def test_heads_whose_windows_begin_close_together_share_a_part():
    windows = (1, 2, 100, 1000, 1100, None)
    parts = mask_of(5000, head_windows=windows).parts(3000, 3256)
    assert parts == [
        Part(3001 - 100, 3256, slice(0, 3)),
        Part(3001 - 1100, 3256, slice(3, 5)),
        Part(0, 3256, slice(5, 6)),
    ]
    assert mask_of(5000, head_windows=(7, 7, 7)).windows == (7,), "heads that are alike have one window"
    assert mask_of(5000, 0, window=50, head_windows=windows).windows == (1, 2, 50, 50, 50, 50), "the narrower counts"
    parts = mask_of(5000, head_windows=(None, 1, None)).parts(3000, 3256)
    assert [part.heads for part in parts] == [slice(0, 1), slice(1, 2), slice(2, 3)], "only neighbours share one"
    with_sinks = mask_of(5000, head_windows=(1, None), sink_tokens=2).parts(3000, 3256)
    assert with_sinks == [Part(0, 2, slice(0, 1)), Part(3000, 3256, slice(0, 1)), Part(0, 3256, slice(1, 2))]


def hidden(mask: Mask, start: int, stop: int, first: int, last: int) -> torch.Tensor:
    """(B, H, C, N), first query first: what the line hides, and what it does not say."""
    distance = mask.of.index_distance(start, stop, first, last)
    along = mask.line_hides(distance, windowed=not mask.has_sinks(first, last))[None]
    rest = mask.hides(start, stop, first, last)
    return (along if rest is None else along | rest).flip(2)


@given(masks(), st.integers(1, 70))
def test_line_and_blocks_hide_what_the_matrix_hides(asked, size):
    mask, wanted = asked
    seen_BHLM = visible(mask, **wanted)
    for start, stop in blocks(mask, size):
        for first, last, heads in mask.parts(start, stop):
            ours = hidden(mask, start, stop, first, last)
            ours = ours if ours.shape[1] == 1 else ours[:, heads]
            matrix = ~seen_BHLM[:, heads if seen_BHLM.shape[1] > 1 else ALL, start:stop, first:last]
            assert torch.equal(*torch.broadcast_tensors(ours, matrix))


def test_blockwise_a_query_sees_its_own_half_block_and_the_one_before():
    assert mask_of(100, block_keys=8).keys_of_queries()[0, 0].tolist()[:14] == [
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        5,
        6,
        7,
        8,
        5,
        6,
    ]
    assert mask_of(100, block_keys=8).parts(20, 24) == [Part(16, 24, ALL)]
    assert mask_of(8, block_keys=8).plain, "one block hides nothing"
    assert mask_of(9, block_keys=9).plain, "of an odd block the half is the larger one"


def test_a_window_off_by_one_fails_the_comparison():
    """Control."""
    mask = mask_of(30, window=7, sink_tokens=2)
    assert torch.equal(hidden(mask, 0, 30, 0, 30), ~visible(mask, window=7, sink_tokens=2))
    for wrong in ({"window": 8, "sink_tokens": 2}, {"window": 7, "sink_tokens": 3}, {"window": 7}):
        assert not torch.equal(hidden(mask, 0, 30, 0, 30), ~visible(mask, **wrong))


@given(masks())
def test_keys_of_queries_are_the_visible_ones_counted(asked):
    mask, wanted = asked
    counted = visible(mask, **wanted).sum(-1)
    ours = mask.keys_of_queries()
    assert (ours >= 1).all()
    if mask.of.padding_BM is not None:  # what a padding query sees is no matter
        queries = slice(mask.of.first_query, mask.of.first_query + mask.of.num_queries)
        padding_B1L = mask.of.padding_BM[:, None, queries]
        ours, counted = (torch.where(padding_B1L, 1, x) for x in (ours, counted))
    assert torch.equal(*torch.broadcast_tensors(ours, counted))


GAPS = torch.tensor([[False, True, False, True, False] + 7 * [False], [True, True, False, False, True] + 7 * [False]])


@pytest.mark.parametrize("wanted", [{"window": 3}, {"window": 4, "sink_tokens": 1}])
def test_keys_of_queries_are_counted_where_padding_lies_between_tokens(wanted):
    mask = mask_of(12, padding_BM=GAPS, **wanted)
    counted, ours = visible(mask, **wanted).sum(-1), mask.keys_of_queries()
    assert torch.equal(ours.masked_fill(GAPS[:, None], 1), counted.masked_fill(GAPS[:, None], 1))


@pytest.mark.parametrize("wanted", [{"window": 2, "sink_tokens": 2}, {"window": 1, "sink_tokens": 5}])
def test_sinks_are_real_tokens_where_padding_lies_between_them(wanted):
    mask = mask_of(12, padding_BM=GAPS, **wanted)
    assert torch.equal(hidden(mask, 0, 12, 0, 12), ~visible(mask, **wanted))


def test_windows_do_not_mind_padding_between_tokens():
    for wanted in ({"window": 2}, {"head_windows": (1, 3, None)}):
        mask = mask_of(12, padding_BM=GAPS, **wanted)
        assert torch.equal(*torch.broadcast_tensors(hidden(mask, 0, 12, 0, 12), ~visible(mask, **wanted)))
    mask = mask_of(12, padding_BM=GAPS)
    assert torch.equal(mask.keys_of_queries()[0, 0], torch.tensor([1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]))


@given(masks(), st.integers(1, 70))
def test_every_query_sees_the_keys_between_the_edges_of_a_block(asked, size):
    """Without sinks and blocks; the first and last keys of the edges are hidden from some query, or they are wide."""
    mask, wanted = asked
    wanted = {**wanted, "sink_tokens": None, "block_keys": None}
    seen_BHLM = visible(Mask(replace(mask.of, padding_BM=None), **wanted), **wanted)
    for start, stop in blocks(mask, size):
        first, last = 0, mask.of.keys_seen(stop)
        between = torch.ones(mask.of.num_keys, dtype=torch.bool)
        between[last:] = False
        for begin, end in mask.edges(start, stop, first, last):
            assert between[begin:end].all(), "no key is in two of them"
            between[begin:end] = False
        assert seen_BHLM[:, :, start:stop, between].all()
        assert between.any() or mask.narrowest is not None or start + mask.of.first_query == 0


def test_a_row_of_padding_gives_numbers_with_windows_and_sinks():
    stack = stack_of(random_model("alibi", window=5, sink_tokens=2))
    padding = left_padding([600, 300, 0], 600)
    x = tokens(stack, 600).requires_grad_()
    out = stack(x, padding_mask=padding)
    assert out.isfinite().all()
    (out**2).sum().backward()
    assert x.grad.isfinite().all()
    alone = stack(x[1:2, 300:])
    assert (out[1, 300:] - alone[0]).abs().max() < 1e-5


def test_the_narrowest_window_of_any_head():
    assert mask_of(50, window=20, head_windows=(None, 3)).narrowest == 3
    assert mask_of(50, window=20).narrowest == 20
    assert mask_of(50).narrowest is None


def test_a_pass_without_its_first_queries():
    of = Pass(torch.arange(10, 18), torch.arange(18), 10)
    rest = of.after(3)
    assert (rest.first_query, rest.num_queries, rest.num_keys) == (13, 5, 18)
    assert torch.equal(rest.query_positions, torch.arange(13, 18))
    assert of.after(0) is of
    assert (of.keys_seen(2), Pass(torch.arange(3), torch.arange(9), causal=False).keys_seen(2)) == (12, 9)
    assert rest.index_distance(1, 3, 12, 15).tolist() == [[3, 2, 1], [2, 1, 0]]

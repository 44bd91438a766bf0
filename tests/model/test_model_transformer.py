"""The stack in use: padding, cache, a range of queries, explicit positions, and what it refuses."""

import pytest
import torch
from dense_reference import random_model, stack_of
from hypothesis import given, settings
from hypothesis import strategies as st

from alibi.model import KeyValueCache
from alibi.positions import Position

METHODS = sorted(Position.registry)
CAUSAL_OR_NOT = pytest.mark.parametrize("causal", [True, False], ids=["causal", "encoder"])


def tokens(stack, length: int, batch: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, length, stack.d_model, generator=torch.Generator().manual_seed(seed))


def left_padding(lengths: list[int], width: int) -> torch.Tensor:
    return torch.arange(width) < width - torch.tensor(lengths)[:, None]


def positions_of(padding_BL: torch.Tensor) -> torch.Tensor:
    """Counted from the first real token; padding stands at 0."""
    return ((~padding_BL).cumsum(1) - 1).clamp(min=0)


@pytest.mark.parametrize("side", ["left", "right"])
@CAUSAL_OR_NOT
@pytest.mark.parametrize("method", METHODS)
def test_padding_changes_nothing_for_real_tokens(method, causal, side):
    stack = stack_of(random_model(method, causal=causal))
    lengths, width = [300, 7, 1], 300
    padding = left_padding(lengths, width) if side == "left" else left_padding(lengths, width).flip(1)
    x = tokens(stack, width)
    out = stack(x, positions_of(padding), padding)
    assert out.isfinite().all()
    other = torch.where(padding[..., None], 50 * tokens(stack, width, seed=1), x)
    assert torch.equal(stack(other, positions_of(padding), padding)[~padding], out[~padding])
    for row, length in enumerate(lengths):
        alone = stack(x[row][~padding[row]][None])
        assert (out[row][~padding[row]] - alone[0]).abs().max() < 1e-5, length
    if causal and side == "right":
        return  # there no token could see the padding anyway
    # Control: without the mask the padding is felt.
    unmasked = stack(other, positions_of(padding)) - stack(x, positions_of(padding))
    assert unmasked[~padding].abs().max() > 1e-2


@CAUSAL_OR_NOT
@pytest.mark.parametrize("method", ["alibi", "none", "rotary", "t5"])
def test_methods_of_distance_need_no_positions_with_left_padding(method, causal):
    stack = stack_of(random_model(method, causal=causal))
    padding = left_padding([20, 7, 1], 20)
    x = tokens(stack, 20)
    out = stack(x, padding_mask=padding)
    assert (out - stack(x, positions_of(padding), padding))[~padding].abs().max() < 1e-5


@CAUSAL_OR_NOT
@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_padding_gives_numbers_and_gradients(method, causal):
    stack = stack_of(random_model(method, causal=causal))
    x = tokens(stack, 9).requires_grad_()
    out = stack(x, padding_mask=torch.ones(3, 9, dtype=torch.bool))
    assert out.isfinite().all()
    (out**2).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in stack.parameters() if p.grad is not None)


@CAUSAL_OR_NOT
@pytest.mark.parametrize("method", METHODS)
def test_a_mask_without_padding_is_no_mask(method, causal):
    stack = stack_of(random_model(method, causal=causal))
    x = tokens(stack, 20)
    assert (stack(x, padding_mask=torch.zeros(3, 20, dtype=torch.bool)) - stack(x)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(3, 20),
        torch.ones(3, 20, dtype=torch.long),
        torch.zeros(3, 19, dtype=torch.bool),
        torch.zeros(20, dtype=torch.bool),
        torch.zeros(1, 20, dtype=torch.bool),
        torch.zeros(3, 1, 20, 20, dtype=torch.bool),
    ],
    ids=["float", "integers", "short", "flat", "one row", "scores"],
)
def test_a_mask_of_another_kind_is_refused_with_the_rule(mask):
    stack = stack_of(random_model("alibi"))
    with pytest.raises(ValueError, match=r"must be bool \(3, 20\), True where a token is padding") as error:
        stack(tokens(stack, 20), padding_mask=mask)
    assert str(mask.dtype) in str(error.value)
    assert str(tuple(mask.shape)) in str(error.value)


def decode(stack, x, cuts: list[int], cache: KeyValueCache, positions=None, padding=None) -> torch.Tensor:
    """Hidden states of x fed in pieces that end at `cuts`."""
    out, begin = [], 0
    for end in cuts:
        piece = slice(begin, end)
        out.append(
            stack(
                x[:, piece],
                None if positions is None else positions[..., piece],
                None if padding is None else padding[:, piece],
                cache,
            )
        )
        assert len(cache) == end
        begin = end
    return torch.cat(out, dim=1)


PREFILL_THEN_SINGLE = [24, *range(25, 81)]


@pytest.mark.parametrize("method", METHODS)
def test_cached_decoding_is_the_full_pass(method):
    """Prefill and then a token at a time, to more than three times the prefill and past 64."""
    stack = stack_of(random_model(method))
    x = tokens(stack, 80)
    full = stack(x)
    assert (decode(stack, x, PREFILL_THEN_SINGLE, KeyValueCache()) - full).abs().max() < 1e-5
    # Control: positions that begin anew at each piece, as in a cache that forgets where it is.
    begun_anew = torch.cat([torch.arange(24), torch.zeros(56, dtype=torch.long)])
    wrong = decode(stack, x, PREFILL_THEN_SINGLE, KeyValueCache(), begun_anew)
    if method != "none":
        assert (wrong - full)[:, 24:].abs().max() > 1e-2


@pytest.mark.parametrize("method", METHODS)
def test_cached_decoding_far_out_and_over_query_blocks(method):
    stack = stack_of(random_model(method))
    x = tokens(stack, 1100, batch=1)
    decoded = decode(stack, x, [300, 301, 600, 1099, 1100], KeyValueCache())
    assert (decoded - stack(x)).abs().max() < 1e-5


@pytest.mark.parametrize("with_positions", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_cached_decoding_with_left_padding(method, with_positions):
    stack = stack_of(random_model(method))
    padding = torch.cat([left_padding([24, 7, 1], 24), torch.zeros(3, 56, dtype=torch.bool)], dim=1)
    positions = positions_of(padding) if with_positions else None
    x = tokens(stack, 80)
    full = stack(x, positions, padding)
    decoded = decode(stack, x, PREFILL_THEN_SINGLE, KeyValueCache(), positions, padding)
    assert (decoded - full)[~padding].abs().max() < 1e-5
    if with_positions or method != "sinusoidal":
        for row in range(3):
            alone = stack(x[row][~padding[row]][None])
            assert (decoded[row][~padding[row]] - alone[0]).abs().max() < 1e-5
    # The mask is needed for the prefill alone, and positions go on from the last ones.
    cache = KeyValueCache()
    prefill = stack(x[:, :24], None if positions is None else positions[:, :24], padding[:, :24], cache)
    rest = decode_from(stack, x, 24, cache)
    assert (torch.cat([prefill, rest], dim=1) - full)[~padding].abs().max() < 1e-5


def decode_from(stack, x, begin: int, cache: KeyValueCache) -> torch.Tensor:
    return torch.cat([stack(x[:, at : at + 1], cache=cache) for at in range(begin, x.shape[1])], dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_padding_may_come_after_the_prefill(method):
    """Rows that end early are fed padding from then on."""
    stack = stack_of(random_model(method))
    padding = torch.zeros(3, 20, dtype=torch.bool)
    padding[1, 12:] = True
    x = tokens(stack, 20)
    cache = KeyValueCache()
    decoded = [stack(x[:, :10], cache=cache)]
    decoded += [stack(x[:, at : at + 1], padding_mask=padding[:, at : at + 1], cache=cache) for at in range(10, 20)]
    assert (torch.cat(decoded, dim=1) - stack(x, padding_mask=padding))[~padding].abs().max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_cache_keeps_explicit_positions(method):
    """Positions with gaps, then implied ones: they count on from the last position, not from the number of keys."""
    stack = stack_of(random_model(method))
    x = tokens(stack, 30)
    gaps = torch.randint(1, 7, (3, 30), generator=torch.Generator().manual_seed(0)).cumsum(1)
    assert (decode(stack, x, [10, 11, 20, 30], KeyValueCache(), gaps) - stack(x, gaps)).abs().max() < 1e-5
    cache = KeyValueCache()
    shared = gaps[0].clone()
    shared[10:] = shared[9] + 1 + torch.arange(20)
    prefill = stack(x[:, :10], shared[:10], cache=cache)
    decoded = torch.cat([prefill, decode_from(stack, x, 10, cache)], dim=1)
    assert (decoded - stack(x, shared)).abs().max() < 1e-5


@settings(max_examples=40)
@given(st.sampled_from(METHODS), st.lists(st.integers(1, 39), unique=True, max_size=8), st.booleans())
def test_cache_does_not_mind_how_the_tokens_are_cut(method, cuts, padded):
    stack = stack_of(random_model(method)).double()
    padding = left_padding([40, 11, 2], 40) if padded else None
    x = tokens(stack, 40).double()
    decoded = decode(stack, x, [*sorted(cuts), 40], KeyValueCache(), padding=padding)
    assert (decoded - stack(x, padding_mask=padding)).abs().max() < 1e-12


@pytest.mark.parametrize("first_query", [1, 256, 299])
@CAUSAL_OR_NOT
@pytest.mark.parametrize("method", METHODS)
def test_first_query_is_a_slice_of_the_full_result(method, causal, first_query):
    stack = stack_of(random_model(method, causal=causal)).double()
    x = tokens(stack, 300).double()
    padding = left_padding([300, 200, 100], 300)
    rows = positions_of(padding)
    for values in ({}, {"padding_mask": padding}, {"positions": rows}, {"positions": rows[2], "padding_mask": padding}):
        full = stack(x, **values)
        assert full.shape == x.shape
        assert (stack(x, **values, first_query=first_query) - full[:, first_query:]).abs().max() < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_first_query_fills_the_cache_all_the_same(method):
    stack = stack_of(random_model(method))
    x = tokens(stack, 30)
    cache = KeyValueCache()
    last = stack(x[:, :20], cache=cache, first_query=19)
    middle = stack(x[:, 20:29], cache=cache, first_query=4)
    out = torch.cat([last, middle, stack(x[:, 29:], cache=cache)], dim=1)
    full = stack(x)
    assert (out - torch.cat([full[:, 19:20], full[:, 24:]], dim=1)).abs().max() < 1e-5


@CAUSAL_OR_NOT
@pytest.mark.parametrize("method", METHODS)
def test_consecutive_positions_said_aloud_change_nothing(method, causal):
    stack = stack_of(random_model(method, causal=causal))
    x = tokens(stack, 40)
    out = stack(x)
    for positions in (torch.arange(40), torch.arange(40).expand(3, -1), torch.arange(40, dtype=torch.int32)):
        assert (stack(x, positions) - out).abs().max() < 1e-5


@pytest.mark.parametrize("method", ["alibi", "none", "rotary", "t5"])
def test_methods_of_distance_do_not_feel_where_the_text_begins(method):
    stack = stack_of(random_model(method)).double()
    x = tokens(stack, 40).double()
    assert (stack(x, torch.arange(40) + 50_000) - stack(x)).abs().max() < 1e-7


def test_sinusoids_feel_where_the_text_begins():
    stack = stack_of(random_model("sinusoidal")).double()
    x = tokens(stack, 40).double()
    assert (stack(x, torch.arange(40) + 50_000) - stack(x)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": torch.zeros(2, 5, 23)}, r"x has shape \(2, 5, 23\); it must be \(batch, seq, d_model\) with d_model 24"),
        ({"x": torch.zeros(5, 24)}, r"x has shape \(5, 24\)"),
        ({"x": torch.zeros(2, 0, 24)}, r"no tokens"),
        ({"first_query": 5}, r"first_query \(5\) must be at least 0 and below the 5 tokens"),
        ({"first_query": -1}, r"first_query \(-1\)"),
        ({"positions": torch.arange(6)}, r"positions have shape \(6,\); they must be \(5,\) or \(2, 5\)"),
        ({"positions": torch.zeros(3, 5, dtype=torch.long)}, r"positions have shape \(3, 5\)"),
    ],
)
def test_bad_input_is_refused_with_the_rule(values, message):
    stack = stack_of(random_model("alibi"))
    with pytest.raises(ValueError, match=message):
        stack(**{"x": torch.zeros(2, 5, 24), **values})


def test_an_encoder_takes_no_cache():
    stack = stack_of(random_model("alibi", causal=False))
    with pytest.raises(ValueError, match=r"cache needs a causal model.*causal=False; leave the cache out"):
        stack(torch.zeros(2, 5, 24), cache=KeyValueCache())


@pytest.mark.parametrize("method", METHODS)
def test_no_state_grows_and_no_mask_is_saved(method):
    stack = stack_of(random_model(method))
    before = set(stack.state_dict())
    stack(tokens(stack, 700))
    assert not list(stack.buffers())
    assert set(stack.state_dict()) == before == {name for name, _ in stack.named_parameters()}


def test_dropout_acts_on_the_residual_and_on_the_activation_in_training_only():
    for values in ({"dropout": 0.5}, {"activation_dropout": 0.5}):
        stack = stack_of(random_model("none", **values))
        x = tokens(stack, 5)
        assert torch.equal(stack(x), stack(x))
        stack.train()
        assert not torch.equal(stack(x), stack(x))


def test_final_norm_may_be_left_out():
    stack = stack_of(random_model("alibi", final_norm=False))
    assert not [name for name, _ in stack.named_parameters() if "final_norm" in name]
    assert stack(tokens(stack, 5)).std() > 1.2

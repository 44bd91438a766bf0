"""The key/value cache: decoding in pieces is the full pass, whatever the cuts, the padding and the positions."""

import copy

import pytest
import torch
from dense_reference import in_float64, random_model, stack_of
from hypothesis import given, settings
from hypothesis import strategies as st
from stack_inputs import (
    ABSOLUTE,
    METHODS,
    ONE_A_KIND,
    WITHOUT_POSITIONS,
    left_padding,
    positions_of,
    settings_of,
    tokens,
)
from torch.utils._python_dispatch import TorchDispatchMode

from alibi.model import KeyValueCache

PREFILL_THEN_SINGLE = [24, *range(25, 81)]


@pytest.fixture(autouse=True, scope="module")
def without_gradients():
    """As one decodes; only then are the cache's buffers written in place."""
    with torch.no_grad():
        yield


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


@pytest.mark.parametrize("method", ONE_A_KIND)
def test_cached_decoding_is_the_full_pass(method):
    """Prefill and then a token at a time, to more than three times the prefill and past 64."""
    stack = stack_of(random_model(settings_of(method)))
    x = tokens(stack, 80)
    full = stack(x)
    assert (decode(stack, x, PREFILL_THEN_SINGLE, KeyValueCache()) - full).abs().max() < 1e-5
    # Control: positions that begin anew at each piece, as in a cache that forgets where it is.
    begun_anew = torch.cat([torch.arange(24), torch.zeros(56, dtype=torch.long)])
    wrong = decode(stack, x, PREFILL_THEN_SINGLE, KeyValueCache(), begun_anew)
    if method not in WITHOUT_POSITIONS:
        assert (wrong - full)[:, 24:].abs().max() > 1e-2


@pytest.mark.parametrize("method", ONE_A_KIND)
def test_cached_decoding_far_out_and_over_query_blocks(method):
    stack = stack_of(random_model(settings_of(method)))
    x = tokens(stack, 1100, batch=1)
    decoded = decode(stack, x, [300, 301, 600, 1099, 1100], KeyValueCache())
    assert (decoded - stack(x)).abs().max() < 1e-5


@pytest.mark.parametrize("with_positions", [False, True])
@pytest.mark.parametrize("method", ONE_A_KIND)
def test_cached_decoding_with_left_padding(method, with_positions):
    stack = stack_of(random_model(settings_of(method)))
    padding = torch.cat([left_padding([24, 7, 1], 24), torch.zeros(3, 56, dtype=torch.bool)], dim=1)
    positions = positions_of(padding) if with_positions else None
    x = tokens(stack, 80)
    full = stack(x, positions, padding)
    decoded = decode(stack, x, PREFILL_THEN_SINGLE, KeyValueCache(), positions, padding)
    assert (decoded - full)[~padding].abs().max() < 1e-5
    if with_positions or method not in ABSOLUTE:
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


@pytest.mark.parametrize("method", ONE_A_KIND)
def test_padding_may_come_after_the_prefill(method):
    """Rows that end early are fed padding from then on."""
    stack = stack_of(random_model(settings_of(method)))
    padding = torch.zeros(3, 20, dtype=torch.bool)
    padding[1, 12:] = True
    x = tokens(stack, 20)
    cache = KeyValueCache()
    decoded = [stack(x[:, :10], cache=cache)]
    decoded += [stack(x[:, at : at + 1], padding_mask=padding[:, at : at + 1], cache=cache) for at in range(10, 20)]
    assert (torch.cat(decoded, dim=1) - stack(x, padding_mask=padding))[~padding].abs().max() < 1e-5


@pytest.mark.parametrize("method", ONE_A_KIND)
def test_cache_keeps_explicit_positions(method):
    """Positions with gaps, then implied ones: they count on from the last position, not from the number of keys."""
    stack = stack_of(random_model(settings_of(method)))
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
    stack = stack_of(random_model(settings_of(method))).double()
    padding = left_padding([40, 11, 2], 40) if padded else None
    x = tokens(stack, 40).double()
    decoded = decode(stack, x, [*sorted(cuts), 40], KeyValueCache(), padding=padding)
    assert (decoded - stack(x, padding_mask=padding)).abs().max() < 1e-12


@pytest.mark.parametrize("method", ONE_A_KIND)
def test_first_query_fills_the_cache_all_the_same(method):
    stack = stack_of(random_model(settings_of(method)))
    x = tokens(stack, 30)
    cache = KeyValueCache()
    last = stack(x[:, :20], cache=cache, first_query=19)
    middle = stack(x[:, 20:29], cache=cache, first_query=4)
    out = torch.cat([last, middle, stack(x[:, 29:], cache=cache)], dim=1)
    full = stack(x)
    assert (out - torch.cat([full[:, 19:20], full[:, 24:]], dim=1)).abs().max() < 1e-5


LAYERS = {
    "near": {
        "position": {"name": "fox"},
        "window": 9,
        "sink_tokens": 2,
        "query_scale": {"name": "ssmax", "length": 30},
    },
    "far": {"position": {"name": "none"}, "query_scale": {"name": "log_n", "length": 5}},
}


@pytest.mark.parametrize("padded", [False, True])
def test_layers_with_windows_sinks_and_scales_decode_as_in_the_full_pass(padded):
    stack = stack_of(random_model({}, pattern=["near", "far"], layer_types=copy.deepcopy(LAYERS), num_layers=3))
    padding = torch.cat([left_padding([24, 7, 1], 24), torch.zeros(3, 56, dtype=torch.bool)], dim=1)
    padding = padding if padded else torch.zeros_like(padding)
    x = tokens(stack, 80)
    full = stack(x, padding_mask=padding if padded else None)
    decoded = decode(stack, x, PREFILL_THEN_SINGLE, KeyValueCache(), padding=padding if padded else None)
    assert (decoded - full)[~padding].abs().max() < 1e-5
    # Control: keys beyond the window are felt where there is none.
    for block in stack.blocks:
        block.layer.window = None
    without = decode(stack, x, PREFILL_THEN_SINGLE, KeyValueCache(), padding=padding if padded else None)
    assert (without - full)[~padding].abs().max() > 1e-2


def test_an_encoder_takes_no_cache():
    stack = stack_of(random_model("alibi", causal=False))
    with pytest.raises(ValueError, match=r"cache needs a causal model.*causal=False; leave the cache out"):
        stack(torch.zeros(2, 5, 24), cache=KeyValueCache())


def test_a_cache_serves_one_batch():
    stack, cache = stack_of(random_model("none")), KeyValueCache()
    stack(torch.zeros(3, 5, 24), cache=cache)
    with pytest.raises(ValueError, match="x has 1 rows and the cache holds 3"):
        stack(torch.zeros(1, 5, 24), cache=cache)


@pytest.mark.parametrize("method", ONE_A_KIND)
def test_buffers_give_the_bits_of_joining_anew(method):
    """Where gradients may be recorded, or a buffer may not be written to, all keys are joined anew."""
    stack = stack_of(random_model(settings_of(method))).requires_grad_(False)
    padding = left_padding([24, 7, 1], 24)
    x = tokens(stack, 80)

    def decoded(cache: KeyValueCache, at: int = 24) -> torch.Tensor:
        prefill = stack(x[:, :at], positions_of(padding), padding, cache)
        return torch.cat([prefill, decode_from(stack, x, at, cache)], dim=1)

    in_place, joined, mixed = KeyValueCache(), KeyValueCache(), KeyValueCache()
    out = decoded(in_place)
    with torch.enable_grad():
        assert torch.equal(decoded(joined), out)
    with torch.inference_mode():
        prefill = [stack(x[:, :24], positions_of(padding), padding, mixed)]
        prefill.append(decode_from(stack, x[:, :30], 24, mixed))
    rest = decode_from(stack, x, 30, mixed)
    assert torch.equal(torch.cat([*(p.clone() for p in prefill), rest], dim=1), out)
    for cache in (joined, mixed):
        assert torch.equal(cache.positions, in_place.positions)
        assert torch.equal(cache.padding_mask, in_place.padding_mask)
        assert all(torch.equal(a, b) for a, b in zip(cache.keys, in_place.keys, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(cache.values, in_place.values, strict=True))


@pytest.mark.parametrize("method", ["rotary", "alibi_learned", "fire", "fox", "inkling", "hard_alibi"])
def test_gradients_go_through_the_cache(method):
    stack = in_float64(stack_of(random_model(settings_of(method))))
    x, weights = tokens(stack, 20).double(), tokens(stack, 20, seed=1).double()
    with torch.enable_grad():
        (decode(stack, x, [8, 9, 10, 20], KeyValueCache()) * weights).sum().backward()
        through_cache = [p.grad.clone() for p in stack.parameters()]
        stack.zero_grad()
        (stack(x) * weights).sum().backward()
    assert all((a - p.grad).abs().max() < 1e-10 for a, p in zip(through_cache, stack.parameters(), strict=True))


def test_what_the_cache_was_given_is_never_written_to():
    stack, cache = stack_of(random_model("sinusoidal")), KeyValueCache()
    positions, padding = torch.arange(8).expand(3, -1).contiguous(), left_padding([8, 3, 1], 8)
    before = positions.clone(), padding.clone()
    x = tokens(stack, 30)
    stack(x[:, :8], positions, padding, cache)
    first = cache.keys[0]
    kept = first.clone()
    decode_from(stack, x, 8, cache)
    assert torch.equal(positions, before[0])
    assert torch.equal(padding, before[1])
    assert torch.equal(first, kept)


class Copied(TorchDispatchMode):
    """Counts the numbers that joins and copies write."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.cat, torch.ops.aten.copy_):
            self.elements += result.numel()
        return result


def test_a_token_costs_no_copy_of_the_cache():
    """Numbers copied while decoding grow in step with the tokens: 8 times the tokens, at most 9 times the copies."""
    new = torch.zeros(1, 2, 1, 4)

    def copied(tokens: int) -> int:
        cache = KeyValueCache()
        with Copied() as count:
            for _ in range(tokens):
                cache.extend(0, new, new)
        return count.elements

    assert copied(512) < 9 * copied(64) < 9 * 64 * 3 * 2 * new.numel()
    with torch.enable_grad():  # control: joined anew at each token
        assert copied(512) > 50 * copied(64)

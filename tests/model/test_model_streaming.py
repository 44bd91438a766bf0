"""Positions inside a cache of sink tokens and window, against each pair of a query and a key worked out alone."""

import pytest
import torch
from dense_reference import in_float64, random_model, reference_hidden, stack_of
from stack_inputs import METHODS, WITHOUT_POSITIONS, left_padding, positions_of, settings_of, tokens

from alibi.model import KeyValueCache
from alibi.positions import Position

CACHE = {"window": 9, "sink_tokens": 3, "positions_in_cache": True}
COUNTING = [method for method in METHODS if Position.registry[method].counts_positions]
EVERY = pytest.mark.parametrize("method", COUNTING)
LENGTH = 31


def stack(method: str, **values):
    settings = settings_of(method) | ({"extent": 8} if method == "inkling" else {})
    return in_float64(stack_of(random_model(settings, **{**CACHE, **values})))


def test_a_method_states_whether_it_counts_positions():
    assert {one for one in METHODS if one not in COUNTING} == WITHOUT_POSITIONS


@EVERY
def test_stack_is_the_dense_reference(method):
    model = stack(method)
    x = tokens(model, LENGTH).double()
    with torch.no_grad():
        ours, theirs = model(x), reference_hidden(model, x)
    assert (ours - theirs).abs().max() < 1e-10


@EVERY
def test_the_reference_notices_positions_of_the_text(method):
    """Control: the same keys with their places in the text."""
    model, of_text = stack(method), stack(method, positions_in_cache=None)
    x = tokens(model, LENGTH).double()
    with torch.no_grad():
        apart = (of_text(x) - reference_hidden(model, x)).abs().max()
    if method == "inkling":  # its table ends before the window does: only tau counts, and 31 tokens are few
        assert apart > 1e-6
    else:
        assert apart > 1e-4


@EVERY
def test_cached_decoding_is_one_full_pass(method):
    model, cache = stack(method), KeyValueCache()
    x = tokens(model, LENGTH).double()
    with torch.no_grad():
        parts = [model(x[:, :14], cache=cache), *(model(x[:, at : at + 1], cache=cache) for at in range(14, LENGTH))]
        assert (torch.cat(parts, dim=1) - model(x)).abs().max() < 1e-10


@EVERY
def test_left_padding_changes_nothing_for_real_tokens(method):
    model = stack(method)
    x, padding = tokens(model, LENGTH).double(), left_padding([LENGTH, 20, 2], LENGTH)
    with torch.no_grad():
        padded = model(x, positions_of(padding), padding)
        for row, length in enumerate([LENGTH, 20, 2]):
            alone = model(x[row : row + 1, LENGTH - length :])
            assert (padded[row, LENGTH - length :] - alone[0]).abs().max() < 1e-10


@pytest.mark.parametrize("method", ["rotary", "alibi", "sinusoidal", "fire"])
def test_no_distance_is_longer_than_the_cache(method):
    """Tokens that repeat with the period of nothing: far into the text, every step looks alike."""
    model = stack(method)
    x = tokens(model, 1).double().expand(-1, 200, -1)
    with torch.no_grad():
        out = model(x)
    # The last layer's states depend on the first layer's, which settle once the cache is full of settled ones.
    assert (out[:, 150:] - out[:, 150:151]).abs().max() < 1e-10


def test_a_method_that_counts_no_positions_is_refused():
    model = stack_of(random_model("fox", **CACHE))
    with pytest.raises(ValueError, match=r"^fox counts no positions, inside a cache or elsewhere; use sink_mask\.$"):
        model(tokens(model, LENGTH))


def test_a_table_longer_than_the_window_is_refused():
    model = stack_of(random_model(settings_of("inkling"), **CACHE))
    with pytest.raises(
        ValueError, match=r"^inkling has a table of 20 distances, and the window \(9\) is shorter; use a wider"
    ):
        model(tokens(model, LENGTH))

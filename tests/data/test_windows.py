"""Evaluation windows: each target once, at every length; and the sums that this makes right."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alibi.data.windows import Window, read_windows, window_batches, windows


@st.composite
def protocols(draw) -> tuple[int, int, int]:
    """(tokens, length, stride)"""
    length = draw(st.integers(1, 40))
    return draw(st.integers(0, 200)), length, draw(st.integers(1, length))


@given(protocols())
def test_each_target_is_scored_exactly_once(protocol: tuple[int, int, int]) -> None:
    num_tokens, length, stride = protocol
    scored = [target for w in windows(num_tokens, length, stride) for target in range(w.first, w.stop)]
    assert scored == list(range(num_tokens))


@given(protocols())
def test_the_rule_to_the_letter(protocol: tuple[int, int, int]) -> None:
    num_tokens, length, stride = protocol
    for k, window in enumerate(windows(num_tokens, length, stride)):
        assert window.first == k * stride
        assert window.stop == min((k + 1) * stride, num_tokens)
        assert window.start == max(0, (k + 1) * stride - length)
        assert window.start <= window.first < window.stop
        assert window.shape == (window.stop - window.start, window.first - window.start)
        assert window.shape[0] <= length


@given(protocols())
def test_a_target_has_the_context_the_protocol_promises(protocol: tuple[int, int, int]) -> None:
    """Between length - stride + 1 and length inputs, or all there are."""
    num_tokens, length, stride = protocol
    for window in windows(num_tokens, length, stride):
        for target in range(window.first, window.stop):
            inputs = target - window.start + 1
            assert min(length - stride + 1, target + 1) <= inputs <= length


def test_stride_equal_to_length_is_blocks_with_the_last_shorter() -> None:
    assert list(windows(10, 4, 4)) == [Window(0, 0, 4), Window(4, 4, 8), Window(8, 8, 10)]
    assert list(windows(8, 4, 4)) == [Window(0, 0, 4), Window(4, 4, 8)]
    assert list(windows(3, 4, 4)) == [Window(0, 0, 3)]


def test_early_windows_grow() -> None:
    assert list(windows(11, 6, 2)) == [
        Window(0, 0, 2),
        Window(0, 2, 4),
        Window(0, 4, 6),
        Window(2, 6, 8),
        Window(4, 8, 10),
        Window(6, 10, 11),
    ]
    assert list(windows(3, 2, 1)) == [Window(0, 0, 1), Window(0, 1, 2), Window(1, 2, 3)]


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (4, 0), (4, 5), (4, -1)])
def test_impossible_protocols_are_refused(length: int, stride: int) -> None:
    with pytest.raises(AssertionError, match=rf"stride {stride}, length {length}"):
        list(windows(10, length, stride))


@given(protocols(), st.integers(1, 300))
@example((6, 6, 4), 300)  # two windows of four inputs, of which one scores four and the other two
def test_batches_partition_the_windows_in_order(protocol: tuple[int, int, int], batch_tokens: int) -> None:
    batches = list(window_batches(*protocol, batch_tokens))
    assert [w for batch in batches for w in batch] == list(windows(*protocol))
    for batch in batches:
        assert len({w.shape for w in batch}) == 1
        assert len(batch) == 1 or len(batch) * batch[0].shape[0] <= batch_tokens
    for batch, following in pairwise(batches):
        # As full as they may be: the next window has another shape, or no room.
        same = following[0].shape == batch[0].shape
        assert not same or (len(batch) + 1) * batch[0].shape[0] > batch_tokens


def test_a_batch_is_read_into_inputs_and_scored_targets(make_stream) -> None:
    tokens = make_stream(np.arange(100, 120), end_of_text=7)
    first, *_, last = window_batches(20, 6, 2, batch_tokens=12)
    inputs, targets = read_windows(tokens, first)
    assert inputs.tolist() == [[7, 100]]
    assert targets.tolist() == [[100, 101]]
    inputs, targets = read_windows(tokens, [Window(2, 6, 8), Window(4, 8, 10)])
    assert inputs.tolist() == [[101, 102, 103, 104, 105, 106], [103, 104, 105, 106, 107, 108]]
    assert targets.tolist() == [[106, 107], [108, 109]]
    inputs, targets = read_windows(tokens, last)
    assert inputs[-1].tolist() == list(range(113, 119))
    assert targets[-1].tolist() == [118, 119]
    assert inputs.dtype == targets.dtype == np.int64


@given(protocols(), st.integers(1, 100))
def test_every_scored_target_follows_its_input(make_stream, protocol: tuple[int, int, int], batch_tokens: int) -> None:
    num_tokens, length, stride = protocol
    tokens = make_stream(np.arange(1, num_tokens + 1), end_of_text=0)  # each token is the one before it plus one
    seen = []
    for batch in window_batches(num_tokens, length, stride, batch_tokens):
        inputs, targets = read_windows(tokens, batch)
        length_of, unscored = batch[0].shape
        assert inputs.shape == (len(batch), length_of)
        assert targets.shape == (len(batch), length_of - unscored)
        assert (inputs[:, unscored:] + 1 == targets).all()
        assert (np.diff(inputs, axis=1) == 1).all()
        seen += targets.flatten().tolist()
    assert seen == list(range(1, num_tokens + 1))


# What published evaluators get wrong is counting; each test has their count beside ours as the control.
# The toy model's nats fall with the context it is given and wander slowly along the text.


def toy_nats(window: Window) -> np.ndarray:
    targets = np.arange(window.first, window.stop)
    context = targets - window.start + 1
    return 3.0 + 1.5 / np.sqrt(context) + 0.3 * np.sin(targets / 400)


def test_no_mean_of_window_means() -> None:
    """yarn, LongLoRA: the first window scores `length` targets and the others `stride`, yet all weigh alike."""
    num_tokens, length, stride = 2500, 2048, 256
    nats = [toy_nats(w) for w in windows(num_tokens, length, stride)]
    total, count = sum(n.sum() for n in nats), sum(len(n) for n in nats)
    assert count == num_tokens
    true = math.exp(total / num_tokens)
    assert true == pytest.approx(math.exp(np.concatenate(nats).mean()), rel=1e-12)
    assert abs(math.exp(np.mean([n.mean() for n in nats])) - true) > 1e-3 * true


def test_no_batch_means_merged_by_batch_count() -> None:
    """levanter: the ragged last batch weighs as much as a full one."""
    num_tokens, length = 1000, 64
    batches = [[toy_nats(w) for w in batch] for batch in window_batches(num_tokens, length, length, 256)]
    flat = [np.concatenate(batch) for batch in batches]
    assert sum(map(len, flat)) == num_tokens
    assert len(flat[-1]) != len(flat[0])
    true = np.concatenate(flat).mean()
    assert sum(n.sum() for n in flat) / num_tokens == pytest.approx(true, rel=1e-12)
    assert abs(np.mean([n.mean() for n in flat]) - true) > 1e-4


@pytest.mark.parametrize(("length", "stride"), [(64, 64), (64, 16), (512, 512), (512, 1), (4096, 4096)])
def test_a_windows_first_token_is_scored(length: int, stride: int) -> None:
    """The Hugging Face recipe: a window's first target is never scored, one lost a window without overlap."""
    num_tokens = 2000
    made = list(windows(num_tokens, length, stride))
    assert sum(w.stop - w.first for w in made) == num_tokens
    assert made[0].first == made[0].start == 0
    if stride == length:
        assert all(w.first == w.start for w in made)
        assert sum(w.stop - w.first - 1 for w in made) == num_tokens - len(made) < num_tokens


def test_every_length_scores_the_same_tokens(make_stream) -> None:
    """nanoGPT, KERPLE: another sample of tokens at each length, so the curve mixes length with text."""
    ids = np.random.default_rng(0).integers(1, 60_000, 1500)
    tokens = make_stream(ids)
    for length, stride in ((1, 1), (7, 7), (64, 64), (64, 10), (1000, 1000), (1000, 333), (5000, 5000)):
        scored = [read_windows(tokens, b)[1].flatten() for b in window_batches(len(ids), length, stride, 2048)]
        assert np.array_equal(np.concatenate(scored), ids)

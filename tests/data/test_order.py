"""Training order: every block once an epoch, and a position in it that is two integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alibi.data import Cursor, TrainingOrder

PINNED = [4, 6, 2, 7, 3, 5, 9, 0, 8, 1, 9, 1, 3, 8, 7, 6, 0, 4, 2, 5]


def take(order: TrainingOrder, count: int, cursor: Cursor | None = None) -> list[int]:
    return order.blocks(cursor or Cursor(), count)[0].tolist()


def test_every_block_once_an_epoch_and_epochs_differ(make_stream) -> None:
    order = TrainingOrder(make_stream(np.arange(1003)), 10, seed=0)
    assert order.num_blocks == 100
    blocks = take(order, 300)
    epochs = [blocks[at : at + 100] for at in (0, 100, 200)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(100))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epochs[0] != list(range(100))


def test_the_seed_decides(make_stream) -> None:
    tokens = make_stream(np.arange(1000))
    orders = [take(TrainingOrder(tokens, 10, seed), 250) for seed in (3, 3, 4)]
    assert orders[0] == orders[1]
    assert orders[0][:100] != orders[2][:100]
    # Epoch 1 of a seed is not epoch 0 of the next.
    assert orders[0][100:200] != orders[2][:100]


def test_the_order_is_pinned(make_stream) -> None:
    """A resumed run must meet the order that it began with, whatever version of the code it began with."""
    order = TrainingOrder(make_stream(np.arange(80)), 8, seed=0)
    assert take(order, 20) == PINNED


@given(
    num_blocks=st.integers(1, 12),
    chunks=st.lists(st.integers(1, 30), min_size=1, max_size=10),
    seed=st.integers(0, 2**63),
)
def test_how_it_is_cut_does_not_matter(make_stream, num_blocks: int, chunks: list[int], seed: int) -> None:
    tokens = make_stream(np.arange(num_blocks * 2 + 1))
    whole, end = TrainingOrder(tokens, 2, seed).blocks(Cursor(), sum(chunks))
    cursor, parts = Cursor(), []
    for count in chunks:
        # A new object each time: nothing but the cursor is carried, as after a restart.
        part, cursor = TrainingOrder(tokens, 2, seed).blocks(cursor, count)
        assert len(part) == count
        parts += part.tolist()
    assert parts == whole.tolist()
    assert cursor == end == Cursor(*divmod(sum(chunks), num_blocks))


def test_one_object_may_go_back(make_stream) -> None:
    order = TrainingOrder(make_stream(np.arange(70)), 10, seed=1)
    first = take(order, 7)
    assert take(order, 7, Cursor(5, 0)) != first
    assert take(order, 7) == first
    assert take(order, 3, Cursor(0, 4)) == first[4:]


def test_a_read_gives_targets_and_what_precedes_them(make_stream) -> None:
    order = TrainingOrder(make_stream(np.arange(100, 135), end_of_text=7), 10, seed=0)
    inputs, targets = order.read(np.array([2, 0]))
    assert targets.tolist() == [list(range(120, 130)), list(range(100, 110))]
    # The first input of a block is the true token before it, and end-of-text for the first of all.
    assert inputs.tolist() == [list(range(119, 129)), [7, *range(100, 109)]]
    assert inputs.shape == targets.shape == (2, 10)
    assert inputs.dtype == targets.dtype == np.int64


def test_an_epoch_reads_every_token_once_but_the_rest(make_stream) -> None:
    order = TrainingOrder(make_stream(np.arange(57)), 8, seed=2)
    _, targets = order.read(order.blocks(Cursor(), 7)[0])
    assert sorted(targets.flatten().tolist()) == list(range(56))


def test_a_block_longer_than_the_text_is_refused(make_stream) -> None:
    with pytest.raises(ValueError, match=r"train.seq_len \(41\) is above the 40 tokens"):
        TrainingOrder(make_stream(np.arange(40)), 41, seed=0)
    assert take(TrainingOrder(make_stream(np.arange(40)), 40, seed=0), 3) == [0, 0, 0]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("index", [4, 5, 100])
def test_a_cursor_of_another_text_is_refused(make_stream, index: int) -> None:
    order = TrainingOrder(make_stream(np.arange(40)), 10, seed=0)
    with pytest.raises(AssertionError, match=rf"index={index}\).*4 blocks"):
        order.blocks(Cursor(0, index), 1)

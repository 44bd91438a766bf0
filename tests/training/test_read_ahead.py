"""Reading ahead changes when sequences are read, never which."""

import threading

import numpy as np
import pytest
import torch

from alibi.data import TrainingOrder
from alibi.data.order import Cursor
from alibi.training.read_ahead import ReadAhead

CPU = torch.device("cpu")


class Watched:
    """An order that notes which thread read what."""

    def __init__(self) -> None:
        self.reads = []

    def read(self, blocks):
        self.reads.append((list(blocks), threading.current_thread() is threading.main_thread()))
        ids = np.array(blocks)[:, None] * 10 + np.arange(3)
        return ids, ids + 1


def test_what_was_announced_is_read_once_and_elsewhere():
    order = Watched()
    sequences = ReadAhead(order, CPU)
    sequences.announce(np.array([4, 2]))
    inputs, targets = sequences.read(np.array([4, 2]))
    assert inputs.tolist() == [[40, 41, 42], [20, 21, 22]]
    assert torch.equal(targets, inputs + 1)
    assert order.reads == [([4, 2], False)]


def test_what_was_not_announced_is_read_all_the_same():
    order = Watched()
    sequences = ReadAhead(order, CPU)
    assert sequences.read(np.array([1]))[0].tolist() == [[10, 11, 12]]
    sequences.announce(np.array([5, 6]))
    assert sequences.read(np.array([6]))[0].tolist() == [[60, 61, 62]]
    assert [main for blocks, main in order.reads if blocks != [5, 6]] == [True, True]


def test_a_read_that_fails_says_so_when_it_is_asked_for():
    class Broken:
        def read(self, blocks):
            raise OSError("the disk is gone")

    sequences = ReadAhead(Broken(), CPU)
    sequences.announce(np.array([1]))
    with pytest.raises(OSError, match="the disk is gone"):
        sequences.read(np.array([1]))


def test_sequences_are_those_of_the_order(make_stream):
    order = TrainingOrder(make_stream(range(100)), 8, seed=0)
    sequences, (blocks, _) = ReadAhead(order, CPU), order.blocks(Cursor(), 5)
    sequences.announce(blocks)
    for mine, direct in zip(sequences.read(blocks), order.read(blocks), strict=True):
        assert torch.equal(mine, torch.from_numpy(direct))

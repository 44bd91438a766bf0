"""Reads the next sequences in a thread, so that no step waits for the disk."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from alibi.data import TrainingOrder


class ReadAhead:
    """
    Args:
        order: the sequences are read from it.
        device: where they will be used; for a GPU they are read into pinned memory.
    """

    def __init__(self, order: TrainingOrder, device: torch.device) -> None:
        self.order, self.pin = order, device.type == "cuda"
        self._pool = ThreadPoolExecutor(1)
        self._announced: Sequence[int] = ()
        self._reading: Future | None = None

    def announce(self, blocks: Sequence[int]) -> None:
        """Start reading the blocks that will be asked for next."""
        self._announced, self._reading = blocks, self._pool.submit(self._read, blocks)

    def read(self, blocks: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Inputs and targets, (blocks, seq_len) each, whether announced or not."""
        if self._reading is not None and np.array_equal(blocks, self._announced):
            return self._reading.result()
        return self._read(blocks)

    def _read(self, blocks: Sequence[int]) -> tuple[Tensor, Tensor]:
        inputs, targets = (torch.from_numpy(ids) for ids in self.order.read(blocks))
        return (inputs.pin_memory(), targets.pin_memory()) if self.pin else (inputs, targets)

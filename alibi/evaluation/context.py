"""Nats by context: the number of input tokens that the prediction of a target can see.

The context is 1 for the first target of a window, and the length for the last.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from alibi.data import Window

EXACT_TO = 64
BINS_PER_OCTAVE = 4


def context_bins(length: int) -> np.ndarray:
    """Upper ends of the bins, the last one `length`: 1, 2, ... 64, then four to an octave.

    Powers of two are ends, so curves of different lengths share their bins.
    """
    octaves = np.arange(1, BINS_PER_OCTAVE * 64)
    ends = np.concatenate([np.arange(1, EXACT_TO + 1), np.ceil(EXACT_TO * 2 ** (octaves / BINS_PER_OCTAVE))])
    return np.append(ends[ends < length], length).astype(np.int64)


class ContextSums:
    """Accumulator: number of targets and their nats, by context, for windows of at most `length` inputs.

    Bin i holds contexts above up_to[i - 1], or 0, and at most up_to[i].
    """

    def __init__(self, length: int) -> None:
        self.up_to = context_bins(length)
        self.targets = np.zeros(len(self.up_to), np.int64)
        self.nats = np.zeros(len(self.up_to))

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None:
        inputs, unscored = windows[0].shape  # one shape a batch
        bins = np.searchsorted(self.up_to, np.arange(unscored + 1, inputs + 1))
        self.targets += len(windows) * np.bincount(bins, minlength=len(self.up_to))
        self.nats += np.bincount(bins, nats_BS.double().sum(0).cpu().numpy(), len(self.up_to))

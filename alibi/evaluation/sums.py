"""Sums of nats over the text, over each group of it and by context, and the metrics that follow from them.

Groups are what the bootstrap resamples: the text's documents, or blocks of whole lines if it has too few. Targets of
one article are not independent draws; articles are. The groups depend on the lines of the text alone, so they are the
same at every length, for every run and for every tokenizer.

The context of a target is the number of input tokens that its prediction can see: 1 for the first target of a window,
and the length for the last.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alibi.data import TokenFile, Window
from alibi.results import exp

EXACT_TO = 64
BINS_PER_OCTAVE = 4
# Fewer documents do not show how much they vary.
MIN_DOCUMENTS = 10
# More would only lengthen every row of a result file: neighbouring documents share a group.
MAX_GROUPS = 1000
# Least size of a block. A word is at least one token, whatever the tokenizer.
BLOCK_WORDS = 4096


@dataclass
class NatsSum:
    """Total nats and number of targets; added in float64, whatever the type of the nats."""

    nats: float = 0.0
    tokens: int = 0

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None:
        self.nats += nats_BS.sum(dtype=torch.float64).item()
        self.tokens += nats_BS.numel()


@dataclass(frozen=True)
class Groups:
    """
    Attributes:
        kind: documents or blocks.
        sizes: (G, 3) int64: tokens, words and bytes of each group, in text order.
    """

    kind: str
    sizes: np.ndarray


def text_groups(tokens: TokenFile) -> Groups:
    """The groups of a text, or of the part of it that is scored."""
    sizes, starts = tokens.line_sizes(), tokens.document_lines()
    kind = "documents" if len(starts) >= MIN_DOCUMENTS else "blocks"
    if kind == "blocks":
        starts = _block_starts(sizes[:, 1])
    starts = starts[:: -(-len(starts) // MAX_GROUPS)].copy()
    starts[0] = 0  # lines before the first heading belong to the first document
    return Groups(kind, np.add.reduceat(sizes, starts, axis=0, dtype=np.int64))


def _block_starts(words: np.ndarray) -> np.ndarray:
    """First lines of blocks of at least BLOCK_WORDS words; a shorter rest joins the block before it."""
    before = np.concatenate([[0], np.cumsum(words, dtype=np.int64)])
    starts = [0]
    while True:
        start = int(np.searchsorted(before, before[starts[-1]] + BLOCK_WORDS))
        if start >= len(before) or before[-1] - before[start] < BLOCK_WORDS:
            return np.array(starts)
        starts.append(start)


class GroupSums:
    """Accumulator: nats of each group."""

    def __init__(self, groups: Groups) -> None:
        self.ends = np.cumsum(groups.sizes[:, 0])  # for each group, the target after its last one
        self.nats = np.zeros(len(self.ends))

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None:
        targets = np.concatenate([np.arange(w.first, w.stop) for w in windows])
        group = np.searchsorted(self.ends, targets, side="right")
        self.nats += np.bincount(group, nats_BS.double().cpu().numpy().ravel(), len(self.nats))


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


class TargetNats:
    """Accumulator: the nats of each of N targets, float32."""

    def __init__(self, number: int) -> None:
        self.nats_N = np.zeros(number, np.float32)

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None:
        for window, nats_S in zip(windows, nats_BS.float().cpu().numpy(), strict=True):
            self.nats_N[window.first : window.stop] = nats_S

    @staticmethod
    def row(parts: Sequence["TargetNats"]) -> dict:
        """The nats themselves, which the result file puts beside it."""
        return {"nats": sum(part.nats_N for part in parts)}


def perplexity(nats: float, count: int) -> float:
    """exp(nats / count): of tokens, or of words where `count` is words.

    Raises:
        OverflowError: the mean is above 709 nats, or not a number; saying which.
    """
    mean = nats / count
    if not math.isfinite(mean):
        raise OverflowError(f"the sum of nats is {nats}")
    if exp(mean) == math.inf:
        raise OverflowError(f"exp({mean:.4g} nats) is above the largest float64")
    return exp(mean)


def bits_per_byte(nats: float, num_bytes: int) -> float:
    return nats / (math.log(2) * num_bytes)

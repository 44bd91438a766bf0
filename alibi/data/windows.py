"""Evaluation windows: which targets are scored in which pass, after which inputs. Integers only.

One rule: pass k scores the targets [k * stride, (k + 1) * stride), with inputs that begin at
max(0, (k + 1) * stride - length). stride = length is the nonoverlapping evaluation. The input of target t is token
t - 1, and end-of-text for t = 0, so all N tokens are scored, each exactly once, at every length and stride.

Source: the ALiBi authors' `eval_lm.py` and `token_block_dataset.py`, in its counting.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alibi.data.token_file import TokenFile


@dataclass(frozen=True)
class Window:
    """Inputs of the targets [start, stop), of which [first, stop) are scored."""

    start: int
    first: int
    stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """(inputs, unscored inputs): windows of one shape can share a batch."""
        return self.stop - self.start, self.first - self.start


def windows(num_tokens: int, length: int, stride: int) -> Iterator[Window]:
    """All windows of a stream, in order."""
    assert 1 <= stride <= length, f"stride {stride}, length {length}: a larger stride would leave targets out"
    for first in range(0, num_tokens, stride):
        yield Window(max(0, first + stride - length), first, min(first + stride, num_tokens))


def window_batches(num_tokens: int, length: int, stride: int, batch_tokens: int) -> Iterator[list[Window]]:
    """Windows of one shape, in order, as many as hold at most `batch_tokens` inputs (at least one)."""
    batch: list[Window] = []
    for window in windows(num_tokens, length, stride):
        full = (len(batch) + 1) * window.shape[0] > batch_tokens
        if batch and (full or window.shape != batch[0].shape):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def read_windows(tokens: TokenFile, batch: list[Window]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (B, L) and scored targets (B, S) of windows of one shape, int64."""
    inputs = np.stack([tokens.inputs(w.start, w.stop) for w in batch])
    return inputs, np.stack([tokens.targets(w.first, w.stop) for w in batch])

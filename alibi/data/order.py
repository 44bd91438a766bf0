"""Training order: the stream is cut into blocks of seq_len; an epoch is a seeded permutation of the blocks.

A position in it is two integers, (epoch, index), so resuming is exact. The order is global: it does not depend on
the number of processes, or on how a batch is cut into micro-batches.
"""

from dataclasses import dataclass

import numpy as np

from alibi.data.token_file import TokenFile
from alibi.data.windows import Window, read_windows


@dataclass(frozen=True)
class Cursor:
    """The next block: `index` in the permutation of `epoch`."""

    epoch: int = 0
    index: int = 0


class TrainingOrder:
    """
    Args:
        tokens: the train split.
        seq_len: tokens of a block; what is left over at the end is not trained on.
        seed: of the permutations.

    Raises:
        ValueError: seq_len is larger than the number of tokens.
    """

    def __init__(self, tokens: TokenFile, seq_len: int, seed: int) -> None:
        self.num_blocks = len(tokens) // seq_len
        if self.num_blocks < 1:
            has = f"the {len(tokens)} tokens of the train split"
            raise ValueError(f"train.seq_len ({seq_len}) is above {has}; use fewer.")
        self.tokens, self.seq_len, self.seed = tokens, seq_len, seed
        self._epoch, self._permutation = -1, np.array([], int)

    def blocks(self, cursor: Cursor, count: int) -> tuple[np.ndarray, Cursor]:
        """The next `count` blocks, and the cursor after them; an epoch may end in between."""
        assert cursor.index < self.num_blocks, f"{cursor} is past the {self.num_blocks} blocks of an epoch"
        taken = []
        while count > 0:
            block = self._of_epoch(cursor.epoch)[cursor.index : cursor.index + count]
            taken.append(block)
            count -= len(block)
            at_end = cursor.index + len(block) == self.num_blocks
            cursor = Cursor(cursor.epoch + 1, 0) if at_end else Cursor(cursor.epoch, cursor.index + len(block))
        return np.concatenate(taken), cursor

    def read(self, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of blocks, (blocks, seq_len) int64 each."""
        starts = [int(block) * self.seq_len for block in blocks]
        return read_windows(self.tokens, [Window(start, start, start + self.seq_len) for start in starts])

    def count_targets(self, blocks: np.ndarray) -> int:
        """Targets of these blocks."""
        return len(blocks) * self.seq_len

    def _of_epoch(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
            self._epoch, self._permutation = epoch, generator.permutation(self.num_blocks)
        return self._permutation

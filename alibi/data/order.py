"""Training order: the stream in blocks of seq_len, an epoch a seeded permutation of the blocks.

A position in it is two integers, (epoch, index), so resuming is exact. The order is global: it does
not depend on the number of processes, nor on how a batch is cut into micro-batches.
"""

from dataclasses import dataclass

import numpy as np

from alibi.data.token_file import TokenFile


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
        ValueError: seq_len is above the number of tokens.
    """

    def __init__(self, tokens: TokenFile, seq_len: int, seed: int) -> None:
        self.num_blocks = len(tokens) // seq_len
        if self.num_blocks < 1:
            raise ValueError(
                f"train.seq_len ({seq_len}) is above the {len(tokens)} tokens of the train split; use a shorter one."
            )
        self.tokens, self.seq_len, self.seed = tokens, seq_len, seed
        self._epoch, self._permutation = -1, np.array([], int)

    def blocks(self, cursor: Cursor, count: int) -> tuple[np.ndarray, Cursor]:
        """The next `count` blocks, and the cursor behind them; an epoch may end in between.

        Raises:
            ValueError: the cursor is of a longer text, or of shorter blocks.
        """
        if cursor.index >= self.num_blocks:
            raise ValueError(
                f"the cursor's index ({cursor.index}) is beyond the {self.num_blocks} blocks of an epoch; "
                "resume with the text and the train.seq_len that it comes from."
            )
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
        ranges = [(int(b) * self.seq_len, (int(b) + 1) * self.seq_len) for b in blocks]
        inputs = np.stack([self.tokens.inputs(start, stop) for start, stop in ranges])
        return inputs, np.stack([self.tokens.targets(start, stop) for start, stop in ranges])

    def _of_epoch(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
            self._epoch, self._permutation = epoch, generator.permutation(self.num_blocks)
        return self._permutation

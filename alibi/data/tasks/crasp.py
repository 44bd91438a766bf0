"""Blocks: strings a..ab..ba..a of k blocks, in which every prefix is asked whether the last one has begun.

    <s> a a b b b a      k = 3: answers no no no no no yes

In the logic C-RASP a transformer of depth d without position expresses this for k up to d + 2, and for no more; then
it should extend to longer strings. For methods that know positions the theory says nothing. No string has more blocks:
whether the fourth has begun or the second, one layer that counts letters could not tell.

Source: Yang et al., "Knee-Deep in C-RASP", arXiv 2506.16055: the task and its lengths.
"""

from dataclasses import dataclass

import numpy as np

from alibi.data.tasks.base import IGNORED, START, Strings, Task


class Crasp(Task, name="crasp"):
    """A string of n letters has n + 1 tokens and n answers."""

    @dataclass
    class Settings:
        """
        Attributes:
            k: number of blocks.
        """

        k: int = 3

    @staticmethod
    def check(settings: Settings) -> None:
        if settings.k < 2:
            raise ValueError(f"data.task.k ({settings.k}) must be at least 2.")

    @property
    def least(self) -> int:
        return self.settings.k + 1

    @property
    def symbols(self) -> list[str]:
        return ["a", "b", "no", "yes"]

    @property
    def shortest(self) -> int:
        """101 letters where the longest has 150."""
        return max(self.least, self.trained + 1 - (self.trained - 1) // 3)

    def draw(self, generator: np.random.Generator, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        letters = int(generator.integers(low, high + 1)) - 1
        begins = 1 + generator.permutation(letters - 1)[: self.settings.k - 1]
        block = np.bincount(begins, minlength=letters).cumsum()  # the first is 0
        inputs = np.append(START, self.id_of(0) + block % 2)
        targets = np.append(IGNORED, self.id_of(2) + (block >= self.settings.k - 1))
        return inputs, targets

    def baseline(self, strings: Strings) -> float:
        """The more frequent answer."""
        yes = (strings.targets_SL == self.id_of(3)).sum()
        share = yes / (strings.targets_SL != IGNORED).sum()
        return float(max(share, 1 - share))

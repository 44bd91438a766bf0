"""Copy: a string of symbols, a separator, and the string again.

    <s> c a b | c a b </s>      answers: c a b </s>, each predicted from all before it

Source: the copy task of Huang et al., "A Formal Framework for Understanding Length Generalization in Transformers",
arXiv 2410.02140, with fewer symbols and shorter strings.
"""

from dataclasses import dataclass

import numpy as np

from alibi.data.tasks.base import END, IGNORED, START, Strings, Task


class Copy(Task, name="copy"):
    """A string of n symbols has 2n + 2 tokens and n + 1 answers."""

    @dataclass
    class Settings:
        """
        Attributes:
            alphabet: number of symbols; with 2 no few tokens say where in the string a model is.
        """

        alphabet: int = 64

    least = 4

    @staticmethod
    def check(settings: Settings) -> None:
        if settings.alphabet < 2:
            raise ValueError(f"data.task.alphabet ({settings.alphabet}) must be at least 2.")

    def check_length(self, length: int, name: str) -> None:
        super().check_length(length, name)
        if length == self.trained + 1 and length % 2:
            rule = f"strings of copy have an even number of tokens, so none of {length} is longer than the trained ones"
            raise ValueError(f"{name} ({length}): {rule}; use {length + 1}.")

    @property
    def symbols(self) -> list[str]:
        return ["|", *(f"s{number}" for number in range(self.settings.alphabet))]

    def draw(self, generator: np.random.Generator, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        number = generator.integers(-(-low // 2), high // 2 + 1) - 1
        symbols = self.id_of(1) + generator.integers(self.settings.alphabet, size=number)
        inputs = np.concatenate([[START], symbols, [self.id_of(0)], symbols])
        targets = np.concatenate([np.full(number + 1, IGNORED), symbols, [END]])
        return inputs, targets

    def baseline(self, strings: Strings) -> float:
        """One of the string's symbols at random; never the end."""
        expected = answers = 0.0
        for targets in strings.targets_SL:
            counts = np.bincount(targets[targets > END])
            expected += (counts**2).sum() / counts.sum()
            answers += counts.sum() + 1
        return expected / answers

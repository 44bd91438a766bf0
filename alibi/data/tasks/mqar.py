"""Multi-query associative recall: pairs of a key and a value, and keys again, which ask for their value.

A string is cut into slots of two tokens. A slot holds a pair, a query (the key again, and its value, which is the
answer), or filler. The layout decides what is found, so there are three:

    anywhere   a quarter of the slots are pairs, half are queries, a quarter is noise, in any order
    first      the same with all pairs first, and blanks for noise
    full       a quarter of the slots are pairs, and all others queries

Source: Arora et al., "Zoology", arXiv 2312.04927, whose layout is `first`; theirs asks for keys near their pairs more
often, here all slots are alike.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from alibi.data.tasks.base import IGNORED, PADDING, Strings, Task

TOKENS_PER_PAIR = 8  # of a string at the training length


class Mqar(Task, name="mqar"):
    """Strings fill their length; where pairs are fixed, anywhere and first have fewer slots filled."""

    @dataclass
    class Settings:
        """
        Attributes:
            keys: number of keys, and of values, and of symbols that are noise.
            layout: anywhere, first, full.
            load: growing: a pair for every 8 tokens; fixed: as many at every length as at the training length.
        """

        keys: int = 64
        layout: Literal["anywhere", "first", "full"] = "anywhere"
        load: Literal["growing", "fixed"] = "growing"

    least = TOKENS_PER_PAIR

    @staticmethod
    def check(settings: Settings) -> None:
        if settings.keys < 2:
            raise ValueError(f"data.task.keys ({settings.keys}) must be at least 2.")

    @property
    def symbols(self) -> list[str]:
        return [f"{kind}{number}" for kind in ("k", "v", "n") for number in range(self.settings.keys)]

    @property
    def shortest(self) -> int:
        return self.trained

    def check_length(self, length: int, name: str) -> None:
        super().check_length(length, name)
        if (pairs := self.pairs(length)) > (keys := self.settings.keys):
            rule = f"have {pairs} pairs, more than data.task.keys ({keys})"
            raise ValueError(f"{name}: strings of {length} tokens {rule}; load=fixed has {self.pairs(self.trained)}.")
        if (needed := 2 * (pairs + self.queries(length))) > length:
            raise ValueError(f"{name} ({length}) must be at least {needed}, for {pairs} pairs and their queries.")

    def pairs(self, length: int) -> int:
        """Pairs of a string."""
        return (length if self.settings.load == "growing" else self.trained) // TOKENS_PER_PAIR

    def queries(self, length: int) -> int:
        """Queries of a string."""
        pairs = self.pairs(length)
        return max(1, length // 2 - pairs) if self.settings.layout == "full" else 2 * pairs

    def draw(self, generator: np.random.Generator, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        pairs, slots, number = self.pairs(high), high // 2, self.settings.keys
        keys, values = (generator.permutation(number)[:pairs] for _ in range(2))
        symbols = np.stack([self.id_of(0) + keys, self.id_of(number) + values], axis=1)
        string_S2 = self._filler(generator, slots)
        filled, of_slot = self._places(generator, pairs, slots)
        string_S2[filled] = symbols[of_slot]
        inputs = np.full(high, PADDING)
        inputs[: 2 * slots] = string_S2.ravel()
        queries = np.delete(filled, np.unique(of_slot, return_index=True)[1])
        targets = np.full(high, IGNORED)
        targets[2 * queries] = inputs[2 * queries + 1]
        return inputs, targets

    def _places(self, generator: np.random.Generator, pairs: int, slots: int) -> tuple[np.ndarray, np.ndarray]:
        """The slots that are filled, in order, and the number of the pair in each: the first is the pair's own."""
        own, number = np.arange(pairs), self.queries(2 * slots)
        if self.settings.layout == "first":
            places = pairs + np.sort(generator.permutation(slots - pairs)[:number])
            return np.append(own, places), np.append(own, generator.integers(pairs, size=number))
        places = np.sort(generator.permutation(slots)[: pairs + number])
        return places, generator.permutation(np.append(own, generator.integers(pairs, size=number)))

    def _filler(self, generator: np.random.Generator, slots: int) -> np.ndarray:
        if self.settings.layout == "first":
            return np.full((slots, 2), PADDING)
        number = self.settings.keys
        return self.id_of(2 * number) + generator.integers(number, size=(slots, 2))

    def baseline(self, strings: Strings) -> float:
        """One of the values at random that the string has had so far."""
        pairs = (strings.targets_SL == IGNORED) & self._is_key(strings.inputs_SL)
        seen_SL = pairs.cumsum(1)
        return float((1 / seen_SL[strings.targets_SL != IGNORED]).mean())

    def _is_key(self, ids: np.ndarray) -> np.ndarray:
        return (ids >= self.id_of(0)) & (ids < self.id_of(self.settings.keys))

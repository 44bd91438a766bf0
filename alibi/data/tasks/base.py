"""What a task is: symbols, and strings of them with answers, drawn from a seed.

A string is one row, from position 0, and nothing follows it but padding, which no answer sees. Only answers are
targets. Training strings are as long as the training length or shorter, down to the task's shortest. Those of a longer
length L' span as many lengths, [L' - (L - shortest), L'], and are all longer than those of training.

Legend: S strings, L inputs.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from alibi.data.order import Cursor
from alibi.data.tokenizers import WORD_SPECIALS, WordTokenizer
from alibi.settings import check_kinds

IGNORED = -100  # a target that is no answer
START, PADDING, END = 0, 1, 2  # of WORD_SPECIALS
HELD_OUT = 1000  # strings of validation and of test, at each length
SPLITS = ("train", "validation", "test")
EPOCH = 2**40  # strings of an epoch: more than any run draws


@dataclass(frozen=True)
class Strings:
    """
    Attributes:
        inputs_SL: int64 ids.
        targets_SL: int64, the answer to each input, or IGNORED.
    """

    inputs_SL: np.ndarray
    targets_SL: np.ndarray

    @property
    def sha256(self) -> str:
        return hashlib.sha256(
            self.inputs_SL.astype("<i8").tobytes() + self.targets_SL.astype("<i8").tobytes()
        ).hexdigest()


class Task(ABC):
    """
    Args:
        settings: of the task, without its name.
        trained: the training length, in tokens.

    Attributes:
        least: tokens of the shortest string that there is.

    Raises:
        ValueError: unknown settings, values that the task refuses, or a training length below `least`.
    """

    registry: ClassVar[dict[str, type["Task"]]] = {}
    name: ClassVar[str]
    Settings: ClassVar[type]
    least: int

    def __init_subclass__(cls, name: str) -> None:
        cls.name = name
        Task.registry[name] = cls

    def __init__(self, settings: Mapping[str, Any], trained: int) -> None:
        self.settings, self.trained = self.settings_of(settings), trained
        self.check_length(trained, "train.seq_len")

    @classmethod
    def settings_of(cls, values: Mapping[str, Any]) -> Any:
        """Settings, checked; what is not given has its default."""
        if not isinstance(values, Mapping):
            raise ValueError(f"data.task ({values!r}) must be a mapping of settings, such as {{load: fixed}}.")
        known = [one.name for one in fields(cls.Settings)]
        if unknown := sorted(set(values) - set(known)):
            has = ", ".join(known)
            raise ValueError(f"data.task.{unknown[0]} is not a setting of {cls.name}, which has {has}; remove it.")
        settings = cls.Settings(**values)
        check_kinds(settings, "data.task.")
        cls.check(settings)
        return settings

    @staticmethod
    @abstractmethod
    def check(settings: Any) -> None:
        """
        Raises:
            ValueError: a value out of range.
        """

    def check_length(self, length: int, name: str) -> None:
        if length < self.least:
            raise ValueError(f"{name} ({length}) must be at least {self.least}, the shortest string of {self.name}.")

    @property
    @abstractmethod
    def symbols(self) -> list[str]:
        """Words of the vocabulary, behind the special ones."""

    @property
    def shortest(self) -> int:
        """Tokens of the shortest training string."""
        return self.least

    @abstractmethod
    def draw(self, generator: np.random.Generator, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of one string of `low` to `high` tokens."""

    @abstractmethod
    def baseline(self, strings: Strings) -> float:
        """Accuracy of the trivial answer."""

    @property
    def tokenizer(self) -> WordTokenizer:
        return WordTokenizer(self.symbols)

    def id_of(self, symbol: int) -> int:
        """Of a symbol, by its place in `symbols`."""
        return len(WORD_SPECIALS) + symbol

    def strings(self, length: int, keys: list[tuple[int, ...]]) -> Strings:
        """One string for each key, which seeds it, padded to `length`."""
        low, high = min(self.shortest, length), length
        if length > self.trained:
            low = max(self.trained + 1, length - (self.trained - self.shortest))
        inputs_SL = np.full((len(keys), length), PADDING, np.int64)
        targets_SL = np.full((len(keys), length), IGNORED, np.int64)
        for place, key in enumerate(keys):
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
            inputs, targets = self.draw(generator, low, high)
            inputs_SL[place, : len(inputs)], targets_SL[place, : len(targets)] = inputs, targets
        return Strings(inputs_SL, targets_SL)

    def held_out(self, split: str, length: int) -> Strings:
        """The strings of validation or test at a length: the same for every run with these settings."""
        return _held_out(type(self), json.dumps(asdict(self.settings)), self.trained, split, length)

    def identity(self, split: str) -> str:
        """sha256 of what the strings of a split follow from."""
        about = {"task": self.name, **asdict(self.settings), "trained": self.trained, "split": split}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    @property
    def sha256(self) -> dict[str, str]:
        """Of the first strings of training, with seed 0, of validation and of test, at the training length."""
        train = self.strings(self.trained, [(0, number) for number in range(HELD_OUT)])
        held_out = {split: self.held_out(split, self.trained).sha256 for split in SPLITS[1:]}
        return {"train": train.sha256} | held_out


@lru_cache(maxsize=4)
def _held_out(kind: type[Task], settings: str, trained: int, split: str, length: int) -> Strings:
    task, which = kind(json.loads(settings), trained), SPLITS.index(split)
    # Training strings have keys of two numbers. numpy pads a key with zeros, so the last number keeps these apart.
    return task.strings(length, [(which, length, number, 1) for number in range(HELD_OUT)])


class TaskOrder:
    """Training strings in order, in place of the blocks of a text; there is no end to them."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.seed = task, seed
        self._newest: tuple[list[int], Strings] | None = None  # an update reads its strings, and counts their answers

    def blocks(self, cursor: Cursor, count: int) -> tuple[np.ndarray, Cursor]:
        """Numbers of the next `count` strings, and the cursor after them."""
        numbers = cursor.epoch * EPOCH + cursor.index + np.arange(count)
        return numbers, Cursor(cursor.epoch, cursor.index + count)

    def read(self, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of strings, (blocks, trained) int64 each."""
        numbers = blocks.tolist()
        if self._newest is None or self._newest[0] != numbers:
            strings = self.task.strings(self.task.trained, [(self.seed, number) for number in numbers])
            self._newest = numbers, strings
        return self._newest[1].inputs_SL, self._newest[1].targets_SL

    def count_targets(self, blocks: np.ndarray) -> int:
        """Answers of these strings."""
        return int((self.read(blocks)[1] != IGNORED).sum())


def task_of(name: str, settings: Mapping[str, Any] | None, trained: int) -> Task:
    """The task of a corpus's name.

    Raises:
        ValueError: as Task.
    """
    return Task.registry[name](settings or {}, trained)

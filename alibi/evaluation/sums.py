"""Sums of nats, which merge by addition, and the metrics that follow from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from alibi.data import Window


class Accumulator(Protocol):
    """Takes the nats of scored targets, in any order."""

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None: ...

    def merge(self, other: Self) -> Self: ...


A = TypeVar("A", bound=Accumulator)


def merged(parts: Sequence[A]) -> A:
    """The sum of several, added in order."""
    return reduce(lambda whole, part: whole.merge(part), parts)


@dataclass
class NatsSum:
    """Total nats and number of targets; added in float64, whatever the type of the nats."""

    nats: float = 0.0
    tokens: int = 0

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None:
        self.nats += nats_BS.sum(dtype=torch.float64).item()
        self.tokens += nats_BS.numel()

    def merge(self, other: "NatsSum") -> "NatsSum":
        return NatsSum(self.nats + other.nats, self.tokens + other.tokens)

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens


def perplexity(nats: float, count: int) -> float:
    """exp(nats / count): of tokens, or of words where `count` is words.

    Raises:
        OverflowError: the mean is above 709 nats, or not a number; saying which.
    """
    mean = nats / count
    if not math.isfinite(mean):
        raise OverflowError(f"the sum of nats is {nats}")
    try:
        return math.exp(mean)
    except OverflowError as error:
        raise OverflowError(f"exp({mean:.4g} nats) is above the largest float64") from error


def bits_per_byte(nats: float, num_bytes: int) -> float:
    return nats / (math.log(2) * num_bytes)

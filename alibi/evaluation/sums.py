"""The sum of nats, and the metrics that follow from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.data import Window


@dataclass
class NatsSum:
    """Total nats and number of targets; added in float64, whatever the type of the nats."""

    nats: float = 0.0
    tokens: int = 0

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None:
        self.nats += nats_BS.sum(dtype=torch.float64).item()
        self.tokens += nats_BS.numel()


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

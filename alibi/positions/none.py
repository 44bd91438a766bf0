"""No position at all: the control.

A causal model can still count the keys it sees, so order is not lost entirely.

Source: Haviv et al., "Transformer Language Models without Positional Encodings Still Learn
Positional Information", arXiv 2203.16634.
"""

from dataclasses import dataclass

from torch import Tensor

from alibi.positions.base import Position, Turn
from alibi.positions.scaling import ScaledSettings


class NoPosition(Position, name="none"):
    counts_positions = False

    @dataclass
    class Settings(ScaledSettings):
        scalings = ("temperature",)
        temperature = (0.412, 1)  # DroPE's

    def turn_query(self, positions: Tensor) -> Turn | None:
        if (scaling := self.settings.scaling) is None:
            return None
        return lambda q_BHLK: q_BHLK * scaling.temperature

    def turn_key(self, positions: Tensor) -> None:
        return None

"""ALiBi: attention with linear biases.

    score_hij = query_i . key_j / sqrt(head_dim) - m_h * |i - j|

Enters attention as a score bias, added after the scaling and not scaled by it. Nothing is learned.

Source: Press, Smith, Lewis, "Train Short, Test Long", arXiv 2108.12409, section 3; slopes for head
counts that are not a power of two from the authors' code (`get_slopes`). The encoder's bias is
symmetric, as the first author describes it in the code's discussion.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.positions.base import LinearBias, Position
from alibi.positions.scaling import ScaledSettings


def alibi_slopes(num_heads: int) -> list[float]:
    """Slope of each head, m_h = 2^(-8h/n) for h = 1..n where n is a power of two.

    Otherwise the slopes of the power of two below, then every second one of the power above.

    Raises:
        ValueError: num_heads below 1.
    """
    if num_heads < 1:
        raise ValueError(f"num_heads ({num_heads}) must be at least 1.")
    below = 2 ** int(math.log2(num_heads))
    slopes = [2.0 ** (-8.0 * head / below) for head in range(1, below + 1)]
    if below < num_heads:
        slopes += alibi_slopes(2 * below)[0::2][: num_heads - below]
    return slopes


@dataclass
class LinearSettings(ScaledSettings):
    """Of linear biases, whose slopes can be scaled."""

    scalings = ("slope_scaling", "ntk_alibi")


class ALiBi(Position, name="alibi"):
    Settings = LinearSettings

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        scaling = self.settings.scaling
        if scaling and scaling.name == "ntk_alibi" and self.num_heads == 1:
            raise ValueError("scaling.name (ntk_alibi) needs two heads: it ranks their slopes; use slope_scaling.")

    def slopes(self) -> Tensor:
        """(H,) in float64."""
        return torch.tensor(alibi_slopes(self.num_heads), dtype=torch.float64)

    def bias(self) -> LinearBias:
        slopes_H, scaling = self.slopes(), self.settings.scaling
        return LinearBias(slopes_H if scaling is None else scaling.slopes(slopes_H))

"""ALiBi: attention with linear biases.

    score_hij = query_i . key_j / sqrt(head_dim) - m_h * |i - j|

Enters attention as a score bias, added after the scaling and not scaled by it. Nothing is learned.

Source: Press, Smith, Lewis, "Train Short, Test Long", arXiv 2108.12409, section 3; slopes for head
counts that are not a power of two from the authors' code (`get_slopes`). The encoder's bias is
symmetric, as the first author describes it in the code's discussion.
"""

import math

import torch

from alibi.positions.base import LinearBias, Position


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


class ALiBi(Position, name="alibi"):
    def bias(self) -> LinearBias:
        return LinearBias(torch.tensor(alibi_slopes(self.num_heads), dtype=torch.float64))

"""PoPE: polar coordinates. The content sets only lengths, the position only angles, one for every dimension.

    query_i . key_j = sum over c < K of softplus(q_ic) * softplus(k_jc) * cos((j - i) * theta^(-c / K) + delta_hc)

Enters attention before the dot product, in every layer, as a turn that doubles the width:

    q -> (softplus(q) cos a, softplus(q) sin a),  a = i * theta^(-c / K)
    k -> (softplus(k) cos b, softplus(k) sin b),  b = j * theta^(-c / K) + delta

The scores keep their scale of 1 / sqrt(K). Learned: delta, one angle for each head and dimension, in [-2 pi, 0] and 0
at the start. Each layer has its own; with `shared: true`, all layers share one, as in x-transformers.

Source: Gopalakrishnan et al., "Decoupling the What and Where With Polar Coordinate Positional Embeddings",
arXiv 2509.10534. Deviation: x-transformers and pope-pytorch clamp delta with a gradient of 0 outside of its range, so
a delta that an update moves above 0, where all begin, never comes back. Here the gradient passes the clamp, and such a
delta counts as 0 until it does.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alibi.positions.base import Position, Turn
from alibi.positions.rotation import RotarySettings, frequencies


def polar(angle: Tensor) -> Turn:
    """Lengths softplus(x) at these angles, as Cartesian coordinates: all first ones, then all second ones.

    Args:
        angle: (1 or B, 1 or H, L, K), float64.
    """
    cos, sin = angle.cos(), angle.sin()

    def turn(x_BHLK: Tensor) -> Tensor:
        wide = torch.promote_types(x_BHLK.dtype, torch.float32)
        length_BHLK = nn.functional.softplus(x_BHLK.to(wide))
        return torch.cat([length_BHLK * cos.to(wide), length_BHLK * sin.to(wide)], dim=-1).to(x_BHLK.dtype)

    return turn


class PoPE(Position, name="pope"):
    @dataclass
    class Settings(RotarySettings):
        """
        Attributes:
            shared: one delta for all layers.
        """

        shared: bool = False

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.delta = nn.Parameter(torch.empty(self.num_heads, self.head_dim))

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.zeros_(self.delta)

    def turn_query(self, positions: Tensor) -> Turn:
        return polar(self._angle(positions))

    def turn_key(self, positions: Tensor) -> Turn:
        # The clamp's value, and the gradient of no clamp.
        delta_HK = self.delta.detach().clamp(-2 * math.pi, 0.0) + (self.delta - self.delta.detach())
        return polar(self._angle(positions) + delta_HK[:, None])

    def _angle(self, positions: Tensor) -> Tensor:
        """(1 or B, 1, L, K), in float64: in float32 the cosine of an angle near 65,536 is 2e-3 off."""
        frequency_K = frequencies(self.settings.theta, 2 * self.head_dim).to(positions.device)
        return (positions[..., None] * frequency_K).reshape(-1, 1, positions.shape[-1], self.head_dim)

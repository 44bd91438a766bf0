"""Sandwich: the dot product of two sinusoidal embeddings as a bias.

    score_hij = query_i . key_j / sqrt(head_dim) + (sum over k of cos(|i - j| * 10000^(-2k / B)) - B / 2) / (8h / H)

for k = 1 .. B/2 and heads h = 1 .. H, where B is `dimensions`. Enters attention as a score bias, added after the
scaling and not scaled by it. Nothing is learned. The bias is 0 at distance 0 and never below -B H / 8h, so no key is
out of reach.

Source: Chi, Fan, Rudnicky, Ramadge, "Dissecting Transformer Length Extrapolation via the Lens of Receptive Field
Analysis", arXiv 2212.10356. B is a hyper-parameter there, 128, not the width of the model. Deviations: none from the
formula; -B / 2 is the same for all keys, so that softmax ignores it. An encoder's bias is symmetric.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.positions.base import DistanceBias, Position


@dataclass(frozen=True)
class CosineBias(DistanceBias):
    dimensions: int
    num_heads: int

    def at(self, distance: Tensor) -> Tensor:
        distance = distance.double()  # in float32 the cosine of an angle near 65,536 is 2e-3 off
        total = torch.full_like(distance, -self.dimensions / 2)
        for k in range(1, self.dimensions // 2 + 1):  # not at once, which would take B / 2 times the memory
            total += (distance * 10000 ** (-2 * k / self.dimensions)).cos()
        heads = torch.arange(1, self.num_heads + 1, dtype=torch.float64, device=distance.device)
        return total / (8 * heads / self.num_heads).reshape(-1, *[1] * distance.dim())


class Sandwich(Position, name="sandwich"):
    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            dimensions: of the sinusoids whose dot product this is, B; the more, the lower the bias of far keys.
        """

        dimensions: int = 128

        def check(self) -> None:
            if self.dimensions < 2 or self.dimensions % 2:
                raise ValueError(
                    f"dimensions ({self.dimensions}) must be even and at least 2, as each frequency has a sine and a "
                    "cosine; the paper uses 128."
                )

    def bias(self) -> CosineBias:
        return CosineBias(self.settings.dimensions, self.num_heads)

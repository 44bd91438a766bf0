"""One bias of each kind, with parameters of its own, for tests of what attention does with a bias.

Legend: B batch, L queries, M keys, H heads, E extent of a table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, softplus

from alibi.positions import Bias, DecayBias, DistanceBias, LinearBias, PairBias, QueryTableBias

EXTENT = 50


@dataclass(frozen=True)
class Logarithmic(DistanceBias):
    """-strength * ln(1 + |i - j|), which no distance bounds."""

    strength_H: Tensor

    def at(self, distance: Tensor) -> Tensor:
        return -self.strength_H.double().reshape(-1, *[1] * distance.dim()) * distance.abs().double().log1p()


@dataclass(frozen=True)
class Table(DistanceBias):
    """One number for each distance, later keys at 0, and the last for all distances from `EXTENT` on."""

    constant_from = EXTENT
    table_EH: Tensor

    def at(self, distance: Tensor) -> Tensor:
        return embedding(distance.clamp(0, EXTENT), self.table_EH).movedim(-1, 0)


def pair(i: Tensor, j: Tensor, strength_H: Tensor, wave: Tensor) -> Tensor:
    return strength_H.view(-1, 1, 1) * (wave * i).cos() * (i - j) / (1 + i)


@dataclass(frozen=True)
class Kind:
    """
    Attributes:
        make: the bias of these parameters.
        shapes: of the parameters, for (B, H, L, M).
        causal_only: means nothing in an encoder.
    """

    make: Callable[..., Bias]
    shapes: Callable[[int, int, int, int], list[tuple[int, ...]]]
    causal_only: bool = False

    def parameters(self, B: int, H: int, L: int, M: int, seed: int = 0, dtype=torch.float64) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        shapes = self.shapes(B, H, L, M)
        return [torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype) for shape in shapes]


KINDS = {
    "linear": Kind(lambda a: LinearBias(softplus(a - 2)), lambda B, H, L, M: [(H,)]),
    "line": Kind(lambda a: Logarithmic(softplus(a)), lambda B, H, L, M: [(H,)]),
    "line, constant at last": Kind(Table, lambda B, H, L, M: [(EXTENT + 1, H)], causal_only=True),
    "decay": Kind(lambda a: DecayBias(-softplus(a - 3)), lambda B, H, L, M: [(B, H, M)], causal_only=True),
    "decay with a gain": Kind(
        lambda a, b: DecayBias(-softplus(a - 3), softplus(b)),
        lambda B, H, L, M: [(B, H, M), (B, H, L)],
        causal_only=True,
    ),
    "table of each query": Kind(QueryTableBias, lambda B, H, L, M: [(B, H, L, EXTENT)], causal_only=True),
    "pair": Kind(lambda a, b: PairBias(pair, (a, b)), lambda B, H, L, M: [(H,), (1,)]),
}

"""Inkling's relative bias: each query mixes curves over the distance.

    score_hij = tau_i * ( query_i . key_j / sqrt(head_dim) + r_hi . P[:, i - j] ),    the bias 0 from `extent` on
    r_hi = W_h x_i,    tau_i = 1 + 0.1 * ln(max(1, (i + 1) / scale_length))

x is the attention's input and P a bank of `rank` curves that all heads share. Enters attention as a score bias, added
after the scaling and not scaled by it; tau multiplies queries and bias. Learned: W and P, for each layer its own
(`shared: true`: one set for all). W ~ N(0, 1 / d_model) and P ~ N(0, 0.02^2) at the start.

Source: Thinking Machines' Inkling as in transformers 5.23 (`InklingRelativeLogits`; scale_length as in `inkling2`),
the start of P as in x-transformers (`RelativeProjPositionalBias`); there is no paper. Deviations: scores keep
1 / sqrt(head_dim) and queries and keys are not normed (there 1 / head_dim and an RMS norm a head); keys and values
pass no convolution; r is not clipped (inkling2 clips its norm at 8); a layer's window is a setting of the model, not of
this method; tau holds in every layer with this method (there in global layers only).

Legend: G = H * rank rows of W, R rank, E extent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from alibi.positions.base import Position, QueryTableBias, Turn

TAU_STEP = 0.1  # the authors' log_scaling_alpha


class Inkling(Position, name="inkling"):
    causal_only = True
    scales_queries = True
    shift_invariant = False

    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            extent: distances from here on have no bias; the authors' local layers have 512, global ones 1024.
            scale_length: from this position on tau is above 1.
            rank: curves in the bank, and numbers that each head of a query mixes them with.
            shared: one set of parameters for all layers.
        """

        extent: int = 512
        scale_length: int = 128_000
        rank: int = 16
        shared: bool = False

        def check(self) -> None:
            for name, theirs in (("extent", "512"), ("scale_length", "128000"), ("rank", "16")):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1; the authors use {theirs}.")

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        rank = self.settings.rank
        self.weight_GD = nn.Parameter(torch.empty(self.num_heads * rank, self.d_model))
        self.bank_RE = nn.Parameter(torch.empty(rank, self.settings.extent))

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.weight_GD, std=self.d_model**-0.5, generator=generator)
        nn.init.normal_(self.bank_RE, std=0.02, generator=generator)

    def _tau(self, positions: Tensor) -> Tensor:
        """(1, L, 1) or (B, 1, L, 1), in float64."""
        beyond = ((positions + 1).double() / self.settings.scale_length).clamp(min=1)
        return (1 + TAU_STEP * beyond.log())[..., None, :, None]

    def turn_query(self, positions: Tensor) -> Turn:
        tau = self._tau(positions)

        def turn(q_BHLK: Tensor) -> Tensor:
            wide = torch.promote_types(q_BHLK.dtype, torch.float32)
            return (q_BHLK * tau.to(wide)).to(q_BHLK.dtype)

        return turn

    def turn_key(self, positions: Tensor) -> None:
        return None

    def content_bias(self, x_BLD: Tensor, positions: Tensor, remembered_BRM: Tensor | None) -> QueryTableBias:
        r_BHLR = linear(x_BLD, self.weight_GD.to(x_BLD.dtype)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        # tau on r, not on the table, which is extent / rank times as large.
        r_BHLR = r_BHLR * self._tau(positions).to(r_BHLR.dtype)
        return QueryTableBias(r_BHLR @ self.bank_RE.to(r_BHLR.dtype))

"""ALiBi with learned slopes.

    score_hij = query_i . key_j / sqrt(head_dim) - m_h * |i - j|,    m_h = e^(u_h)

Enters attention as a score bias, added after the scaling and not scaled by it. Learned: u, one number a head, for
each layer its own (`shared: true`: one set for all). It starts at the logarithm of ALiBi's slopes, so at ALiBi.

Source: Press, Smith, Lewis, arXiv 2108.12409, section 3, who tried trained slopes and saw no gain. Deviation: they do
not say how the slope is kept positive; here it is an exponential, so that a step changes it by a ratio.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alibi.positions.alibi import ALiBi, LinearSettings, alibi_slopes


class ALiBiLearned(ALiBi, name="alibi_learned"):
    @dataclass
    class Settings(LinearSettings):
        """
        Attributes:
            shared: one set of slopes for all layers.
        """

        shared: bool = False

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.log_slope_H = nn.Parameter(torch.empty(self.num_heads))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        self.log_slope_H.copy_(torch.tensor(alibi_slopes(self.num_heads), dtype=torch.float64).log())

    def slopes(self) -> Tensor:
        return self.log_slope_H.double().exp()

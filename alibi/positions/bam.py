"""BAM: a generalised Gaussian of the distance as the prior of attention.

    score_hij = query_i . key_j / sqrt(head_dim) - e^(A_h) * (|i - j| + 0.00001)^(b_h)

Enters attention as a score bias, added after the scaling and not scaled by it. Learned: A and b, two numbers a head,
for each layer its own (`shared: true`: one set for all). A starts at the logarithm of ALiBi's slopes and b at 1, so
the method starts at ALiBi. A head with b < 0 sees far keys better than near ones; its own key has a bias of about
-1000 at b = -0.6, as intended.

Source: Bianchessi et al., "Bayesian Attention Mechanism", arXiv 2505.22842, GGD-BAM, and the authors' code, whose
files disagree: `bam_ssmax.py` stores A = ln m_h and scales the distance inside the power, (d e^A + 0.00001)^b; the
README's class scales outside, but stores m_h without the logarithm, so that its slopes start at e^(m_h), 1 to 1.65.
Here: the scale outside, A = ln m_h. Deviations: the location, which the authors keep at 0, is left out, and so is the
scaled softmax (SSMax) that they combine it with. The bias is clamped at -1e4, with a gradient of 0 below: such a key
has no weight, and in float32 the gradient of b was rounding error there (at b = -1.4, ten times the true value with the
wrong sign).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alibi.positions.alibi import alibi_slopes
from alibi.positions.base import DistanceBias, Position

EPSILON = 1e-5  # the authors'; 0^b has no finite value for b < 0
LOWEST = -1e4


@dataclass(frozen=True)
class GaussianBias(DistanceBias):
    log_scale_H: Tensor
    power_H: Tensor

    def at(self, distance: Tensor) -> Tensor:
        log_scale, power = (
            values_H.double().reshape(-1, *[1] * distance.dim()) for values_H in (self.log_scale_H, self.power_H)
        )
        # Clamped before the exponential: what overflows has no finite gradient, clamped afterwards or not.
        log_size = log_scale + power * (distance.abs().double() + EPSILON).log()
        return -log_size.clamp(max=math.log(-LOWEST)).exp()


class BAM(Position, name="bam"):
    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            shared: one set of A and b for all layers.
        """

        shared: bool = False

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.log_scale_H = nn.Parameter(torch.empty(self.num_heads))
        self.power_H = nn.Parameter(torch.empty(self.num_heads))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        self.log_scale_H.copy_(torch.tensor(alibi_slopes(self.num_heads), dtype=torch.float64).log())
        self.power_H.fill_(1.0)

    def bias(self) -> GaussianBias:
        return GaussianBias(self.log_scale_H, self.power_H)

"""KERPLE: a learned kernel of the distance, a logarithm or a power.

    kerple_log:    score_hij = query_i . key_j / sqrt(head_dim) - p_h * ln(1 + a_h * |i - j|),    p_h, a_h > 0
    kerple_power:  score_hij = query_i . key_j / sqrt(head_dim) - a_h * |i - j|^(p_h),            a_h > 0, 0 < p_h <= 2

Enters attention as a score bias, added after the scaling and not scaled by it. Learned: p and a, two numbers a head,
for each layer its own as in the authors' code (`shared: true`: one set for all). At the start p ~ U(0, 2) and
a ~ U(0, 1), both at least 0.01.

Source: Chi, Fan, Ramadge, Rudnicky, "KERPLE", arXiv 2205.09921, the logarithmic and the power variant; start values
from the authors' code (`ParallelKerpleLog`, `ParallelKerplePower`). Deviations: the authors clamp the parameters in
place to [0.01, inf), the power's exponent to [0.01, 2], at each forward pass. Here p and a are softplus(u), the
exponent 2 * sigmoid(u), which starts at most at 1.99; they have no floor after the start. The authors cast distances
to the type of the activations; here they are float64. Their weighted form, which multiplies the scores, is left out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from alibi.positions.base import DistanceBias, Position

LEAST = 0.01  # of p and a at the start, the authors' lower bound
MOST_POWER = 1.99  # of the exponent at the start; the logit of 2 / 2 is infinite


@dataclass(frozen=True)
class LogarithmicBias(DistanceBias):
    """-p_h * ln(1 + a_h * |i - j|), in float64."""

    p_H: Tensor
    a_H: Tensor

    def at(self, distance: Tensor) -> Tensor:
        p, a = (values_H.double().reshape(-1, *[1] * distance.dim()) for values_H in (self.p_H, self.a_H))
        return -p * (a * distance.abs()).log1p()


@dataclass(frozen=True)
class PowerBias(DistanceBias):
    """-a_h * |i - j|^(p_h), in float64."""

    p_H: Tensor
    a_H: Tensor

    def at(self, distance: Tensor) -> Tensor:
        p, a = (values_H.double().reshape(-1, *[1] * distance.dim()) for values_H in (self.p_H, self.a_H))
        # The gradient of 0^p is 0 * ln 0, not a number: take 1^p there, and multiply by 0.
        return -a * distance.abs().clamp(min=1).double() ** p * (distance != 0)


class KerpleLog(Position, name="kerple_log"):
    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            shared: one set of p and a for all layers.
        """

        shared: bool = False

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.raw_p_H = nn.Parameter(torch.empty(self.num_heads))
        self.raw_a_H = nn.Parameter(torch.empty(self.num_heads))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        for raw_H, most in ((self.raw_p_H, 2.0), (self.raw_a_H, 1.0)):
            raw_H.uniform_(0, most, generator=generator).clamp_(min=LEAST).expm1_().log_()  # softplus, inverted

    def bias(self) -> DistanceBias:
        return LogarithmicBias(softplus(self.raw_p_H.double()), softplus(self.raw_a_H.double()))


class KerplePower(KerpleLog, name="kerple_power"):
    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        super().initialise(generator)  # a; the exponent has another bound and is drawn again
        self.raw_p_H.uniform_(0, 2, generator=generator).clamp_(LEAST, MOST_POWER).div_(2).logit_()

    def bias(self) -> DistanceBias:
        return PowerBias(2 * self.raw_p_H.double().sigmoid(), softplus(self.raw_a_H.double()))

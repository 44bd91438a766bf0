"""FIRE: a small network of the distance, divided by how far the query could look back.

    score_hij = query_i . key_j / sqrt(head_dim) + MLP_h( psi(i - j) / (psi(max(i, T)) + 0.000001) )
    psi(x) = ln(|c| x + 1),    T = |mu * threshold|

Enters attention as a score bias, added after the scaling and not scaled by it. Learned: c, mu and the network
1 -> `width` -> H with a ReLU, for each layer its own (`shared: true`: one set for all). c starts at 0.1, mu at 1, the
network as torch's linear layers do: weights and biases uniform within 1 / sqrt(inputs).

Source: Li et al., "Functional Interpolation for Relative Positions", arXiv 2310.04418, and the code in its appendix,
whose threshold is 512 for a training length of 2048. Deviations: none from the formula. DAPE's copy halves the
threshold and casts the ratio to half precision; here psi is float64 and the network at least float32.

Legend: H heads, C queries of a block, N keys, W width of the network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from alibi.positions.base import PairBias, Position

EPSILON = 1e-6  # the authors'; without it psi(max(i, T)) could be 0


def psi(x: Tensor, c_1: Tensor) -> Tensor:
    return (c_1.double().abs() * x).log1p()


class FIRE(Position, name="fire"):
    causal_only = True
    shift_invariant = False

    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            threshold: queries before this position, times |mu|, are divided as if they stood there.
            width: hidden units of the network.
            shared: one network for all layers.
        """

        threshold: float = 512.0
        width: int = 32
        shared: bool = False

        def check(self) -> None:
            if not self.threshold > 0:
                raise ValueError(
                    f"threshold ({self.threshold}) must be above 0; the authors use a quarter of the training length."
                )
            if self.width < 1:
                raise ValueError(f"width ({self.width}) must be at least 1; the authors use 32.")

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        width = self.settings.width
        self.c_1 = nn.Parameter(torch.empty(1))
        self.mu_1 = nn.Parameter(torch.empty(1))
        self.hidden_weight_W1 = nn.Parameter(torch.empty(width, 1))
        self.hidden_bias_W = nn.Parameter(torch.empty(width))
        self.output_weight_HW = nn.Parameter(torch.empty(self.num_heads, width))
        self.output_bias_H = nn.Parameter(torch.empty(self.num_heads))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        self.c_1.fill_(0.1)
        self.mu_1.fill_(1.0)
        for weight, bias in (
            (self.hidden_weight_W1, self.hidden_bias_W),
            (self.output_weight_HW, self.output_bias_H),
        ):
            bound = weight.shape[1] ** -0.5
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)

    def bias(self) -> PairBias:
        scalars = self.c_1, self.mu_1
        hidden, output = (self.hidden_weight_W1, self.hidden_bias_W), (self.output_weight_HW, self.output_bias_H)
        return PairBias(self._at, (*scalars, *hidden, *output))

    def _at(
        self,
        i: Tensor,
        j: Tensor,
        c_1: Tensor,
        mu_1: Tensor,
        hidden_weight_W1: Tensor,
        hidden_bias_W: Tensor,
        output_weight_HW: Tensor,
        output_bias_H: Tensor,
    ) -> Tensor:
        """(1 or B, H, C, N). The parameters come as arguments, see PairBias."""
        reach = torch.maximum(i.double(), (mu_1.double() * self.settings.threshold).abs())
        ratio = psi((i - j).clamp(min=0), c_1) / (psi(reach, c_1) + EPSILON)  # later keys: any finite number
        wide = torch.promote_types(hidden_weight_W1.dtype, torch.float32)
        hidden = linear(ratio[:, 0, :, :, None].to(wide), hidden_weight_W1.to(wide), hidden_bias_W.to(wide)).relu()
        return linear(hidden, output_weight_HW.to(wide), output_bias_H.to(wide)).movedim(-1, 1)

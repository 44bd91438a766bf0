"""CABLE: each token adds a distance of its own, and each query weighs the whole.

    score_hij = query_i . key_j / sqrt(head_dim) - g_hi * (S_hi - S_hj)
    S_hi = sum over t <= i of act(w_h . x_t + b_h),    g_hi = softplus(v_h . x_i), or 1 with `weight: none`

x is the attention's input. Enters attention as a score bias, added after the scaling and not scaled by it. Learned: w,
b and v, for each layer its own (`shared: true`: one set for all). w, v ~ N(0, 0.02^2) and b = 0 at the start, so a
token counts ln 2 with softplus, and g is ln 2.

Source: Veisi, Amirzadeh, Mansourian, "Context-aware Biases for Length Extrapolation", arXiv 2503.08067v3, and the
authors' code. They disagree: the text has a ReLU and, as printed, no minus sign; the code has softplus and the minus,
and no weight g. Here: the code's softplus by default, the code's minus, and the text's g. With softplus and
`weight: none` it is FoX that starts at `init: zero`, with w and b negated. Deviation: the code does not divide
query . key by sqrt(head_dim); here the division is kept, so that methods differ in position only.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu, softplus

from alibi.positions.base import DecayBias, Position


class CABLE(Position, name="cable"):
    causal_only = True
    counts_positions = False

    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            activation: act, of the distance that a token adds.
            weight: softplus of the query's own content, or none: 1.
            shared: one set of parameters for all layers.
        """

        activation: Literal["softplus", "relu"] = "softplus"
        weight: Literal["softplus", "none"] = "softplus"
        shared: bool = False

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.step_weight_HD = nn.Parameter(torch.empty(self.num_heads, self.d_model))
        self.step_bias_H = nn.Parameter(torch.empty(self.num_heads))
        weighted = self.settings.weight == "softplus"
        self.gain_weight_HD = nn.Parameter(torch.empty(self.num_heads, self.d_model)) if weighted else None

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        self.step_weight_HD.normal_(std=0.02, generator=generator)
        self.step_bias_H.zero_()
        if self.gain_weight_HD is not None:
            self.gain_weight_HD.normal_(std=0.02, generator=generator)

    def remember(self, x_BND: Tensor) -> Tensor:
        """(B, H, N): minus the distance that each token adds."""
        x_BNH = linear(x_BND, self.step_weight_HD.to(x_BND.dtype), self.step_bias_H.to(x_BND.dtype))
        step_BNH = softplus(x_BNH) if self.settings.activation == "softplus" else relu(x_BNH)
        return -step_BNH.transpose(1, 2)

    def content_bias(self, x_BLD: Tensor, positions: Tensor, remembered_BRM: Tensor) -> DecayBias:
        if self.gain_weight_HD is None:
            return DecayBias(remembered_BRM)
        gain_BLH = softplus(linear(x_BLD, self.gain_weight_HD.to(x_BLD.dtype)))
        return DecayBias(remembered_BRM, gain_BLH.transpose(1, 2))

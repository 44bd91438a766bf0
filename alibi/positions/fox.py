"""FoX, the forgetting transformer: each token decides how much of what came before it is forgotten.

    score_hij = query_i . key_j / sqrt(head_dim) + sum over t = j + 1 .. i of log sigmoid(w_h . x_t + b_h)

x is the attention's input. Enters attention as a score bias, added after the scaling and not scaled by it. Learned: w
and b, d_model + 1 numbers a head, for each layer its own (`shared: true`: one set for all). They start, by `init`, as

    alibi     w = 0, b = -ln(e^(m_h) - 1), so that log sigmoid(b) = -m_h: exactly ALiBi, until the content moves it
    zero      w ~ N(0, 0.02^2), b = 0: gates of 1/2, a slope of ln 2 in every head
    constant  w ~ N(0, 0.02^2), b = `constant`: 5 gives a slope of 0.0067

Source: Lin et al., "Forgetting Transformer", arXiv 2503.02130, which starts as `zero`; 5 is x-transformers' start.
Deviations: `alibi` is this project's default. Like the paper's "bias only" gates it gives each head a horizon, here
that of ALiBi. The "Pro" block (output gate, QK-norm, shifted keys and values) is left out, since it is no position.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from alibi.positions.alibi import alibi_slopes
from alibi.positions.base import DecayBias, Position

DEFAULT_CONSTANT = 5.0


class FoX(Position, name="fox"):
    causal_only = True
    counts_positions = False

    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            init: how w and b start, see above.
            constant: b at the start with `init: constant`; None: 5.
            shared: one set of gates for all layers.
        """

        init: Literal["alibi", "zero", "constant"] = "alibi"
        constant: float | None = None
        shared: bool = False

        def check(self) -> None:
            if self.constant is not None and self.init != "constant":
                raise ValueError(
                    f"constant ({self.constant}) is read with init: constant only, and init is {self.init}; set init "
                    "to constant, or constant to null."
                )

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.weight_HD = nn.Parameter(torch.empty(self.num_heads, self.d_model))
        self.bias_H = nn.Parameter(torch.empty(self.num_heads))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        settings = self.settings
        if settings.init == "alibi":
            self.weight_HD.zero_()
            self.bias_H.copy_(-torch.tensor(alibi_slopes(self.num_heads), dtype=torch.float64).expm1().log())
            return
        self.weight_HD.normal_(std=0.02, generator=generator)
        constant = DEFAULT_CONSTANT if settings.constant is None else settings.constant
        self.bias_H.fill_(constant if settings.init == "constant" else 0.0)

    def remember(self, x_BND: Tensor) -> Tensor:
        """(B, H, N): the logarithms of the gates."""
        x_BNH = linear(x_BND, self.weight_HD.to(x_BND.dtype), self.bias_H.to(x_BND.dtype))
        return logsigmoid(x_BNH).transpose(1, 2)

    def content_bias(self, x_BLD: Tensor, positions: Tensor, remembered_BRM: Tensor) -> DecayBias:
        return DecayBias(remembered_BRM)

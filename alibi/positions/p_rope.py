"""p-RoPE: rotary without its lowest frequencies, whose pairs carry no position.

    (x_k, x_(k + K/2)) turned by p * f_k,  f_k = theta^(-2k / K) for k < floor(fraction * K / 2), and 0 for k < K/2

Enters attention before the dot product, in every layer. Nothing is learned. The exponents run over the whole head, so
the frequencies that stay are rotary's own; `rotary_partial` spreads all wavelengths over fewer dimensions instead.

Source: Barbero et al., "Round and Round We Go! What Makes Rotary Positional Encodings Useful?", arXiv 2410.06205;
0.75 is best in its Table 2, and Gemma 4 uses 0.25 in its global layers. The count is rounded down, as in the authors'
code and in transformers' rope type "proportional". Deviation: a fraction that keeps no frequency, such as the paper's
0-RoPE, is refused; it is the method `none`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.positions.base import Position, Turn
from alibi.positions.rotation import ScaledRotarySettings, check_even, frequencies, scaled_rotation


class PRope(Position, name="p_rope"):
    @dataclass
    class Settings(ScaledRotarySettings):
        """
        Attributes:
            fraction: of the frequencies that are kept, the highest; 1 is rotary.
        """

        fraction: float = 0.75

        def check(self) -> None:
            super().check()
            if not 0 < self.fraction <= 1:
                raise ValueError(f"fraction ({self.fraction}) must be above 0 and at most 1; the paper's best is 0.75.")

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_even(self.d_model, self.num_heads)
        self.kept = int(self.settings.fraction * self.head_dim // 2)
        if not self.kept:
            raise ValueError(
                f"fraction ({self.settings.fraction}) of the head's {self.head_dim // 2} frequencies must keep at "
                f"least one; use {math.ceil(20_000 / self.head_dim) / 10_000}, or the method none."
            )

    def turn_query(self, positions: Tensor) -> Turn:
        frequency_C = frequencies(self.settings.theta, self.head_dim)
        kept_C = frequency_C.where(torch.arange(len(frequency_C)) < self.kept, 0.0)
        return scaled_rotation(self.settings, positions, kept_C)

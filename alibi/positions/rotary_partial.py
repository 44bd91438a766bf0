"""Partial rotary: only the first dimensions of a head are turned, the others carry no position.

    (x_k, x_(k + R/2)) turned by p * theta^(-2k / R), for k < R/2 and R = fraction * K

Enters attention before the dot product, in every layer. Nothing is learned. The exponents run over the R turned
dimensions, so the wavelengths are those of a rotary head R wide; `p_rope` keeps those of the whole head instead.

Source: Black et al., "GPT-NeoX-20B", arXiv 2204.06745, and its code's `rotary_pct`; transformers calls
it `partial_rotary_factor`. Deviation: a fraction that leaves no whole, even R is refused; their code rounds it down.
"""

from dataclasses import dataclass

from torch import Tensor

from alibi.positions.base import Position, Turn
from alibi.positions.rotation import ScaledRotarySettings, check_even, frequencies, scaled_rotation


class RotaryPartial(Position, name="rotary_partial"):
    @dataclass
    class Settings(ScaledRotarySettings):
        """
        Attributes:
            fraction: of the head's dimensions that are turned; 1 is rotary.
        """

        fraction: float = 0.25

        def check(self) -> None:
            super().check()
            if not 0 < self.fraction <= 1:
                raise ValueError(f"fraction ({self.fraction}) must be above 0 and at most 1; GPT-NeoX uses 0.25.")

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_even(self.d_model, self.num_heads)
        wanted = self.settings.fraction * self.head_dim
        self.turned = max(2, 2 * round(wanted / 2))
        # Not equality: 0.28 * 100 is 28.000000000000004.
        if abs(self.turned - wanted) > 1e-9 * self.head_dim:
            raise ValueError(
                f"fraction ({self.settings.fraction}) of the head width ({self.head_dim}) must be an even whole number "
                f"of dimensions, at least 2; use {self.turned / self.head_dim}."
            )

    def turn_query(self, positions: Tensor) -> Turn:
        return scaled_rotation(self.settings, positions, frequencies(self.settings.theta, self.turned))

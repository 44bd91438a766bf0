"""Sinusoids added once to the token embedding.

    embed_k(p) = sin(p * f_k) for k < d/2,  cos(p * f_(k - d/2)) for the other half
    f_k = theta^(-k / (d/2 - 1))

Enters at the bottom of the model, on token embeddings that are already multiplied by sqrt(d_model).

Source: Vaswani et al., arXiv 1706.03762, section 3.5, in the layout and with the frequencies of
tensor2tensor and fairseq, which the ALiBi paper's baseline uses: sines first, and d/2 - 1 in the
exponent. Deviation: positions count from 0 (fairseq's from 2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.positions.base import Position
from alibi.positions.scaling import ScaledSettings


class Sinusoidal(Position, name="sinusoidal"):
    shift_invariant = False

    @dataclass
    class Settings(ScaledSettings):
        """
        Attributes:
            theta: base of the wavelengths, which run from 2 pi to theta * 2 pi.
        """

        scalings = ("pi",)
        theta: float = 10000.0

        def check(self) -> None:
            super().check()
            if not self.theta > 0:
                raise ValueError(f"theta ({self.theta}) must be above 0; the paper uses 10000.")

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.d_model % 2 or self.d_model < 4:
            use = max(4, self.d_model + 1)
            raise ValueError(f"d_model ({self.d_model}) must be even and at least 4 for sinusoidal; use {use}.")

    def embed(self, x_BLD: Tensor, positions: Tensor) -> Tensor:
        half = self.d_model // 2
        # float64: in float32 the sine of an angle near 65,536 is 2e-3 off.
        k = torch.arange(half, dtype=torch.float64, device=positions.device)
        positions = positions if self.settings.scaling is None else positions / self.settings.scaling.factor
        angle = positions[..., None] * self.settings.theta ** (-k / (half - 1))
        return x_BLD + torch.cat([angle.sin(), angle.cos()], dim=-1).to(x_BLD.dtype)

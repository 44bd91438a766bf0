"""Rotary position embedding: queries and keys are turned by angles proportional to their positions.

    (x_k, x_(k + K/2)) turned by p * theta^(-2k / K), for k < K/2

Enters attention before the dot product, in every layer, on the full head dimension. The dot product
then depends on the distance alone.

Source: Su et al., "RoFormer", arXiv 2104.09864, section 3.2. Deviation: pairs are (k, k + K/2), as
in GPT-NeoX, not neighbours; the two differ by a permutation of the head dimension.
"""

from dataclasses import dataclass

from torch import Tensor

from alibi.positions.base import Position, Turn
from alibi.positions.rotation import check_even, frequencies, rotation


class Rotary(Position, name="rotary"):
    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            theta: base of the wavelengths, which run from 2 pi to about theta * 2 pi.
        """

        theta: float = 10000.0

        def check(self) -> None:
            if not self.theta > 0:
                raise ValueError(f"theta ({self.theta}) must be above 0; the paper uses 10000.")

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_even(self.head_dim, f"d_model / num_heads ({self.d_model} / {self.num_heads})")

    def turn_query(self, positions: Tensor) -> Turn:
        return rotation(positions, frequencies(self.settings.theta, self.head_dim))

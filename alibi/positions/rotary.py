"""Rotary position embedding: queries and keys are turned by angles proportional to their positions.

    (x_k, x_(k + K/2)) turned by p * theta^(-2k / K), for k < K/2

Enters attention before the dot product, in every layer, on the full head dimension. The dot product
then depends on the distance alone.

Source: Su et al., "RoFormer", arXiv 2104.09864, section 3.2. Deviation: pairs are (k, k + K/2), as
in GPT-NeoX, not neighbours; the two differ by a permutation of the head dimension.
"""

from torch import Tensor

from alibi.positions.base import Position, Turn
from alibi.positions.rotation import ScaledRotarySettings, check_even, frequencies, scaled_rotation


class Rotary(Position, name="rotary"):
    Settings = ScaledRotarySettings

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_even(self.d_model, self.num_heads)

    def turn_query(self, positions: Tensor) -> Turn:
        return scaled_rotation(self.settings, positions, frequencies(self.settings.theta, self.head_dim))

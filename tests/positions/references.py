"""The formula of every position method, written out a second time in float64, for the parity tests.

Tests of a method's own file and of the whole model take it from here, so that no test asks for a method's name. A
new method is tested in its own file.

Legend: B batch, L queries, M keys, H heads, K head_dim.
"""

import torch
from torch import Tensor

from alibi.positions import LinearBias


class Reference:
    """No position. The methods receive the module under test for its settings and learned parameters.

    Attributes:
        uses_positions: other positions give another output.
        relative: only distances matter, so that padding on the left changes nothing.
    """

    uses_positions = True
    relative = True

    def embedding(self, position, positions: Tensor, d_model: int) -> Tensor | float:
        return 0.0

    def turn(self, position, x_BHLK: Tensor, positions: Tensor) -> Tensor:
        return x_BHLK

    def bias(self, position, distance: Tensor, num_heads: int) -> Tensor | float:
        """(..., H, L, M) from distances (..., L, M)."""
        return 0.0

    def near_relative(self, position, monkeypatch) -> None:
        """Changes a little what the module computes: the control of a comparison."""
        raise NotImplementedError


class NoPosition(Reference):
    uses_positions = False


class ALiBiReference(Reference):
    @staticmethod
    def slopes(num_heads: int) -> list[float]:
        """2^(-8h/c) for the c heads of the power of two below; then 2^(-4h/c) for h = 1, 3, 5, ..."""
        below = 1 << (num_heads.bit_length() - 1)
        extra = range(1, 2 * (num_heads - below), 2)
        return [2 ** (-8 * h / below) for h in range(1, below + 1)] + [2 ** (-4 * h / below) for h in extra]

    def bias(self, position, distance, num_heads):
        slopes = torch.tensor(self.slopes(num_heads), dtype=torch.float64)
        return -slopes[:, None, None] * distance.abs()[..., None, :, :]

    def near_relative(self, position, monkeypatch):
        slopes_H = position.bias().slopes_H.clone()
        slopes_H[2] *= 1.001
        monkeypatch.setattr(position, "bias", lambda: LinearBias(slopes_H))


class RotaryReference(Reference):
    @staticmethod
    def turned(x_BHLK: Tensor, positions: Tensor, theta: float = 10000.0) -> Tensor:
        """By complex numbers: the halves of a head are real and imaginary parts."""
        K = x_BHLK.shape[-1]
        frequency = torch.tensor([theta ** (-2 * k / K) for k in range(K // 2)], dtype=torch.float64)
        angle = positions[..., None, :, None].double() * frequency
        first, second = x_BHLK.double().chunk(2, dim=-1)
        turned = torch.complex(first, second) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([turned.real, turned.imag], dim=-1)

    def turn(self, position, x_BHLK, positions):
        return self.turned(x_BHLK, positions, position.settings.theta)

    def near_relative(self, position, monkeypatch):
        monkeypatch.setattr(position.settings, "theta", 10001.0)


class SinusoidalReference(Reference):
    relative = False

    @staticmethod
    def sinusoids(positions: Tensor, d_model: int, theta: float = 10000.0) -> Tensor:
        """(..., D): sines, then cosines, of position * theta^(-k / (D/2 - 1))."""
        half = d_model // 2
        frequency = torch.tensor([theta ** (-k / (half - 1)) for k in range(half)], dtype=torch.float64)
        angle = positions[..., None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def embedding(self, position, positions, d_model):
        return self.sinusoids(positions, d_model, position.settings.theta)

    def near_relative(self, position, monkeypatch):
        monkeypatch.setattr(position.settings, "theta", 10001.0)


class T5Reference(Reference):
    @staticmethod
    def bucket(distance: Tensor, num_buckets: int, max_distance: int, causal: bool) -> Tensor:
        """Bucket e + k begins at the smallest d with (d / e)^(n - e) >= (max / e)^k, found in whole numbers."""
        n = num_buckets if causal else num_buckets // 2
        e = n // 2
        begins = list(range(1, e))
        for k in range(n - e):
            reached = max_distance**k * e ** (n - e)
            begins.append(next(d for d in range(e, max_distance) if d ** (n - e) * e**k >= reached))
        size = distance.clamp(min=0) if causal else distance.abs()
        bucket = torch.searchsorted(torch.tensor(begins), size.contiguous(), right=True)
        return bucket if causal else bucket + n * (distance < 0)

    def bias(self, position, distance, num_heads):
        bucket = self.bucket(distance, position.table.shape[0], position.settings.max_distance, position.causal)
        return position.table[bucket].movedim(-1, -3)

    def near_relative(self, position, monkeypatch):
        monkeypatch.setattr(position.settings, "max_distance", 100)


REFERENCES: dict[str, Reference] = {
    "alibi": ALiBiReference(),
    "none": NoPosition(),
    "rotary": RotaryReference(),
    "sinusoidal": SinusoidalReference(),
    "t5": T5Reference(),
}

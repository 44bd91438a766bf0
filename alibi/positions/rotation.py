"""The turn of rotary and its relatives: pairs of dimensions rotated by angles proportional to the position.

Pairs are (k, k + C), as in GPT-NeoX; papers pair neighbours, which is a permutation of the head dimension.

Legend: B batch, H heads, L queries or keys, K head_dim, C pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.positions.base import Position, Turn
from alibi.positions.scaling import ScaledSettings


@dataclass
class RotarySettings(Position.Settings):
    """
    Attributes:
        theta: base of the wavelengths, which run from 2 pi to about theta * 2 pi.
    """

    theta: float = 10000.0

    def check(self) -> None:
        if not self.theta > 0:
            raise ValueError(f"theta ({self.theta}) must be above 0; the paper uses 10000.")


@dataclass
class ScaledRotarySettings(ScaledSettings, RotarySettings):
    """Of the methods whose frequencies can be scaled."""

    scalings = ("pi", "ntk", "yarn", "llama3", "temperature")

    def check(self) -> None:
        RotarySettings.check(self)
        ScaledSettings.check(self)
        if self.scaling and self.scaling.name == "yarn" and not self.theta > 1:
            raise ValueError(f"theta ({self.theta}) must be above 1 for yarn, which divides by its logarithm.")


def frequencies(theta: float, dimensions: int) -> Tensor:
    """(C,): theta^(-2k / dimensions) for k < C = dimensions / 2, in float64."""
    return theta ** (-torch.arange(0, dimensions, 2, dtype=torch.float64) / dimensions)


def scaled_rotation(settings: ScaledRotarySettings, positions: Tensor, frequency_C: Tensor) -> Turn:
    """The rotation by these frequencies as `settings.scaling` has them; what it turns is also scaled, as scores are."""
    if (scaling := settings.scaling) is None:
        return rotation(positions, frequency_C)
    scale = None if scaling.temperature is None else scaling.temperature**0.5
    return rotation(positions, scaling.frequencies(frequency_C, settings.theta), scale=scale)


def rotation(
    positions: Tensor, frequency_C: Tensor, log_scale_C: Tensor | None = None, scale: float | None = None
) -> Turn:
    """The rotation of the first 2 C dimensions by position * frequency; the others stay as they are.

    Args:
        positions: integers (L,) or (B, L).
        frequency_C: radians a position, float64.
        log_scale_C: each pair is also scaled by e^(position * log_scale).
        scale: of all pairs.
    """
    # float64: in float32 the cosine of an angle near 65,536 is 2e-3 off.
    angle = positions[..., None] * frequency_C.to(positions.device)
    cos, sin = angle.cos(), angle.sin()
    if log_scale_C is not None:
        growth = (positions[..., None] * log_scale_C.to(positions.device)).exp()
        cos, sin = cos * growth, sin * growth
    if scale is not None:
        cos, sin = cos * scale, sin * scale
    if positions.dim() == 2:
        cos, sin = cos[:, None], sin[:, None]  # (B, 1, L, C), the same for every head
    turned = 2 * len(frequency_C)

    def turn(x_BHLK: Tensor) -> Tensor:
        wide = torch.promote_types(x_BHLK.dtype, torch.float32)
        if turned == x_BHLK.shape[-1]:
            return _Rotate.apply(x_BHLK, cos.to(wide), sin.to(wide))
        head = _Rotate.apply(x_BHLK[..., :turned], cos.to(wide), sin.to(wide))
        return torch.cat([head, x_BHLK[..., turned:]], dim=-1)

    return turn


def check_even(d_model: int, num_heads: int) -> None:
    """
    Raises:
        ValueError: heads of an odd width, which is not made of pairs.
    """
    width = d_model // num_heads
    if width % 2 or width < 2:
        what = f"d_model / num_heads ({d_model} / {num_heads})"
        raise ValueError(f"a rotation turns pairs, so {what} must be even and at least 2, not {width}; change it.")


class _Rotate(torch.autograd.Function):
    """The turn, written into its result half by half: 0.64 to 0.76 of the time of four products and a join.

    Args (of apply): x_BHLK; cosines and sines, which broadcast to half of it and have no gradient.
    """

    @staticmethod
    def forward(ctx, x_BHLK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x_BHLK, cos, sin)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_BHLK: Tensor) -> tuple:
        cos, sin = ctx.saved_tensors
        return _rotated(grad_BHLK, cos, -sin), None, None  # the transpose


def _rotated(x_BHLK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out_BHLK = torch.empty_like(x_BHLK, dtype=cos.dtype)
    (first, second), (out_first, out_second) = x_BHLK.chunk(2, dim=-1), out_BHLK.chunk(2, dim=-1)
    torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out_second).addcmul_(first, sin)
    return out_BHLK.to(x_BHLK.dtype)

"""Rotary position embedding: queries and keys are turned by angles proportional to their positions.

    (x_k, x_(k + K/2)) turned by p * theta^(-2k / K), for k < K/2

Enters attention before the dot product, in every block, on the full head dimension. The dot product
then depends on the distance alone.

Source: Su et al., "RoFormer", arXiv 2104.09864, section 3.2. Deviation: pairs are (k, k + K/2), as
in GPT-NeoX, not neighbours; the two differ by a permutation of the head dimension.
"""

import torch
from torch import Tensor

from alibi.positions.base import Position, Turn


class Rotary(Position, name="rotary"):
    def __init__(self, d_model: int, num_heads: int, causal: bool, *, theta: float = 10000.0) -> None:
        """
        Args:
            theta: base of the wavelengths, which run from 2 pi to about theta * 2 pi.

        Raises:
            ValueError: odd head width; theta not above 0.
        """
        super().__init__(d_model, num_heads, causal)
        self.head_dim = d_model // num_heads
        if self.head_dim % 2:
            raise ValueError(
                f"rotary turns pairs, so the head width d_model / num_heads ({d_model} / {num_heads} = "
                f"{self.head_dim}) must be even; change d_model or num_heads."
            )
        if not theta > 0:
            raise ValueError(f"model.position.theta ({theta}) must be above 0; the paper uses 10000.")
        self.theta = theta

    def rotate(self, positions: Tensor) -> Turn:
        # float64: in float32 the cosine of an angle near 65,536 is 2e-3 off.
        k = torch.arange(0, self.head_dim, 2, dtype=torch.float64, device=positions.device)
        angle = positions[..., None] * self.theta ** (-k / self.head_dim)
        if positions.dim() == 2:
            angle = angle[:, None]  # (B, 1, L, K/2), the same for every head
        cos, sin = angle.cos(), angle.sin()

        def turn(x_BHLK: Tensor) -> Tensor:
            wide = torch.promote_types(x_BHLK.dtype, torch.float32)
            return _Rotate.apply(x_BHLK, cos.to(wide), sin.to(wide))

        return turn


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
        return _rotated(grad_BHLK, cos, -sin), None, None  # the way back


def _rotated(x_BHLK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out_BHLK = torch.empty_like(x_BHLK, dtype=cos.dtype)
    (first, second), (out_first, out_second) = x_BHLK.chunk(2, dim=-1), out_BHLK.chunk(2, dim=-1)
    torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out_second).addcmul_(first, sin)
    return out_BHLK.to(x_BHLK.dtype)

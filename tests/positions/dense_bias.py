"""Every kind of bias as one tensor, in float64: the reading of the interface that attention is tested against.

Legend: B batch, L queries and keys, D d_model, H heads.
"""

import math

import torch
from torch import Tensor

from alibi.positions import Bias, DecayBias, DistanceBias, PairBias, Position, QueryTableBias


def dense_bias(bias: Bias | None, positions: Tensor) -> Tensor:
    """(1 or B, 1 or H, L, L) of any bias over tokens at `positions`, (L,) or (B, L); later keys have any value."""
    rows = positions if positions.dim() == 2 else positions[None]
    L = rows.shape[1]
    distance_BLL = rows[:, :, None] - rows[:, None, :]
    if bias is None:
        return torch.zeros(1, 1, L, L, dtype=torch.float64)
    if isinstance(bias, DistanceBias):
        return bias.at(distance_BLL).transpose(0, 1).double()
    if isinstance(bias, PairBias):
        at = bias.at(rows[:, None, :, None], rows[:, None, None, :], *bias.parameters)
        return at.double().expand(-1, -1, L, L)
    if isinstance(bias, DecayBias):
        total_BHL = bias.log_decay_BHM.double().cumsum(-1)
        decay = total_BHL[..., :, None] - total_BHL[..., None, :]
        return decay if bias.gain_BHL is None else bias.gain_BHL.double()[..., None] * decay
    assert isinstance(bias, QueryTableBias)
    E = bias.table_BHLE.shape[-1]
    at = bias.table_BHLE.double().gather(
        -1, distance_BLL[:, None].clamp(0, E - 1).expand(*bias.table_BHLE.shape[:2], L, L)
    )
    return at.where(((distance_BLL >= 0) & (distance_BLL < E))[:, None], torch.zeros((), dtype=torch.float64))


def bias_of(
    position: Position,
    x_BLD: Tensor,
    positions: Tensor | None = None,
    real_BL: Tensor | None = None,
    windows: bool = True,
) -> Tensor:
    """The whole bias that a method adds to the scores of the tokens x, -inf where the head does not see the key.

    Args:
        real_BL: True where a token is no padding; None: everywhere.
        windows: False leaves out the windows of heads.
    """
    L = x_BLD.shape[1]
    positions = torch.arange(L) if positions is None else positions
    content = position.content_bias(x_BLD, positions, position.remember(x_BLD))
    if isinstance(content, DecayBias) and real_BL is not None:
        content = DecayBias(content.log_decay_BHM * real_BL[:, None], content.gain_BHL)
    bias = dense_bias(position.bias() if content is None else content, positions)
    distance = torch.arange(L)[:, None] - torch.arange(L)
    if position.causal:
        bias = bias.masked_fill(distance < 0, -math.inf)
    if windows and (of_heads := position.head_windows()):
        seen_H11 = torch.tensor([L if window is None else window for window in of_heads])[:, None, None]
        bias = bias.masked_fill(distance >= seen_H11, -math.inf)
    return bias

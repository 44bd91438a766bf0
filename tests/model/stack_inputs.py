"""What the stack is given in its tests: every position method, tokens, padding and the positions that go with it."""

import torch

from alibi.positions import Position

METHODS = sorted(Position.registry)


def tokens(stack, length: int, batch: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, length, stack.d_model, generator=torch.Generator().manual_seed(seed))


def left_padding(lengths: list[int], width: int) -> torch.Tensor:
    return torch.arange(width) < width - torch.tensor(lengths)[:, None]


def positions_of(padding_BL: torch.Tensor) -> torch.Tensor:
    """Counted from the first real token; padding stands at 0."""
    return ((~padding_BL).cumsum(1) - 1).clamp(min=0)

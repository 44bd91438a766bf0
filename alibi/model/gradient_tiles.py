"""Gradients of other biases, from the gradient of the scores, which is computed again a tile of keys at a time.

Legend: B batch, H heads, C queries in a block, T keys of a tile, E extent of a table, W length of the line.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from alibi.model.mask import Part
from alibi.model.score_bias import ScoreBias

# Attention of a layer with kerple_log over none, forward and backward, at 2,048 and 8,192 on an AMD EPYC: 1.96 and 1.97
# with tiles of 384 keys (256 and 512: the same), 2.24 and 2.74 with all keys at once, which leave the CPU's cache.
TILE_KEYS = 384


class Tiles:
    """Gradients from the scores' own, a tile of keys at a time."""

    def __init__(self, scores: ScoreBias, scale: float, wide: torch.dtype) -> None:
        self.scores, self.term, self.scale, self.wide = scores, scores.term, scale, wide

    def first_key(self, start: int, part: Part) -> int:
        """The first key of a part that matters."""
        return part.first

    def collect(self, tensors: tuple[Tensor, ...], lse: Tensor, start: int, stop: int, part: Part) -> None:
        """Given (grad, q, k, v, out) of the block, k and v of all keys."""
        heads = part.heads
        grad, q, k, v, out = (t[:, heads].to(self.wide) for t in tensors)
        lse_BHC1, dot_BHC1 = lse[:, heads, :, None], (grad * out).sum(-1, keepdim=True)
        for first in range(begin := self.first_key(start, part), part.last, TILE_KEYS):
            last = min(first + TILE_KEYS, part.last)
            weight = q @ k[:, :, first:last].transpose(2, 3)
            bias = self.scores.block(start, stop, self.wide, first, last, heads).detach()
            weight.mul_(self.scale).add_(bias).sub_(lse_BHC1).exp_()
            dscore = (grad @ v[:, :, first:last].transpose(2, 3)).sub_(dot_BHC1).mul_(weight)
            self.add(dscore, start, stop, first, heads)
        if begin > part.first:
            self.add_rest(start, stop, part, begin)

    def add(self, dscore_BHCT: Tensor, start: int, stop: int, first: int, heads: slice) -> None:
        """Take in the gradient of the scores of one tile."""
        raise NotImplementedError

    def add_rest(self, start: int, stop: int, part: Part, begin: int) -> None:
        """Take in the keys of a part before `begin`."""


class LineGradient(Tiles):
    """If the bias is constant from some distance on, keys beyond it are not visited: a query's sum over its keys is
    zero, so theirs is minus the sum of the others."""

    def __init__(self, scores: ScoreBias, scale: float, wide: torch.dtype) -> None:
        super().__init__(scores, scale, wide)
        self.line_HW = torch.zeros_like(scores.line(wide, windowed=False))
        # Sinks and windows of some heads may end on either side of that distance.
        whole = not scores.mask.sink_tokens and len(scores.mask.windows) == 1
        self.constant_from = self.term.bias.constant_from if whole else None
        self.visited_H = 0

    def first_key(self, start, part):
        self.visited_H = 0  # a new block
        if self.constant_from is None:
            return part.first
        return max(part.first, self.scores.of.first_query + start - self.constant_from)

    def add(self, dscore_BHCT, start, stop, first, heads):
        along = _sum_antidiagonals(dscore_BHCT.sum(0))
        x = self.scores.line_index(stop, first)
        self.line_HW[heads, x : x + along.shape[1]] += along
        self.visited_H = self.visited_H + along.sum(1)

    def add_rest(self, start, stop, part, begin):
        self.line_HW[:, self.scores.line_index(stop, part.first)] -= self.visited_H

    def result(self) -> tuple[Tensor, ...]:
        return (self.line_HW,)


def _sum_antidiagonals(x_HCN: Tensor) -> Tensor:
    """(H, C + N - 1): element s is the sum of x[:, r, c] over r + c = s."""
    H, C, N = x_HCN.shape
    padded = pad(x_HCN, (0, C))
    # Read with rows one number shorter: row r is shifted right by r, so that equal r + c are in one column.
    return padded.flatten(1)[:, : C * (N + C - 1)].view(H, C, N + C - 1).sum(1)


class QueryTableGradient(Tiles):
    """Each pair of a query and a near key reads one entry of the query's table."""

    def __init__(self, scores: ScoreBias, scale: float, wide: torch.dtype) -> None:
        super().__init__(scores, scale, wide)
        self.table_BHLE = torch.zeros_like(self.term.bias.table_BHLE)

    def first_key(self, start, part):
        return min(self.term.first_near(start, part.first), part.last)

    def add(self, dscore_BHCT, start, stop, first, heads):
        entry, inside = self.term.entries(start, stop, first, first + dscore_BHCT.shape[-1])
        block_BHCE = torch.zeros_like(self.table_BHLE[:, heads, start:stop]).to(dscore_BHCT.dtype)
        block_BHCE.scatter_add_(-1, entry.expand_as(dscore_BHCT), dscore_BHCT.masked_fill(~inside, 0.0))
        self.table_BHLE[:, heads, start:stop] += block_BHCE.flip(2)

    def result(self) -> tuple[Tensor, ...]:
        return (self.table_BHLE,)


class PairGradient(Tiles):
    """The tile is computed again, and autograd goes through it."""

    def __init__(self, scores: ScoreBias, scale: float, wide: torch.dtype) -> None:
        super().__init__(scores, scale, wide)
        self.of_inputs = [torch.zeros_like(one) for one in self.term.inputs]

    def add(self, dscore_BHCT, start, stop, first, heads):
        with torch.enable_grad():
            inputs = tuple(one.detach().requires_grad_(one.requires_grad) for one in self.term.inputs)
            bias = self.term.tile(inputs, start, stop, first, first + dscore_BHCT.shape[-1])
            bias = bias if bias.shape[1] == 1 else bias[:, heads]
        wanted = [place for place, one in enumerate(inputs) if one.requires_grad]
        if not bias.requires_grad:  # `at` uses none of them
            return
        dbias = dscore_BHCT.sum_to_size(bias.shape)
        grads = torch.autograd.grad(bias, [inputs[place] for place in wanted], dbias, allow_unused=True)
        for place, grad in zip(wanted, grads, strict=True):
            if grad is not None:
                self.of_inputs[place] += grad

    def result(self) -> tuple[Tensor, ...]:
        return tuple(self.of_inputs)

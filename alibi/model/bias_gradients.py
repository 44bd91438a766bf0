"""Gradients of a learned bias on a CPU, collected block by block while attention's backward pass visits its keys.

The gradient of the scores is an L x M matrix, of which each kind of bias needs sums:

    linear, decay   over rows or columns, weighted: a few more columns of queries and keys, one side of them zero, so
                    that scores stay as they are and the kernel's own gradient of the other side is the sum
    line            along diagonals, a tile at a time
    query table     along diagonals of each query, near keys only
    pair            whatever autograd makes of a tile

Legend: B batch, L queries, M keys, H heads, K head_dim, C queries in a block, N keys, T keys of a tile, X more columns.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from alibi.model.bias_terms import DecayTerm, LinearTerm, PairTerm, QueryTableTerm
from alibi.model.mask import Part
from alibi.model.score_bias import QUERIES_PER_BLOCK, ScoreBias

kernel_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

# Keys of a tile. A tile of all keys leaves the CPU's cache: 2.9 in place of 1.3 times the cost of plain attention.
TILE_KEYS = 384
ORIGIN_EVERY = 64  # queries


class Columns:
    """Gradients through more columns of queries and keys, in float32 or wider.

    The last column sums each query's gradients over its keys: zero but for rounding, which the other sums hold too and
    lose where it is subtracted. (Without it they were 2e-5 off at 4,096 in float32, and by a third or more in bf16.)
    """

    num_columns: int

    def __init__(self, scores: ScoreBias, scale: float, k_BHMK: Tensor, v_BHMK: Tensor) -> None:
        self.scores, self.term, self.scale = scores, scores.term, scale
        self.wide = torch.promote_types(k_BHMK.dtype, torch.float32)
        self.k_BHMK, self.v_BHMK = (self.widened(t) for t in (k_BHMK, v_BHMK))
        self.k_BHMK[..., -1] = 1.0

    def widened(self, x_BHCK: Tensor) -> Tensor:
        """With columns of zeros behind."""
        return pad(x_BHCK.to(self.wide), (0, self.num_columns))

    def queries(self, start: int, stop: int, heads: slice) -> Tensor:
        """(1 or B, H, C, X - 1)."""
        raise NotImplementedError

    def keys(self, start: int, part: Part) -> Tensor | None:
        """(1 or B, H, N, X - 1); None: zeros."""
        raise NotImplementedError

    def add(self, dq_BHCX: Tensor, dk_BHNX: Tensor, start: int, stop: int, part: Part) -> None:
        raise NotImplementedError

    def backward(self, grad, q, k, v, out, lse, start: int, stop: int, part: Part, bias: Tensor | None) -> tuple:
        """The kernel's gradients of q, k and v."""
        K, keys = q.shape[-1], slice(part.first, part.last)
        k, v = self.k_BHMK[:, part.heads, keys], self.v_BHMK[:, part.heads, keys]
        if (columns := self.keys(start, part)) is not None:
            k[..., K:-1] = columns
        q, out, grad = (self.widened(t) for t in (q, out, grad))
        q[..., K:-1] = self.queries(start, stop, part.heads)
        dq, dk, dv = kernel_backward(grad, q, k, v, out, lse, 0.0, False, attn_mask=bias, scale=self.scale)
        self.add(dq[..., K:].double() / self.scale, dk[..., K:].double() / self.scale, start, stop, part)
        return dq[..., :K], dk[..., :K], dv[..., :K]


class LinearGradient(Columns):
    """Sums of the scores' gradient times j - i.

    Keys are counted from the nearest origin before a query, since large numbers lose digits: with one origin a block,
    steep slopes were 2e-5 off at 4,096, with ORIGIN_EVERY 1.5e-6.
    """

    num_columns = QUERIES_PER_BLOCK // ORIGIN_EVERY + 1

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.slopes_H = torch.zeros_like(self.term.bias.slopes_H, dtype=torch.float64)

    def queries(self, start, stop, heads):
        return self.slopes_H.new_zeros(1)

    def keys(self, start, part):
        origins = torch.arange(self.num_columns - 1) * ORIGIN_EVERY + self.scores.of.first_query + start
        return torch.arange(part.first, part.last)[:, None] - origins

    def add(self, dq_BHCX, dk_BHNX, start, stop, part):
        query_C = torch.arange(stop - start - 1, -1, -1)
        origin_C = query_C // ORIGIN_EVERY
        of_key_BHC = dq_BHCX.gather(-1, origin_C[:, None].expand(*dq_BHCX.shape[:3], 1))[..., 0]
        of_query_BHC = (query_C - origin_C * ORIGIN_EVERY) * dq_BHCX[..., -1]
        self.slopes_H[part.heads] += (of_key_BHC - of_query_BHC).sum((0, 2))

    def result(self) -> tuple[Tensor, ...]:
        return (self.slopes_H,)


class DecayGradient(Columns):
    """Of P_i - P_j, times the gain, and of the gain, times P_i - P_j."""

    def __init__(self, scores: ScoreBias, *args) -> None:
        self.gained = scores.term.gain_BHL is not None
        self.num_columns = 3 if self.gained else 2
        super().__init__(scores, *args)
        self.total_BHM = torch.zeros_like(self.term.total_BHM)
        self.gain_BHL = torch.zeros_like(self.term.gain_BHL) if self.gained else None

    def queries(self, start, stop, heads):
        if not self.gained:
            return self.total_BHM.new_ones(1)
        return pad(self.term.gain(start, stop)[:, heads].detach(), (0, 1))

    def keys(self, start, part):
        if not self.gained:
            return None
        total_BHM = self.term.total_BHM.detach()[:, part.heads]
        near = total_BHM[..., self.scores.of.first_query + start, None]
        return pad((total_BHM[..., part.first : part.last] - near)[..., None], (1, 0))

    def add(self, dq_BHCX, dk_BHNX, start, stop, part):
        queries, row_BHC = self.term.queries(start, stop), dq_BHCX[..., -1].flip(-1)
        self.total_BHM[:, part.heads, part.first : part.last] -= dk_BHNX[..., 0]
        if not self.gained:
            self.total_BHM[:, part.heads, queries] += row_BHC
            return
        self.total_BHM[:, part.heads, queries] += row_BHC * self.term.gain_BHL[:, part.heads, start:stop].detach()
        own_BHC = self.term.total_BHM.detach()[:, part.heads, queries]
        own_BHC = own_BHC - own_BHC[..., :1]
        of_gain_BHC = own_BHC * row_BHC - dq_BHCX[..., 1].flip(-1)
        self.gain_BHL[:, part.heads, start:stop] += of_gain_BHC.to(self.gain_BHL.dtype)

    def result(self) -> tuple[Tensor, ...]:
        return (self.total_BHM, self.gain_BHL) if self.gained else (self.total_BHM,)


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


def gradient_of(scores: ScoreBias, scale: float, k_BHMK: Tensor, v_BHMK: Tensor) -> Columns | Tiles | None:
    """What collects the gradients of `scores.inputs`; None if none are wanted."""
    if not scores.learned:
        return None
    columns = {LinearTerm: LinearGradient, DecayTerm: DecayGradient}.get(type(scores.term))
    if columns is not None and scores.of.causal:  # |i - j| is i - j
        return columns(scores, scale, k_BHMK, v_BHMK)
    tiles = {QueryTableTerm: QueryTableGradient, PairTerm: PairGradient}.get(type(scores.term), LineGradient)
    return tiles(scores, scale, torch.promote_types(k_BHMK.dtype, torch.float32))

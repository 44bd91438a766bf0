"""Gradients of linear and decay biases: sums over the rows or columns of the scores' gradient, weighted.

Queries and keys get a few more columns, one side of them zero. Scores stay as they are, and the kernel's own gradient
of the other side is the sum.

Legend: B batch, L queries, M keys, H heads, K head_dim, C queries in a block, N keys of a part, X more columns.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from alibi.model.mask import Part
from alibi.model.score_bias import QUERIES_PER_BLOCK, ScoreBias

kernel_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
ORIGIN_EVERY = 64  # queries


class Columns:
    """Gradients through more columns of queries and keys, in float32 or wider.

    The last column sums each query's gradients over its keys: zero but for rounding, which the other sums hold too and
    lose where it is subtracted. (Without it they were up to 3e-5 off at 4,096 in float32, and 11 to 100 % in bf16.)
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

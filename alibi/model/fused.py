"""Attention on a CPU with torch's fused kernel, one block of queries at a time, forward and backward.

Why not `scaled_dot_product_attention`: on a CPU it takes either a bias or a causal mask, and autograd would
keep the bias of every block for the backward pass, L x M numbers in all. Here the backward pass makes the
bias of a block again. It keeps what plain attention keeps: q, k, v, the output and one number per query.

Keys outside windows are not visited, nor those so far away that their weight is below rounding, see `far_keys`.

Legend: B batch, L queries, M keys, H heads, K head_dim, C queries in a block, N keys of a block.
"""

import torch
from torch import Tensor

from alibi.model.bias_gradients import gradient_of
from alibi.model.content import KeySizes
from alibi.model.far_keys import NEAR_KEYS, FarKeys
from alibi.model.gradient_columns import Columns, kernel_backward
from alibi.model.gradient_tiles import Tiles
from alibi.model.mask import Part
from alibi.model.score_bias import ScoreBias

# The CPU kernel behind scaled_dot_product_attention, called directly because it also returns the log-sum-exp.
_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class FusedAttention(torch.autograd.Function):
    """softmax(scale * q k^T + bias) v, (B, H, L, K), in memory (B, L, H, K) as the next layer reads it.

    Args (of apply): q_BHLK, k_BHMK, v_BHMK; scale; scores; `scores.inputs(...)`.

    Autocast is off inside: it would round what is computed in float32 here, such as the bound of `far_keys`, to bf16.
    """

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx, q_BHLK, k_BHMK, v_BHMK, scale: float, scores: ScoreBias, *inputs: Tensor) -> Tensor:
        q_BHLK, k_BHMK, v_BHMK = _in_rows(q_BHLK), _in_rows(k_BHMK), _in_rows(v_BHMK)
        B, H, L, K = q_BHLK.shape
        out_BHLK = q_BHLK.new_empty(B, L, H, K).transpose(1, 2)
        far = None
        if KeySizes.worthwhile(q_BHLK) and scores.may_be_deep:
            keys = KeySizes(k_BHMK)
            scores = scores.floored(keys.bias_depth(q_BHLK, scores.of.first_query, scale))
            far = FarKeys(keys, scores, scale) if FarKeys.worthwhile(scores) else None
        kept, visited = [], []
        for start, stop in scores.blocks():
            q = q_BHLK[:, :, start:stop].flip(2)
            out, lse, parts = _attend_block(q, k_BHMK, v_BHMK, scale, scores, start, stop, far)
            out_BHLK[:, :, start:stop] = out.flip(2)
            kept.append(lse)
            visited.append(parts)
        ctx.scale, ctx.scores, ctx.visited = scale, scores, visited
        ctx.save_for_backward(q_BHLK, k_BHMK, v_BHMK, out_BHLK, *kept)
        return out_BHLK

    @staticmethod
    @torch.autograd.function.once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(ctx, grad_BHLK: Tensor) -> tuple:
        q_BHLK, k_BHMK, v_BHMK, out_BHLK, *kept = ctx.saved_tensors
        grad_BHLK = _in_rows(grad_BHLK)
        scores, wide = ctx.scores, torch.promote_types(q_BHLK.dtype, torch.float32)
        dq_BHLK, dk_BHMK, dv_BHMK = (torch.zeros_like(t, dtype=wide) for t in (q_BHLK, k_BHMK, v_BHMK))
        of_bias = gradient_of(scores, ctx.scale, k_BHMK, v_BHMK) if any(ctx.needs_input_grad[5:]) else None
        for (start, stop), lse, parts in zip(scores.blocks(), kept, ctx.visited, strict=True):
            q, out, grad = (t[:, :, start:stop].flip(2) for t in (q_BHLK, out_BHLK, grad_BHLK))
            for part in parts:
                heads, keys = part.heads, slice(part.first, part.last)
                k, v = k_BHMK[:, heads, keys], v_BHMK[:, heads, keys]
                bias = _bias(scores, start, stop, part, q)
                block = grad[:, heads], q[:, heads], k, v, out[:, heads], lse[:, heads]
                if isinstance(of_bias, Columns):
                    dq, dk, dv = of_bias.backward(*block, start, stop, part, bias)
                else:
                    dq, dk, dv = kernel_backward(*block, 0.0, False, attn_mask=bias, scale=ctx.scale)
                dq_BHLK[:, heads, start:stop] += dq.flip(2)
                dk_BHMK[:, heads, keys] += dk
                dv_BHMK[:, heads, keys] += dv
                if isinstance(of_bias, Tiles):
                    of_bias.collect((grad, q, k_BHMK, v_BHMK, out), lse, start, stop, part)
        of_inputs = () if of_bias is None else of_bias.result()
        grads = (grad.to(t.dtype) for grad, t in ((dq_BHLK, q_BHLK), (dk_BHMK, k_BHMK), (dv_BHMK, v_BHMK)))
        return *grads, None, None, *(of_inputs or [None] * (len(ctx.needs_input_grad) - 5))


def _in_rows(x: Tensor) -> Tensor:
    """Contiguous in the last dimension; the kernel silently returns wrong values for any other layout."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _attend_block(
    q: Tensor,
    k_BHMK: Tensor,
    v_BHMK: Tensor,
    scale: float,
    scores: ScoreBias,
    start: int,
    stop: int,
    far: FarKeys | None,
) -> tuple[Tensor, Tensor, list[Part]]:
    """Output and log-sum-exp of queries stop - 1 down to start, and the parts that they visited."""
    parts = scores.mask.parts(start, stop)
    if far is not None:
        return _attend_near_and_far(q, k_BHMK, v_BHMK, scale, scores, start, stop, parts[0], far)
    if len(parts) == 1:
        return *_attend_part(q, k_BHMK, v_BHMK, scale, scores, start, stop, parts[0]), parts
    out = torch.zeros_like(q, dtype=torch.promote_types(q.dtype, torch.float32))
    lse = out.new_full(out.shape[:3], -torch.inf)
    for part in parts:
        more, lse_more = _attend_part(q, k_BHMK, v_BHMK, scale, scores, start, stop, part)
        _join(out, lse, more, lse_more, part.heads)
    return out.to(q.dtype), lse, parts


def _attend_near_and_far(q, k_BHMK, v_BHMK, scale, scores: ScoreBias, start, stop, whole: Part, far: FarKeys):
    """The near keys first; their log-sum-exp then tells which keys before them are too far."""
    near = max(whole.first, scores.of.first_query + start - NEAR_KEYS)
    out, lse = _attend_part(q, k_BHMK, v_BHMK, scale, scores, start, stop, Part(near, whole.last))
    if near == whole.first:
        return out, lse, [whole]
    out, parts = out.to(torch.promote_types(out.dtype, torch.float32)), []
    for begin, heads in far.spans(q, lse, start, stop, near):
        begin = max(begin, whole.first)
        if begin < near:
            more, lse_more = _attend_part(q, k_BHMK, v_BHMK, scale, scores, start, stop, Part(begin, near, heads))
            _join(out, lse, more, lse_more, heads)
        parts.append(Part(min(begin, near), whole.last, heads))
    return out.to(q.dtype), lse, parts


def _join(out: Tensor, lse: Tensor, more: Tensor, lse_more: Tensor, heads: slice) -> None:
    """Put another part of the same softmax into some heads, each part weighted by its share of the sum.

    A share is as precise as the scores: a large constant in all of them costs digits (1e-5 of a share at scores of 300
    in float32).
    """
    total = torch.logaddexp(lse[:, heads], lse_more)
    share, share_more = (lse[:, heads] - total).exp(), (lse_more - total).exp()
    out[:, heads] = share[..., None] * out[:, heads] + share_more[..., None] * more
    lse[:, heads] = total


def _attend_part(q, k_BHMK, v_BHMK, scale: float, scores: ScoreBias, start: int, stop: int, part: Part):
    """Output and log-sum-exp over the keys of a part."""
    k, v = (t[:, part.heads, part.first : part.last] for t in (k_BHMK, v_BHMK))
    return _forward(q[:, part.heads], k, v, attn_mask=_bias(scores, start, stop, part, q), scale=scale)


def _bias(scores: ScoreBias, start: int, stop: int, part: Part, q: Tensor) -> Tensor | None:
    # float32 for bf16 queries too: the kernel adds it to float32 scores. (With a bias narrower than the queries it
    # silently returns wrong values.)
    dtype = torch.promote_types(q.dtype, torch.float32)
    bias = scores.block(start, stop, dtype, part.first, part.last, part.heads)
    if bias is None:
        return None
    # Expanded to four dimensions, without a copy: with fewer, torch takes its slow kernel.
    return bias.detach().expand(q.shape[0], q[:, part.heads].shape[1], -1, -1)

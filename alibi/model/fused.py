"""Attention on a CPU with torch's fused kernel, one block of queries at a time, forward and backward.

Why not `scaled_dot_product_attention`: on a CPU it takes either a bias or a causal mask, and autograd would
keep the bias of every block for the backward pass, L x M numbers in all. Here the backward pass makes the
bias of a block again. It keeps what plain attention keeps: q, k, v, the output and one number per query.

Keys so far away that their weight is below rounding are skipped, see `far_keys`.

Legend: B batch, L queries, M keys, H heads, K head_dim, C queries in a block, N keys of a block, W line length.
"""

import torch
from torch import Tensor

from alibi.model.content import KeySizes
from alibi.model.far_keys import NEAR_KEYS, FarKeys
from alibi.model.score_bias import ScoreBias

# The CPU kernel behind scaled_dot_product_attention, called directly because it also returns the log-sum-exp.
_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

ALL = slice(None)
# First visited key, and the adjacent heads it holds for. A slice, because indexing by a list copies.
Span = tuple[int, slice]


class FusedAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(head_dim) + bias) v, (B, H, L, K), in memory (B, L, H, K) as the next layer reads it.

    Args (of apply): q_BHLK, k_BHMK, v_BHMK; scores; `scores.line(...)` if it needs a gradient, else None.

    Autocast is off inside: it would round what is computed in float32 here, such as the bound of `far_keys`, to bf16.
    """

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx, q_BHLK, k_BHMK, v_BHMK, scores: ScoreBias, line_HW: Tensor | None) -> Tensor:
        q_BHLK, k_BHMK, v_BHMK = _in_rows(q_BHLK), _in_rows(k_BHMK), _in_rows(v_BHMK)
        B, H, L, K = q_BHLK.shape
        out_BHLK = q_BHLK.new_empty(B, L, H, K).transpose(1, 2)
        far = None
        if scores.distance_bias is not None and KeySizes.worthwhile(q_BHLK):
            keys = KeySizes(k_BHMK)
            scores = scores.floored(keys.bias_depth(q_BHLK, scores.first_query))
            far = FarKeys(keys, scores) if FarKeys.worthwhile(scores) else None
        kept, spans = [], []
        for start, stop in scores.blocks():
            q = q_BHLK[:, :, start:stop].flip(2)
            out, lse, seen = _attend_block(q, k_BHMK, v_BHMK, scores, start, stop, far)
            out_BHLK[:, :, start:stop] = out.flip(2)
            kept.append(lse)
            spans.append(seen)
        ctx.scores, ctx.spans = scores, spans
        ctx.save_for_backward(q_BHLK, k_BHMK, v_BHMK, out_BHLK, *kept)
        return out_BHLK

    @staticmethod
    @torch.autograd.function.once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(ctx, grad_BHLK: Tensor) -> tuple:
        q_BHLK, k_BHMK, v_BHMK, out_BHLK, *kept = ctx.saved_tensors
        grad_BHLK = _in_rows(grad_BHLK)
        scores, wide = ctx.scores, torch.promote_types(q_BHLK.dtype, torch.float32)
        dq_BHLK = torch.empty_like(q_BHLK)
        dk_BHMK, dv_BHMK = (torch.zeros_like(t, dtype=wide) for t in (k_BHMK, v_BHMK))
        dline = torch.zeros_like(scores.line(wide)) if ctx.needs_input_grad[4] else None
        for (start, stop), lse, spans in zip(scores.blocks(), kept, ctx.spans, strict=True):
            q, out, grad = (t[:, :, start:stop].flip(2) for t in (q_BHLK, out_BHLK, grad_BHLK))
            for first, heads in spans:
                keys = slice(first, scores.keys_seen(stop))
                k, v = k_BHMK[:, heads, keys], v_BHMK[:, heads, keys]
                bias = _bias(scores, start, stop, first, q, heads)
                dq, dk, dv = _backward(
                    grad[:, heads], q[:, heads], k, v, out[:, heads], lse[:, heads], 0.0, False, attn_mask=bias
                )
                dq_BHLK[:, heads, start:stop] = dq.flip(2)
                dk_BHMK[:, heads, keys] += dk
                dv_BHMK[:, heads, keys] += dv
            if dline is not None:
                _add_line_gradient(dline, scores, start, stop, q, k_BHMK, v_BHMK, out, grad, lse)
        return dq_BHLK, dk_BHMK.to(k_BHMK.dtype), dv_BHMK.to(v_BHMK.dtype), None, dline


def _in_rows(x: Tensor) -> Tensor:
    """Contiguous in the last dimension; the kernel silently returns wrong values for any other layout."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _attend_block(
    q: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, scores: ScoreBias, start: int, stop: int, far: FarKeys | None
) -> tuple[Tensor, Tensor, list[Span]]:
    """Output and log-sum-exp of queries stop - 1 down to start, and the keys that each head visited."""
    first = 0 if far is None else max(0, scores.first_query + start - NEAR_KEYS)
    out, lse = _attend_keys(q, k_BHMK, v_BHMK, scores, start, stop, first, scores.keys_seen(stop), ALL)
    if first == 0:
        return out, lse, [(0, ALL)]
    spans = []
    out = out.to(torch.promote_types(out.dtype, torch.float32))
    for begin, heads in far.spans(q, lse, start, stop, first):
        if begin < first:
            more, lse_more = _attend_keys(q, k_BHMK, v_BHMK, scores, start, stop, begin, first, heads)
            # Join two parts of one softmax, each weighted by its share of the sum. A share is as precise as the
            # scores: a large constant in all of them costs digits (1e-5 of a share at scores of 300 in float32).
            total = torch.logaddexp(lse[:, heads], lse_more)
            share, share_more = (lse[:, heads] - total).exp(), (lse_more - total).exp()
            out[:, heads] = share[..., None] * out[:, heads] + share_more[..., None] * more
            lse[:, heads] = total
        spans.append((begin, heads))
    return out.to(q.dtype), lse, spans


def _attend_keys(q, k_BHMK, v_BHMK, scores: ScoreBias, start: int, stop: int, first: int, last: int, heads):
    """Output and log-sum-exp over the keys [first, last)."""
    k, v = k_BHMK[:, heads, first:last], v_BHMK[:, heads, first:last]
    bias = _bias(scores, start, stop, first, q, heads)
    return _forward(q[:, heads], k, v, attn_mask=None if bias is None else bias[..., : last - first])


def _bias(scores: ScoreBias, start: int, stop: int, first: int, q: Tensor, heads) -> Tensor | None:
    # float32 for bf16 queries too: the kernel adds it to float32 scores. (With a bias narrower than the queries it
    # silently returns wrong values.)
    bias = scores.block(start, stop, torch.promote_types(q.dtype, torch.float32), first)
    if bias is None:
        return None
    if bias.shape[1] > 1:
        bias = bias[:, heads]
    # Expanded to four dimensions, without a copy: with fewer, torch takes its slow kernel.
    return bias.detach().expand(q.shape[0], q[:, heads].shape[1], -1, -1)


def _add_line_gradient(dline, scores: ScoreBias, start, stop, q, k_BHMK, v_BHMK, out, grad, lse) -> None:
    """Add the gradient of one block to dline_HW: the scores' gradient summed over the batch and equal distances.

    If the bias is constant from some distance on, keys beyond it are not visited: the gradient of a
    query's scores sums to zero over its keys, so theirs is minus the sum of the others.
    """
    constant_from = scores.distance_bias.constant_from
    first = 0 if constant_from is None else max(0, scores.first_query + start - constant_from)
    keys = slice(first, scores.keys_seen(stop))
    q, k, v, out, grad = (t.to(dline.dtype) for t in (q, k_BHMK[:, :, keys], v_BHMK[:, :, keys], out, grad))
    weight = q @ k.transpose(2, 3)
    weight.mul_(q.shape[-1] ** -0.5).add_(_bias(scores, start, stop, first, q, ALL)).sub_(lse[..., None]).exp_()
    dscore = (grad @ v.transpose(2, 3)).sub_((grad * out).sum(-1, keepdim=True)).mul_(weight).sum(0)
    along = _sum_antidiagonals(dscore)
    x = scores.line_index(stop, first)
    dline[:, x : x + along.shape[1]] += along
    if first:
        dline[:, scores.line_index(stop, 0)] -= along.sum(1)


def _sum_antidiagonals(x_HCN: Tensor) -> Tensor:
    """(H, C + N - 1): element s is the sum of x[:, r, c] over r + c = s."""
    H, C, N = x_HCN.shape
    padded = torch.nn.functional.pad(x_HCN, (0, C))
    # Read with rows one number shorter: row r is shifted right by r, so that equal r + c are in one column.
    return padded.flatten(1)[:, : C * (N + C - 1)].view(H, C, N + C - 1).sum(1)

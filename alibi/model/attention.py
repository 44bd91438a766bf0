"""Multi-head attention, the same code for causal, encoder, padded and cached use.

    out = softmax(q k^T / sqrt(head_dim) + bias) v, then a linear layer over the concatenated heads

Legend: B batch, L queries, N new keys, M keys, D d_model, H heads, K head_dim.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from alibi.model.cache import KeyValueCache
from alibi.model.content import KeySizes
from alibi.model.fused import FusedAttention
from alibi.model.layer_position import LayerPosition, hooks_in_float32
from alibi.model.mask import Part
from alibi.model.model_config import LayerSettings, ModelConfig
from alibi.model.query_scale import QueryScale
from alibi.model.score_bias import ScoreBias

# Blocks of queries with a mask against torch's causal kernel, both without positions, on a CPU: below this
# length blocks are faster (0.73 to 0.82 of the time at 512), above it a little slower (1.00 to 1.01 at 2,048,
# 1.1 at 4,096).
TORCH_IS_FASTER_FROM = 1024


def attend(
    q_BHLK: Tensor, k_BHMK: Tensor, v_BHMV: Tensor, scores: ScoreBias, scale: float, dropout: float = 0.0
) -> Tensor:
    """softmax(scale * q k^T + bias) v, (B, H, L, V); no tensor of size L x M is made."""
    if (narrower := q_BHLK.shape[-1] - v_BHMV.shape[-1]) > 0:  # the kernels want one width
        return attend(q_BHLK, k_BHMK, pad(v_BHMV, (0, narrower)), scores, scale, dropout)[..., :-narrower]
    q_BHLK, k_BHMK = (pad(t, (0, -narrower)) if narrower else t for t in (q_BHLK, k_BHMK))
    of, on_cpu = scores.of, q_BHLK.device.type == "cpu"
    # With dropout, torch on a CPU makes the whole L x M matrix.
    torch_is_best = not dropout and of.num_queries >= TORCH_IS_FASTER_FROM if on_cpu else True
    if scores.plain and (of.num_queries == of.num_keys or not of.causal) and torch_is_best:
        how = {"dropout_p": dropout, "is_causal": of.causal, "scale": scale}
        return scaled_dot_product_attention(q_BHLK, k_BHMK, v_BHMV, **how)
    if on_cpu and not dropout and scores.fused:
        inputs = scores.inputs(torch.promote_types(q_BHLK.dtype, torch.float32))
        return FusedAttention.apply(q_BHLK, k_BHMK, v_BHMV, scale, scores, *inputs)
    return _attend_in_blocks(q_BHLK, k_BHMK, v_BHMV, scores, scale, dropout)


def _attend_in_blocks(
    q_BHLK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, scores: ScoreBias, scale: float, dropout: float
) -> Tensor:
    """Public torch functions only, for what the fused path cannot do; the backward pass recomputes each block."""
    wide = torch.promote_types(q_BHLK.dtype, torch.float32)

    def attend_block(q: Tensor, k: Tensor, v: Tensor, start: int, stop: int, parts: list[Part]) -> Tensor:
        bias = [scores.block(start, stop, wide, *part) for part in parts]
        if bias[0] is None:
            bias = None
        else:
            bias = _in_type(_joined(bias, dim=-1), q.dtype).expand(q.shape[0], q.shape[1], -1, -1).contiguous()
        out = scaled_dot_product_attention(q.flip(2), k, v, attn_mask=bias, dropout_p=dropout, scale=scale)
        return out.flip(2)

    if KeySizes.worthwhile(q_BHLK) and scores.may_be_deep:
        scores = scores.floored(KeySizes(k_BHMK).bias_depth(q_BHLK, scores.of.first_query, scale))
    scores.prepare(wide)
    out = []
    for start, stop in scores.blocks():
        of_heads = []
        for heads, parts in _by_heads(scores.mask.parts(start, stop)):
            q = q_BHLK[:, heads, start:stop]
            keys = [slice(part.first, part.last) for part in parts]
            k, v = (_joined([t[:, heads, one] for one in keys]) for t in (k_BHMK, v_BHMK))
            if torch.is_grad_enabled():
                how = {"use_reentrant": False, "preserve_rng_state": bool(dropout)}
                of_heads.append(checkpoint(attend_block, q, k, v, start, stop, parts, **how))
            else:
                of_heads.append(attend_block(q, k, v, start, stop, parts))
        out.append(_joined(of_heads, dim=1))
    return torch.cat(out, dim=2)


def _by_heads(parts: list[Part]) -> list[tuple[slice, list[Part]]]:
    """The parts that each range of heads visits."""
    found: list[tuple[slice, list[Part]]] = []
    for part in parts:
        if found and found[-1][0] == part.heads:
            found[-1][1].append(part)
        else:
            found.append((part.heads, [part]))
    return found


def _joined(tensors: list[Tensor], dim: int = 2) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def _in_type(bias: Tensor, dtype: torch.dtype) -> Tensor:
    """The bias in the query's type, which GPU kernels require.

    bf16 has 8 bits of precision. Subtract the row maximum first: softmax is invariant to it, and the keys that
    matter then have small numbers, which bf16 holds best.
    """
    if dtype == bias.dtype:
        return bias
    return (bias - bias.amax(-1, keepdim=True).detach()).to(dtype)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Draw from a generator of its own inside; the global one advances by a single number.

    How much attention draws depends on the position method, which decides how queries are cut into blocks. All
    other dropout must be the same for every method.
    """
    seed = int(torch.randint(2**62, ()))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, layer: LayerSettings) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.scale = 1 / math.sqrt(config.d_model // config.num_heads)
        self.dropout = config.attention_dropout
        self.query = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.key = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.value = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.query_scale = QueryScale(layer.query_scale, config.num_heads) if layer.query_scale.name else None

    def forward(
        self,
        x_BND: Tensor,
        position: LayerPosition,
        first_query: int = 0,
        cache: KeyValueCache | None = None,
        block: int = 0,
    ) -> Tensor:
        """Attention of the tokens from `first_query` on, (B, L, D), over all tokens and the cache."""
        q_BHLK = self._heads(self.query(x_BND[:, first_query:]))
        k_BHMK, v_BHMK = self._heads(self.key(x_BND)), self._heads(self.value(x_BND))
        q_BHLK, k_BHMK = position.turned(q_BHLK, k_BHMK)
        if self.query_scale is not None:
            q_BHLK = self.query_scale(q_BHLK, position.mask.keys_of_queries())
        if cache is not None:
            k_BHMK, v_BHMK = cache.extend(block, k_BHMK, v_BHMK)
        scores = position.scores(x_BND, first_query, cache, block)
        with hooks_in_float32(x_BND.device):  # a bias computes its blocks in here
            if self.training and self.dropout:
                with own_randomness(x_BND.device):
                    out_BHLK = attend(q_BHLK, k_BHMK, v_BHMK, scores, self.scale, self.dropout)
            else:
                out_BHLK = attend(q_BHLK, k_BHMK, v_BHMK, scores, self.scale)
        return self.output(out_BHLK.transpose(1, 2).flatten(2))

    def _heads(self, x_BND: Tensor) -> Tensor:
        return x_BND.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

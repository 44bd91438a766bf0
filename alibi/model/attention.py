"""Multi-head attention, the same code for causal, encoder, padded and cached use.

    out = softmax(q k^T / sqrt(head_dim) + bias) v, then a linear layer over the concatenated heads

Legend: B batch, L queries, N new keys, M keys, D d_model, H heads, K head_dim.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from alibi.model.cache import KeyValueCache
from alibi.model.content import KeySizes
from alibi.model.fused import FusedAttention
from alibi.model.model_config import ModelConfig
from alibi.model.score_bias import ScoreBias
from alibi.positions import Turn


@dataclass(frozen=True)
class Turns:
    """The method's rotations of queries and of new keys, made once per forward pass."""

    query: Turn | None
    key: Turn | None


# Blocks of queries with a mask against torch's causal kernel, both without positions, on a CPU: below this
# length blocks are faster (0.73 to 0.82 of the time at 512), above it a little slower (1.00 to 1.01 at 2,048,
# 1.1 at 4,096).
TORCH_IS_FASTER_FROM = 1024


def attend(q_BHLK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, scores: ScoreBias, dropout: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(head_dim) + bias) v, (B, H, L, K); no tensor of size L x M is made."""
    L, M, on_cpu = q_BHLK.shape[2], k_BHMK.shape[2], q_BHLK.device.type == "cpu"
    # With dropout, torch on a CPU makes the whole L x M matrix.
    torch_is_best = not dropout and L >= TORCH_IS_FASTER_FROM if on_cpu else True
    if scores.plain and (L == M or not scores.causal) and torch_is_best:
        return scaled_dot_product_attention(q_BHLK, k_BHMK, v_BHMK, dropout_p=dropout, is_causal=scores.causal)
    if on_cpu and not dropout and ((scores.in_line and scores.padding_BM is None) or not scores.learned):
        line_HW = scores.line(torch.promote_types(q_BHLK.dtype, torch.float32)) if scores.learned else None
        return FusedAttention.apply(q_BHLK, k_BHMK, v_BHMK, scores, line_HW)
    return _attend_in_blocks(q_BHLK, k_BHMK, v_BHMK, scores, dropout)


def _attend_in_blocks(q_BHLK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, scores: ScoreBias, dropout: float) -> Tensor:
    """Public torch functions only, for what the fused path cannot do; the backward pass recomputes each block."""
    wide = torch.promote_types(q_BHLK.dtype, torch.float32)

    def attend_block(q: Tensor, k: Tensor, v: Tensor, start: int, stop: int) -> Tensor:
        bias = scores.block(start, stop, wide)
        if bias is not None:
            bias = _in_type(bias, q.dtype).expand(q.shape[0], q.shape[1], -1, -1).contiguous()
        return scaled_dot_product_attention(q.flip(2), k, v, attn_mask=bias, dropout_p=dropout).flip(2)

    if scores.distance_bias is not None and KeySizes.worthwhile(q_BHLK):
        scores = scores.floored(KeySizes(k_BHMK).bias_depth(q_BHLK, scores.first_query))
    if scores.in_line:
        scores.line(wide)  # computed once, not again in each block
    out = []
    for start, stop in scores.blocks():
        keys = scores.keys_seen(stop)
        block = q_BHLK[:, :, start:stop], k_BHMK[:, :, :keys], v_BHMK[:, :, :keys], start, stop
        if torch.is_grad_enabled():
            out.append(checkpoint(attend_block, *block, use_reentrant=False, preserve_rng_state=bool(dropout)))
        else:
            out.append(attend_block(*block))
    return torch.cat(out, dim=2)


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
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.attention_dropout
        self.query = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.key = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.value = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(
        self,
        x_BND: Tensor,
        scores: ScoreBias,
        turns: Turns,
        first_query: int = 0,
        cache: KeyValueCache | None = None,
        block: int = 0,
    ) -> Tensor:
        """Attention of the tokens from `first_query` on, (B, L, D), over all tokens and the cache."""
        q_BHLK = self._heads(self.query(x_BND[:, first_query:]))
        k_BHMK, v_BHMK = self._heads(self.key(x_BND)), self._heads(self.value(x_BND))
        if turns.query is not None:
            q_BHLK, k_BHMK = turns.query(q_BHLK), turns.key(k_BHMK)
        if cache is not None:
            k_BHMK, v_BHMK = cache.extend(block, k_BHMK, v_BHMK)
        if self.training and self.dropout:
            with own_randomness(x_BND.device):
                out_BHLK = attend(q_BHLK, k_BHMK, v_BHMK, scores, self.dropout)
        else:
            out_BHLK = attend(q_BHLK, k_BHMK, v_BHMK, scores)
        return self.output(out_BHLK.transpose(1, 2).flatten(2))

    def _heads(self, x_BND: Tensor) -> Tensor:
        return x_BND.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

"""What is added to attention scores: the method's bias, and -inf where a key may not be seen.

Made once per forward pass and shared by all blocks. The bias is given out for one block of queries at
a time, *last query first*: the distance query - key then decreases by one along both rows and columns,
so a bias that depends on the distance alone is a 1-D array read through a window whose row and column
strides are both one. Nothing is copied, no (H, L, M) tensor exists, and attention reads O(L) numbers,
which stay in the CPU's cache.

Legend: B batch, L queries, M keys, H heads, C queries in a block, W length of the line.
"""

import math
from copy import copy

import torch
from torch import Tensor

from alibi.positions import LinearBias, Position

# A causal block sees the keys up to its last query, so small blocks waste less on the upper triangle; large
# blocks need fewer kernel calls, and from 256 queries on the kernel uses taller tiles.
# Forward and backward of one layer (8 heads of 32, one core, ratio to torch's causal attention): at
# 512 keys 64 0.75, 128 0.73, 256 0.82, 512 1.08; at 2,048 1.11, 1.00, 1.01, 1.10.
QUERIES_PER_BLOCK = 256


class ScoreBias:
    """Added to scores_BHLM, a block of queries at a time.

    Args:
        position: the method.
        query_positions: (L,) or (B, L).
        key_positions: (M,) or (B, M).
        first_query: index of the first query among the keys; queries are `L` keys in a row.
        causal: query at index i sees the keys up to index i.
        consecutive: positions count up by one in every row, so that distances are index differences.
        padding_BM: True where a key is padding, which only itself may see.
        skip_far_keys: keys whose weights a linear bias pushes below rounding may be skipped.

    Attributes:
        distance_bias: the method's bias where it depends on the distance alone, else None.
        plain: nothing is added except the causal mask.
        in_line: the bias is one number per distance; otherwise `block` computes it in full.
        learned: the bias has parameters, and their gradients are recorded.
        slopes: one per head if the bias is linear and far keys may be skipped, else None.
    """

    def __init__(
        self,
        position: Position,
        query_positions: Tensor,
        key_positions: Tensor,
        first_query: int,
        causal: bool,
        consecutive: bool,
        padding_BM: Tensor | None = None,
        skip_far_keys: bool = True,
    ) -> None:
        self.position = position
        self.query_positions, self.key_positions = query_positions, key_positions
        self.num_queries, self.num_keys = query_positions.shape[-1], key_positions.shape[-1]
        self.first_query = first_query
        self.causal = causal
        self.padding_BM = padding_BM
        self.distance_bias = position.distance_bias()
        has_bias = position.has_bias()
        self.in_line = not has_bias or (consecutive and self.distance_bias is not None)
        self.plain = not has_bias and padding_BM is None
        learned = not self.plain and any(parameter.requires_grad for parameter in position.parameters())
        self.learned = learned and torch.is_grad_enabled()
        linear = skip_far_keys and self.in_line and causal and padding_BM is None
        self.slopes = self.distance_bias.slopes if linear and isinstance(self.distance_bias, LinearBias) else None
        self._lowest_H: Tensor | None = None
        self._lines: dict[torch.dtype, Tensor] = {}

    def floored(self, depth_H: Tensor) -> "ScoreBias":
        """The same bias, raised so that none is more than `depth_H` nats below that of the query's own position."""
        itself = torch.zeros(1, dtype=torch.long, device=depth_H.device)
        floored = copy(self)
        floored._lowest_H = self.distance_bias.at(itself).detach()[:, 0].to(depth_H.dtype) - depth_H
        if self.in_line:
            line = self.line(depth_H.dtype)
            floored._lines = {depth_H.dtype: line.maximum(floored._lowest_H[:, None]).where(line > -math.inf, line)}
        return floored

    def blocks(self) -> list[tuple[int, int]]:
        """Ranges [start, stop) of queries, counted from the first query."""
        C = QUERIES_PER_BLOCK
        return [(start, min(start + C, self.num_queries)) for start in range(0, self.num_queries, C)]

    def keys_seen(self, stop: int) -> int:
        """How many keys the queries before `stop` see."""
        return self.first_query + stop if self.causal else self.num_keys

    def block(self, start: int, stop: int, dtype: torch.dtype, first_key: int = 0) -> Tensor | None:
        """The bias of queries stop - 1 down to start for the keys they see, (1 or B, 1 or H, C, keys).

        Args:
            dtype: float32 or wider; callers that need bf16 cast the bias themselves.
            first_key: keys before it are skipped.
        """
        if self.plain and not self.causal:
            return None
        keys = self.keys_seen(stop)
        if self.in_line:
            x = self.line_index(stop, first_key)
            window = self.line(dtype)[:, x : x + (stop - start) + (keys - first_key) - 1]
            bias = window.unfold(1, keys - first_key, 1)[None]
        else:
            bias = self._in_full(start, stop, first_key, keys).to(dtype)
        if self.padding_BM is not None:
            bias = bias.masked_fill(self._hidden_by_padding(start, stop, first_key, keys), -math.inf)
        return bias

    def line(self, dtype: torch.dtype) -> Tensor:
        """(1 or H, W): the bias by distance, from the longest down; -inf where the causal mask hides the key."""
        if dtype not in self._lines:
            longest = self.first_query + self.num_queries - 1
            tail = min(QUERIES_PER_BLOCK, self.num_queries) - 1 if self.causal else self.num_keys - 1 - self.first_query
            distance = torch.arange(longest, -tail - 1, -1, device=self.key_positions.device)
            if self.distance_bias is None:
                line = torch.zeros(1, len(distance), dtype=dtype, device=distance.device)
            else:
                line = self.distance_bias.at(distance).to(dtype)
            self._lines[dtype] = line.masked_fill(distance < 0, -math.inf) if self.causal else line
        return self._lines[dtype]

    def line_index(self, stop: int, key: int) -> int:
        """Index in the line for query `stop` - 1 and `key`; it grows by one per earlier query and per later key."""
        return self.num_queries - stop + key

    def _in_full(self, start: int, stop: int, first_key: int, keys: int) -> Tensor:
        queries = self.query_positions[..., start:stop].flip(-1)
        bias = self.position.bias(queries, self.key_positions[..., first_key:keys])
        bias = bias if bias.dim() == 4 else bias[None]
        if self._lowest_H is not None:
            bias = bias.maximum(self._lowest_H[:, None, None])
        if self.causal:
            bias = bias.masked_fill(self._index_distance(start, stop, first_key, keys) < 0, -math.inf)
        return bias

    def _index_distance(self, start: int, stop: int, first_key: int, keys: int) -> Tensor:
        device = self.key_positions.device
        query = torch.arange(self.first_query + stop - 1, self.first_query + start - 1, -1, device=device)
        return query[:, None] - torch.arange(first_key, keys, device=device)

    def _hidden_by_padding(self, start: int, stop: int, first_key: int, keys: int) -> Tensor:
        """(B, 1, C, keys). A query always sees itself: the softmax of a row without visible keys would be NaN."""
        itself = self._index_distance(start, stop, first_key, keys) == 0
        return self.padding_BM[:, None, None, first_key:keys] & ~itself

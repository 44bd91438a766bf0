"""What is added to attention scores: the method's bias, and -inf where a key may not be seen.

Made once per forward pass and shared by all blocks. It is handed out in blocks of queries, so that
no (H, L, M) tensor exists: a bias that depends on the distance alone is the same band of numbers
for every block of queries, seen through a shifted window. A band of C queries and W keys serves any
length, and memory grows with L, not with L * L.

Legend: B batch, L queries, M keys, H heads, C queries in a block, W width of the band.
"""

import math

import torch
from torch import Tensor

from alibi.positions import Position

# Causal blocks see only the keys up to their last query, so small blocks waste less on the upper
# triangle and large ones call the kernel less often. Two CPU cores, 6 layers of width 256, one
# evaluation at 8,192: 64 6.0 s, 128 5.4 s, 256 5.7 s, 512 9.5 s, 1024 13.2 s; training at 512
# differs by less than its noise.
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
    ) -> None:
        self.position = position
        self.query_positions, self.key_positions = query_positions, key_positions
        self.num_queries, self.num_keys = query_positions.shape[-1], key_positions.shape[-1]
        self.first_query = first_query
        self.causal = causal
        self.padding_BM = padding_BM
        self.distance_bias = position.distance_bias() if consecutive else None
        # A bias that is neither None nor a function of distance alone is asked for in full.
        self.dense = self.distance_bias is None and position.has_bias()
        self.plain = not self.dense and self.distance_bias is None and padding_BM is None
        self._bands: dict[torch.dtype, Tensor] = {}

    def blocks(self) -> list[tuple[int, int]]:
        """Query ranges [start, stop), counted from the first query."""
        C = QUERIES_PER_BLOCK
        return [(start, min(start + C, self.num_queries)) for start in range(0, self.num_queries, C)]

    def keys_seen(self, stop: int) -> int:
        """How many keys the queries before `stop` see."""
        return self.first_query + stop if self.causal else self.num_keys

    def block(self, start: int, stop: int, dtype: torch.dtype) -> Tensor | None:
        """The bias of queries [start, stop) for the keys they see, (1 or B, 1 or H, C, keys).

        Args:
            dtype: of the query. The only cast of the bias is here; a mask of another type than the
                query is garbage in the fused CPU kernel, without an error.
        """
        if self.plain and not self.causal:
            return None
        keys = self.keys_seen(stop)
        if self.dense:
            bias = self._dense_block(start, stop, keys).to(dtype)
        else:
            bias = self._band(dtype)
            shift = self.blocks()[-1][0] - start
            bias = bias[:, :, : stop - start, shift : shift + keys]
        if self.padding_BM is not None:
            bias = bias.masked_fill(self._hidden_by_padding(start, stop, keys), -math.inf)
        return bias

    def _band(self, dtype: torch.dtype) -> Tensor:
        """(1, 1 or H, C, W): row r, column s is the bias at distance (first query of the last block) + r - s."""
        if dtype not in self._bands:
            last, _ = self.blocks()[-1]
            C = min(QUERIES_PER_BLOCK, self.num_queries)
            offset = self.first_query + last
            W = offset + C if self.causal else last + self.num_keys
            # One number per distance from offset + C - 1 down; row r begins C - 1 - r numbers in.
            distance = torch.arange(offset + C - 1, offset - W, -1, device=self.key_positions.device)
            if self.distance_bias is None:
                line = torch.zeros(1, len(distance), dtype=dtype, device=distance.device)
            else:
                line = self.distance_bias.at(distance).to(dtype)
            if self.causal:
                line = line.masked_fill(distance < 0, -math.inf)
            self._bands[dtype] = line.unfold(1, W, 1).flip(1)[None]
        return self._bands[dtype]

    def _dense_block(self, start: int, stop: int, keys: int) -> Tensor:
        bias = self.position.bias(self.query_positions[..., start:stop], self.key_positions[..., :keys])
        bias = bias if bias.dim() == 4 else bias[None]
        if self.causal:
            bias = bias.masked_fill(self._index_distance(start, stop, keys) < 0, -math.inf)
        return bias

    def _index_distance(self, start: int, stop: int, keys: int) -> Tensor:
        device = self.key_positions.device
        query = torch.arange(self.first_query + start, self.first_query + stop, device=device)
        return query[:, None] - torch.arange(keys, device=device)

    def _hidden_by_padding(self, start: int, stop: int, keys: int) -> Tensor:
        """(B, 1, C, keys). A query always sees itself: a row with nothing to see would be NaN."""
        itself = self._index_distance(start, stop, keys) == 0
        return self.padding_BM[:, None, None, :keys] & ~itself

"""What is added to attention scores: the method's bias, and -inf where a key may not be seen.

Made once per forward pass where layers share a method. The bias is given out for one block of queries at a time,
*last query first*: the distance query - key then decreases by one along both rows and columns, so a bias that depends
on the distance alone is a 1-D array read through a window whose row and column strides are both one. Nothing is
copied, no (H, L, M) tensor exists, and attention reads O(L) numbers, which stay in the CPU's cache.

Legend: B batch, L queries, M keys, H heads, C queries in a block, N keys of a block, W length of the line.
"""

import math
from copy import copy

import torch
from torch import Tensor

from alibi.model.bias_terms import DistanceTerm, Term, term_of
from alibi.model.mask import ALL, Mask
from alibi.positions import Bias

# A causal block sees the keys up to its last query, so small blocks waste less on the upper triangle; large
# blocks need fewer kernel calls, and from 256 queries on the kernel uses taller tiles.
# Forward and backward of one layer (8 heads of 32, one core, ratio to torch's causal attention): at
# 512 keys 64 0.75, 128 0.73, 256 0.82, 512 1.08; at 2,048 1.11, 1.00, 1.01, 1.10.
QUERIES_PER_BLOCK = 256


class ScoreBias:
    """Added to scores_BHLM, a block of queries at a time.

    Attributes:
        term: the method's bias; None: it has none.
        plain: nothing is added except the causal mask.
        in_line: the bias is one number per distance; otherwise `block` computes it in full.
        learned: gradients of the bias are recorded.
    """

    def __init__(self, bias: Bias | None, mask: Mask) -> None:
        self.mask, self.of = mask, mask.of
        self.term: Term | None = term_of(bias, mask.of)
        self.in_line = self.term is None or (self.of.consecutive and isinstance(self.term, DistanceTerm))
        self.plain = self.term is None and mask.plain
        self.learned = self.term is not None and self.term.learned
        self._lowest_H: Tensor | None = None
        self._lines: dict[tuple[torch.dtype, bool], Tensor] = {}

    @property
    def may_be_deep(self) -> bool:
        """Whether the bias is of a kind that can fall so low that a floor is needed."""
        return self.term is not None and self.term.own() is not None

    @property
    def fused(self) -> bool:
        """Whether `bias_gradients` has the gradients, or none are wanted."""
        return not self.learned or (self.of.consecutive and self.of.padding_BM is None)

    def inputs(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """The tensors that `bias_gradients` has gradients for: a bias's own, or the line that it is read from."""
        if not self.learned:
            return ()
        return self.term.inputs or (self.line(dtype, windowed=False),)

    def prepare(self, dtype: torch.dtype) -> None:
        """Compute the lines that `block` reads, once and not again in each block."""
        for windowed in (True, False) if self.mask.sink_tokens else (True,):
            self.line(dtype, windowed)

    def floored(self, depth_H: Tensor) -> "ScoreBias":
        """The same bias, raised so that none is more than `depth_H` nats below that of the query's own key."""
        floored = copy(self)
        floored._lowest_H = self.term.own().detach().to(depth_H.dtype) - depth_H
        floored._lines = {}
        return floored

    def blocks(self) -> list[tuple[int, int]]:
        """Ranges [start, stop) of queries, counted from the first query."""
        C, L = QUERIES_PER_BLOCK, self.of.num_queries
        return [(start, min(start + C, L)) for start in range(0, L, C)]

    def block(
        self,
        start: int,
        stop: int,
        dtype: torch.dtype,
        first: int = 0,
        last: int | None = None,
        heads: slice = ALL,
    ) -> Tensor | None:
        """The bias of queries stop - 1 down to start for keys first to last - 1, (1 or B, 1 or H, C, N).

        Args:
            dtype: float32 or wider; callers that need bf16 cast the bias themselves.
            last: None: all keys that these queries see.
            heads: of these alone, as far as heads differ.
        """
        if self.plain and not self.of.causal:
            return None
        last = self.of.keys_seen(stop) if last is None else last
        along = not self.mask.has_sinks(first, last)  # whether windows are read from the line

        def of_line(first: int, last: int) -> Tensor:
            line, x = self.line(dtype, along), self.line_index(stop, first)
            line = line if len(line) == 1 else line[heads]
            return line[:, x : x + (stop - start) + (last - first) - 1].unfold(1, last - first, 1)[None]

        if self.in_line:
            bias = of_line(first, last)
        else:
            bias = self._floored(self.term.block(start, stop, first, last, heads).to(dtype), heads)
            for begin, end in self.mask.edges(start, stop, first, last):
                bias[..., begin - first : end - first] += of_line(begin, end)
        hidden = self.mask.hides(start, stop, first, last)
        if hidden is None:
            return bias
        return bias.masked_fill(hidden if hidden.shape[1] == 1 else hidden[:, heads], -math.inf)

    def _floored(self, bias: Tensor, heads: slice) -> Tensor:
        """A block of a bias not in line with its floor, and of all heads where windows differ; may be overwritten."""
        if self._lowest_H is not None:
            bias = bias.maximum(self._lowest_H[heads, None, None])
        windows = len(self.mask.windows)
        return bias if windows == 1 or bias.shape[1] > 1 else bias.repeat(1, len(range(windows)[heads]), 1, 1)

    def line(self, dtype: torch.dtype, windowed: bool = True) -> Tensor:
        """(1 or H, W): what is added by distance, from the longest down; of a bias not in line, only the mask."""
        windowed = windowed and self.mask.windowed
        if (dtype, windowed) not in self._lines:
            first, queries, keys = self.of.first_query, self.of.num_queries, self.of.num_keys
            tail = min(QUERIES_PER_BLOCK, queries) - 1 if self.of.causal else keys - 1 - first
            distance = torch.arange(first + queries - 1, -tail - 1, -1, device=self.of.key_positions.device)
            if self.in_line and self.term is not None:
                line = self.term.at(distance).to(dtype)
                line = line if self._lowest_H is None else line.maximum(self._lowest_H[:, None])
            else:
                line = torch.zeros(1, len(distance), dtype=dtype, device=distance.device)
            line = line.masked_fill(self.mask.line_hides(distance, windowed), -math.inf)
            self._lines[dtype, windowed] = line
        return self._lines[dtype, windowed]

    def line_index(self, stop: int, key: int) -> int:
        """Index in the line for query `stop` - 1 and `key`; it grows by one per earlier query and per later key."""
        return self.of.num_queries - stop + key

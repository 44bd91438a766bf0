"""The queries and keys of a forward pass, and which of them see each other.

Indices, not positions, decide: a query sees the keys up to its own index, and with a window of W the last W of these,
its own counted. With blocks it sees no key before the half block that precedes its own half block.

Legend: B batch, L queries, M keys, H heads, C queries in a block, N keys of a block.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

ALL = slice(None)
# Adjacent heads whose windows begin less than this apart are computed together.
KEYS_APART = 128


@dataclass(frozen=True)
class Pass:
    """The queries and keys of one forward pass; queries are L keys in a row.

    Attributes:
        query_positions: (L,) or (B, L).
        key_positions: (M,) or (B, M).
        first_query: index of the first query among the keys.
        causal: a query at index i sees no key after index i.
        consecutive: positions count up by one in every row, so that distances are index differences.
        padding_BM: True where a key is padding, which only itself may see.
        skip_far_keys: keys whose weights a bias pushes below rounding may be skipped.
    """

    query_positions: Tensor
    key_positions: Tensor
    first_query: int = 0
    causal: bool = True
    consecutive: bool = True
    padding_BM: Tensor | None = None
    skip_far_keys: bool = True

    @property
    def num_queries(self) -> int:
        return self.query_positions.shape[-1]

    @property
    def num_keys(self) -> int:
        return self.key_positions.shape[-1]

    def after(self, first: int) -> "Pass":
        """The same pass without its first queries."""
        if not first:
            return self
        return replace(self, query_positions=self.query_positions[..., first:], first_query=self.first_query + first)

    def keys_seen(self, stop: int) -> int:
        """How many keys lie before the end of what query `stop` - 1 may see."""
        return self.first_query + stop if self.causal else self.num_keys

    def index_distance(self, start: int, stop: int, first: int, last: int) -> Tensor:
        """(C, N): query index minus key index, for queries stop - 1 down to start and keys first to last - 1."""
        device = self.key_positions.device
        query = torch.arange(self.first_query + stop - 1, self.first_query + start - 1, -1, device=device)
        return query[:, None] - torch.arange(first, last, device=device)


class Part(NamedTuple):
    """A range of keys that a block of queries visits, and the adjacent heads that it holds for.

    Heads are a slice, because indexing by a list copies.
    """

    first: int
    last: int
    heads: slice = ALL


class Mask:
    """Which keys each query and head sees.

    Args:
        of: the pass.
        window: keys that every head sees, the query's own counted; None: all.
        sink_tokens: first tokens of each row, not counting padding, that are seen from outside the window too.
        head_windows: a window for each head.
        block_keys: keys of a block, which is cut into two halves; None: no blocks.

    Attributes:
        windows: one for all heads, or one for each; None where a head sees everything before it.
    """

    def __init__(
        self,
        of: Pass,
        window: int | None = None,
        sink_tokens: int | None = None,
        head_windows: tuple[int | None, ...] | None = None,
        block_keys: int | None = None,
    ) -> None:
        self.of = of
        half = of.num_keys if block_keys is None else -(-block_keys // 2)
        self._half = half if 2 * half < of.num_keys else None
        wanted = [[w for w in (window, own) if w is not None] for own in (head_windows or (None,))]
        windows = tuple(min(both) if both and min(both) < of.num_keys else None for both in wanted)
        self.windows = windows[:1] if len(set(windows)) == 1 else windows
        self.sink_tokens = (sink_tokens or 0) if self.windowed or self.blocks else 0
        self._sinks = self._sink_range() if self.sink_tokens else (0, 0)

    @property
    def windowed(self) -> bool:
        return self.windows != (None,)

    @property
    def blocks(self) -> bool:
        return self._half is not None

    @property
    def plain(self) -> bool:
        """Causal, or everything: no window and no padding."""
        return not self.windowed and not self.blocks and self.of.padding_BM is None

    @property
    def narrowest(self) -> int | None:
        """The smallest window of any head; None if there is none."""
        return min((window for window in self.windows if window is not None), default=None)

    def _sinks_of_rows(self) -> Tensor:
        """(B, M) bool."""
        real_BM = ~self.of.padding_BM
        return real_BM & (real_BM.cumsum(1) <= self.sink_tokens)

    def _sink_range(self) -> tuple[int, int]:
        """The keys among which the sinks of all rows lie."""
        if self.of.padding_BM is None:
            return 0, self.sink_tokens
        sinks_BM = self._sinks_of_rows()
        if not sinks_BM.any(1).all():  # a row without sinks would have no key among those of others
            return 0, self.of.num_keys
        sinks = sinks_BM.any(0).nonzero()
        return int(sinks[0]), int(sinks[-1]) + 1

    def _first_of_block(self, query: int) -> int:
        """The first key that blocks let a query see."""
        return max(0, (query // self._half - 1) * self._half) if self.blocks else 0

    def parts(self, start: int, stop: int) -> list[Part]:
        """The keys that queries start to stop - 1 visit; every query sees at least one key of each part."""
        last, query = self.of.keys_seen(stop), self.of.first_query + start
        if not self.windowed and not self.blocks:
            return [Part(0, last)]
        begin = self._first_of_block(query)
        firsts = [begin if window is None else max(begin, query + 1 - window) for window in self.windows]
        parts, head = [], 0
        for first, number in _grouped(firsts):
            heads = slice(head, head + number) if len(firsts) > 1 else ALL
            head += number
            sinks = Part(*self._sinks, heads)
            if self.sink_tokens and first <= sinks.last:
                parts.append(Part(min(sinks.first, first), last, heads))
            else:
                parts += [sinks] if self.sink_tokens else []
                parts.append(Part(first, last, heads))
        return parts

    def edges(self, start: int, stop: int, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges of these keys that the causal rule or a window hides from some query of a block."""
        if not self.of.causal:
            return []
        query = self.of.first_query + start
        after = min(max(query + 1, first), last)
        before = first if self.narrowest is None else min(max(query + stop - start - self.narrowest, first), after)
        return [(begin, end) for begin, end in ((first, before), (after, last)) if begin < end]

    def line_hides(self, distance: Tensor, windowed: bool) -> Tensor:
        """(1 or H, *R) bool: which index differences are hidden, by the causal rule and, if asked, by the windows."""
        hidden = (distance < 0)[None] if self.of.causal else torch.zeros_like(distance, dtype=torch.bool)[None]
        return hidden | self._beyond(distance) if windowed else hidden

    def _beyond(self, distance: Tensor) -> Tensor:
        far = self.of.num_keys
        windows = torch.tensor([far if w is None else w for w in self.windows], device=distance.device)
        return distance >= windows.view(-1, *[1] * distance.dim())

    def has_sinks(self, first: int, last: int) -> bool:
        """Whether sinks may lie among these keys."""
        return self.sink_tokens > 0 and first < self._sinks[1] and last > self._sinks[0]

    def hides(self, start: int, stop: int, first: int, last: int) -> Tensor | None:
        """(1 or B, 1 or H, C, N) bool: what the causal rule and windows along the diagonal do not say of a block.

        That is padding, blocks, and windows where sinks lie among the keys. Queries stop - 1 down to start.
        """
        sinks = self.has_sinks(first, last)
        blocks = first < self._first_of_block(self.of.first_query + stop - 1)
        if not sinks and not blocks and self.of.padding_BM is None:
            return None
        distance, hidden = self.of.index_distance(start, stop, first, last), None
        if sinks:
            if self.of.padding_BM is None:
                sink = torch.arange(first, last, device=distance.device) < self.sink_tokens
            else:
                sink = self._sinks_of_rows()[:, None, None, first:last]
            hidden = self._beyond(distance)[None]
            hidden = (hidden | self._before_block(distance, first, last) if blocks else hidden) & ~sink
        elif blocks:
            hidden = self._before_block(distance, first, last)[None, None]
        if self.of.padding_BM is not None:
            # A query always sees itself: the softmax of a row without visible keys would be NaN.
            padding = self.of.padding_BM[:, None, None, first:last] & (distance != 0)
            hidden = padding if hidden is None else hidden | padding
        return hidden

    def _before_block(self, distance: Tensor, first: int, last: int) -> Tensor:
        """(C, N) bool: keys first to last - 1 that blocks hide from queries at these index distances."""
        key = torch.arange(first, last, device=distance.device)
        query = distance + key
        return key < (query // self._half - 1) * self._half

    def keys_of_queries(self) -> Tensor:
        """(1 or B, 1 or H, L): how many keys each query sees, itself counted."""
        M, device = self.of.num_keys, self.of.key_positions.device
        real_BM = torch.ones(1, M, dtype=torch.bool, device=device)
        real_BM = real_BM if self.of.padding_BM is None else ~self.of.padding_BM
        query_L = torch.arange(self.of.first_query, self.of.first_query + self.of.num_queries, device=device)
        until_BM = torch.nn.functional.pad(real_BM.cumsum(1), (1, 0))  # how many of the first keys are real
        seen_BHL = (
            until_BM[:, None, query_L + 1] if self.of.causal else until_BM[:, None, -1:].expand(-1, -1, len(query_L))
        )
        if self.windowed or self.blocks:
            windows = torch.tensor([M if window is None else window for window in self.windows], device=device)
            first_HL = (query_L + 1 - windows[:, None]).clamp(min=0)
            if self.blocks:
                first_HL = first_HL.maximum((query_L // self._half - 1) * self._half)
            before_BHL = until_BM[:, first_HL]
            seen_BHL = seen_BHL - (before_BHL - self.sink_tokens).clamp(min=0)
        return seen_BHL.clamp(min=1)


def _grouped(firsts: list[int]) -> list[tuple[int, int]]:
    """Adjacent heads with about the same first key, as (first key, number of heads)."""
    groups: list[list[int]] = []
    for first in firsts:
        if groups and abs(first - groups[-1][0]) < KEYS_APART:
            groups[-1].append(first)
        else:
            groups.append([first])
    return [(min(group), len(group)) for group in groups]

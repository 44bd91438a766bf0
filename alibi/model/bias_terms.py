"""The kinds of bias as attention computes them: a block of queries at a time, last query first.

Each term knows its numbers for a block, the bias of a query's own key (`own`), how far its keys matter (`reach`) and
which tensors may want gradients (`inputs`), which `bias_gradients` computes.

Legend: B batch, L queries, M keys, H heads, C queries in a block, N keys of a block, E extent of a table.
"""

import itertools

import torch
from torch import Tensor

from alibi.model.content import MARGIN
from alibi.model.mask import ALL, Pass
from alibi.positions import Bias, DecayBias, DistanceBias, LinearBias, PairBias, QueryTableBias

# Keys of a block that a pair bias is computed for at once: its temporary tensors are many times larger.
PAIR_KEYS = 512


class Term:
    """A bias in one forward pass.

    Attributes:
        inputs: tensors that the bias is computed from and that may want gradients.
        fades: keys may be so far away that the bias hides them.
    """

    inputs: tuple[Tensor, ...] = ()
    fades: bool = False

    def __init__(self, bias: Bias, of: Pass) -> None:
        self.bias, self.of = bias, of

    @property
    def learned(self) -> bool:
        return torch.is_grad_enabled() and any(one.requires_grad for one in self.inputs)

    def block(self, start: int, stop: int, first: int, last: int, heads: slice = ALL) -> Tensor:
        """(1 or B, H, C, N), float32 or wider: queries stop - 1 down to start, keys first to last - 1, no mask."""
        raise NotImplementedError

    def own(self) -> Tensor | None:
        """(H,): the bias of a query's own key; None where it varies, or the bias is never deep."""
        return None

    def reach(self, start: int, stop: int, near: int, ends_N: Tensor) -> tuple[Tensor, Tensor]:
        """Upper bounds of a bias that fades: of query c and any key of block n it is at most queries_c + keys_n.

        Args:
            near: first key of the part that is visited anyway.
            ends_N: the last key of each block before `near`, as many keys apart as a block has.

        Returns:
            (1 or B, H, C or 1), queries stop - 1 down to start, and (1 or B, H, N).
        """
        raise NotImplementedError


class DistanceTerm(Term):
    """f(i - j). Where positions are consecutive, attention reads it from a line of O(L) numbers."""

    bias: DistanceBias
    _largest_beyond: Tensor | None = None

    @property
    def learned(self) -> bool:
        return torch.is_grad_enabled() and self.own().requires_grad

    def at(self, distance: Tensor) -> Tensor:
        """(H, *R). Later keys of a causal pass are hidden, and a formula need not hold for them: they count as 0."""
        return self.bias.at(distance.clamp(min=0) if self.of.causal else distance)

    def block(self, start: int, stop: int, first: int, last: int, heads: slice = ALL) -> Tensor:
        queries = self.of.query_positions[..., start:stop].flip(-1)
        distance = queries[..., :, None] - self.of.key_positions[..., None, first:last]
        bias = self.at(distance)[heads].clone()  # what `at` returns may share memory
        return bias.transpose(0, 1) if distance.dim() == 3 else bias[None]

    def own(self) -> Tensor:
        return self.bias.at(torch.zeros(1, dtype=torch.long, device=self.of.key_positions.device))[:, 0]

    def largest_beyond(self) -> Tensor:
        """(H, M): the largest bias at each distance and all longer ones."""
        if self._largest_beyond is None:
            distance = torch.arange(self.of.num_keys, device=self.of.key_positions.device)
            self._largest_beyond = self.bias.at(distance).detach().flip(-1).cummax(-1).values.flip(-1)
        return self._largest_beyond

    @property
    def fades(self) -> bool:
        # One that is constant from some distance on is bounded. One that nowhere falls by the margin hides no key.
        if not self.of.consecutive or self.bias.constant_from is not None:
            return False
        return bool((self.own() - self.largest_beyond()[:, -1] > MARGIN).any())

    def reach(self, start: int, stop: int, near: int, ends_N: Tensor) -> tuple[Tensor, Tensor]:
        keys_HN = self.largest_beyond()[:, self.of.first_query + start - ends_N]  # the first query is the nearest
        return keys_HN.new_zeros(1, 1, 1), keys_HN[None]


class LinearTerm(DistanceTerm):
    """-slope * (i - j): a linear bias in a causal model."""

    bias: LinearBias

    def __init__(self, bias: LinearBias, of: Pass) -> None:
        super().__init__(bias, of)
        self.inputs = (bias.slopes_H,)

    @property
    def fades(self) -> bool:
        return self.of.consecutive

    def reach(self, start: int, stop: int, near: int, ends_N: Tensor) -> tuple[Tensor, Tensor]:
        # Counted from `near`, because large distances would lose digits.
        index_C = torch.arange(stop - 1, start - 1, -1, device=ends_N.device) + self.of.first_query - near
        slope_H1 = self.bias.slopes_H.detach().to(ends_N.device)[:, None]
        return -(slope_H1 * index_C)[None], (slope_H1 * (ends_N - near))[None]


class DecayTerm(Term):
    """gain_i (P_i - P_j), where P is the prefix sum of log_decay."""

    fades = True

    def __init__(self, bias: DecayBias, of: Pass) -> None:
        super().__init__(bias, of)
        log_decay_BHM = bias.log_decay_BHM.double()
        if of.padding_BM is not None:
            log_decay_BHM = log_decay_BHM.masked_fill(of.padding_BM[:, None], 0.0)
        self.total_BHM = log_decay_BHM.cumsum(-1)
        self.gain_BHL = bias.gain_BHL
        self.inputs = (self.total_BHM,) if self.gain_BHL is None else (self.total_BHM, self.gain_BHL)

    def queries(self, start: int, stop: int) -> slice:
        """Their place among the keys."""
        return slice(self.of.first_query + start, self.of.first_query + stop)

    def gain(self, start: int, stop: int) -> Tensor:
        """(B, H, C, 1)."""
        return self.gain_BHL[:, :, start:stop].flip(-1)[..., None]

    def block(self, start: int, stop: int, first: int, last: int, heads: slice = ALL) -> Tensor:
        wide = torch.promote_types(self.bias.log_decay_BHM.dtype, torch.float32)
        # Counted from the block's first query, so that float32 loses no digits for keys before it. For keys after it
        # the difference is taken in float64.
        begin = self.queries(start, stop).start
        after = min(max(begin, first), last)
        total_BHM = self.total_BHM[:, heads] - self.total_BHM[:, heads, begin, None]
        query_BHC1 = total_BHM[:, :, self.queries(start, stop)].flip(-1)[..., None]
        bias = query_BHC1.to(wide) - total_BHM[:, :, None, first:last].to(wide)
        bias[..., after - first :] = query_BHC1 - total_BHM[:, :, None, after:last]
        return bias if self.gain_BHL is None else bias * self.gain(start, stop)[:, heads]

    def own(self) -> Tensor:
        return self.total_BHM.new_zeros(self.total_BHM.shape[1])

    def reach(self, start: int, stop: int, near: int, ends_N: Tensor) -> tuple[Tensor, Tensor]:
        total_BHM = self.total_BHM.detach()
        total_BHM = total_BHM - total_BHM[..., near, None]
        queries_BHC = total_BHM[:, :, self.queries(start, stop)].flip(-1)
        before_BHN = -total_BHM[:, :, : int(ends_N[-1]) + 1]
        keys_BHN = before_BHN.unflatten(-1, (len(ends_N), -1)).amax(-1)
        if self.gain_BHL is None:
            return queries_BHC, keys_BHN
        least_BH1 = self.gain_BHL[:, :, start:stop].detach().amin(-1, keepdim=True)
        return queries_BHC * least_BH1, keys_BHN * least_BH1


class QueryTableTerm(Term):
    """table[i, i - j], 0 from distance E on."""

    def __init__(self, bias: QueryTableBias, of: Pass) -> None:
        super().__init__(bias, of)
        self.extent = bias.table_BHLE.shape[-1]
        self.inputs = (bias.table_BHLE,)

    def first_near(self, start: int, first: int) -> int:
        """The first key from `first` on that may lie inside the table, for consecutive positions."""
        return max(first, self.of.first_query + start - self.extent + 1) if self.of.consecutive else first

    def entries(self, start: int, stop: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """(1 or B, 1, C, N): the entry of the table that each pair reads, and whether it is inside."""
        queries = self.of.query_positions[..., start:stop].flip(-1)
        distance = queries[..., :, None] - self.of.key_positions[..., None, first:last]
        distance = distance[:, None] if distance.dim() == 3 else distance[None, None]
        return distance.clamp(0, self.extent - 1), (distance >= 0) & (distance < self.extent)

    def block(self, start: int, stop: int, first: int, last: int, heads: slice = ALL) -> Tensor:
        table_BHCE = self.bias.table_BHLE[:, heads, start:stop].flip(2)
        near = min(self.first_near(start, first), last)
        entry, inside = self.entries(start, stop, near, last)
        bias = table_BHCE.gather(-1, entry.expand(*table_BHCE.shape[:2], -1, -1)).masked_fill(~inside, 0.0)
        return torch.nn.functional.pad(bias, (near - first, 0))


class PairTerm(Term):
    """Any f(i, j)."""

    def __init__(self, bias: PairBias, of: Pass) -> None:
        super().__init__(bias, of)
        self.inputs = bias.parameters
        fixed = tuple(one.detach() for one in self.inputs)
        if torch.is_grad_enabled() and self.tile(fixed, 0, 1, 0, 1).requires_grad:
            how = "is not in its `parameters`; pass it as an argument of `at`"
            raise ValueError(f"a PairBias uses a parameter that {how}.")

    def tile(self, parameters: tuple[Tensor, ...], start: int, stop: int, first: int, last: int) -> Tensor:
        """The block, computed from these parameters and all at once."""
        queries = self.of.query_positions[..., start:stop].flip(-1)
        keys = self.of.key_positions[..., first:last]
        i, j = (positions if positions.dim() == 2 else positions[None] for positions in (queries, keys))
        i, j = i[:, None, :, None], j[:, None, None, :]
        if self.of.causal and last > self.of.first_query + start + 1:
            # Later keys are hidden, and a formula need not hold for them: they count as the query's own.
            j = torch.where(self.of.index_distance(start, stop, first, last) < 0, i, j)
        bias = self.bias.at(i, j, *parameters)
        bias, C, N = bias[(None,) * (4 - bias.dim())], stop - start, last - first
        if bias.dim() != 4 or bias.shape[2] not in (1, C) or bias.shape[3] not in (1, N):
            has = f"{tuple(bias.shape)} for {C} queries and {N} keys"
            raise ValueError(f"a PairBias has the shape {has}; it must broadcast to (batch, heads, queries, keys).")
        return bias.to(torch.promote_types(bias.dtype, torch.float32)).expand(-1, -1, C, N)

    def block(self, start: int, stop: int, first: int, last: int, heads: slice = ALL) -> Tensor:
        edges = [*range(first, last, PAIR_KEYS), last]
        tiles = [self.tile(self.inputs, start, stop, *tile) for tile in itertools.pairwise(edges)]
        bias = torch.cat(tiles, dim=-1)
        return bias if bias.shape[1] == 1 else bias[:, heads]


TERMS = {LinearBias: LinearTerm, DecayBias: DecayTerm, QueryTableBias: QueryTableTerm, PairBias: PairTerm}


def term_of(bias: Bias | None, of: Pass) -> Term | None:
    """
    Raises:
        ValueError: a bias that is none of the kinds.
    """
    if bias is None:
        return None
    if isinstance(bias, LinearBias) and not of.causal:
        return DistanceTerm(bias, of)  # |i - j| is i - j in a causal model alone
    kind = next((term for known, term in TERMS.items() if isinstance(bias, known)), None)
    if kind is None and not isinstance(bias, DistanceBias):
        raise ValueError(f"a position method returned {type(bias).__name__}; return one of the kinds of base.py.")
    if kind in (DecayTerm, QueryTableTerm) and not of.causal:
        raise ValueError(f"{type(bias).__name__} needs a causal model; set causal_only = True in the position method.")
    return (kind or DistanceTerm)(bias, of)

"""What the position method of one layer does to attention, densely and in float64: its bias with the mask, its turn.

Legend: H heads, L queries, M keys, N distances from 0, K head_dim, C queries in a block.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from alibi.model import LanguageModel
from alibi.model.layer_position import LayerPosition
from alibi.model.mask import Pass
from alibi.model.score_bias import ScoreBias
from alibi.model.transformer import Block
from alibi.positions import DistanceBias, Position


@dataclass(frozen=True)
class Layer:
    """One layer of a model, whose position method is made float64.

    Attributes:
        number: from 0.
        kind: its type in a pattern of layers; None without a pattern.
        method: its own, or one that it shares.
    """

    number: int
    kind: str | None
    block: Block
    method: Position

    @classmethod
    def of(cls, model: LanguageModel, number: int) -> "Layer":
        """
        Raises:
            ValueError: there is no such layer.
        """
        stack = model.transformer
        if not 0 <= number < len(stack.blocks):
            layers = len(stack.blocks)
            raise ValueError(f"--layer ({number}) must be at least 0 and below {layers}, the number of layers.")
        return cls(number, stack.kinds[number], stack.blocks[number], stack.method_of(number).double())

    @property
    def by_content(self) -> bool:
        """Whether the bias depends on the content."""
        return type(self.method).content_bias is not Position.content_bias

    def position(self, length: int) -> LayerPosition:
        """The method at work on a text of this length."""
        positions = torch.arange(length)
        return LayerPosition(self.method, self.block.layer, Pass(positions, positions))

    @cached_property
    def windows(self) -> list[int | None]:
        """How many keys each head sees, its layer's window counted; None: all before it."""
        both = [
            [window for window in (self.block.layer.window, own) if window is not None]
            for own in self.method.head_windows() or [None] * self.method.num_heads
        ]
        return [min(windows) if windows else None for windows in both]

    def parameters(self) -> dict[str, np.ndarray]:
        """All that the method has learned, and the query scale, by name."""
        named = dict(self.method.named_parameters())
        if (scale := self.block.attention.query_scale) is not None:
            named |= {f"query_scale.{name}": parameter for name, parameter in scale.named_parameters()}
        return {name: parameter.detach().double().numpy() for name, parameter in named.items()}

    def in_words(self) -> list[str]:
        """What the layer's method does, a clause each."""
        method, does = self.method, []
        if type(method).embed is not Position.embed:
            does.append("adds to the token embeddings, before the first layer")
        if self.by_content:
            does.append("adds a bias to the scores that depends on the content")
        elif (bias := method.bias()) is not None:
            alone = isinstance(bias, DistanceBias)
            does.append(f"adds a bias to the scores that depends on {'the distance' if alone else 'both positions'}")
        if turned := [what for what in ("queries", "keys") if _turns(method, what)]:
            does.append(f"turns {' and '.join(turned)} by their positions, before the dot product")
        if set(self.windows) != {None}:
            does.append(self._hides())
        if not does or (type(method).embed is not Position.embed and len(does) == 1):
            does.append("adds nothing to the scores and turns nothing: attention has the causal mask alone")
        if scale := self.block.attention.query_scale:
            does.append(f"multiplies queries by a factor that grows with the keys they see ({scale.config.name})")
        return does

    def _hides(self) -> str:
        sinks, windows = self.block.layer.sink_tokens, self.windows
        if len(set(windows)) == 1:
            keys = f"a query sees the last {windows[0]:,} keys, its own counted"
        else:
            keys = f"head by head a query sees {', '.join('all' if w is None else f'{w:,}' for w in windows)} keys"
        return f"hides far keys: {keys}" + (f", and always the first {sinks:,}" if sinks else "")


def _turns(method: Position, what: str) -> bool:
    positions = torch.zeros(1, dtype=torch.long)
    return (method.turn_query if what == "queries" else method.turn_key)(positions) is not None


def dense_bias(scores: ScoreBias, num_heads: int) -> Tensor:
    """(H, L, M): what attention adds to the scores of the first text of a batch, -inf where a key is hidden."""
    queries, keys = scores.of.num_queries, scores.of.num_keys
    bias_HLM = torch.full((num_heads, queries, keys), -math.inf, dtype=torch.float64)
    for start, stop in scores.blocks():
        block_HCM = scores.block(start, stop, torch.float64)[0].flip(1)  # blocks begin with the last query
        bias_HLM[:, start:stop, : block_HCM.shape[-1]] = block_HCM
    return bias_HLM


def mean_by_distance(bias_HLM: Tensor) -> tuple[Tensor, bool]:
    """The bias at each distance, and whether it is the same for all queries.

    Returns:
        (H, N), the mean over the queries that see the key, -inf where none does; exact where they all agree.
    """
    means, alike = [], True
    for distance in range(bias_HLM.shape[1]):
        bias_HL = bias_HLM.diagonal(-distance, 1, 2)
        seen_HL = bias_HL > -math.inf
        least_H, most_H = bias_HL.masked_fill(~seen_HL, math.inf).amin(1), bias_HL.amax(1)
        mean_H = bias_HL.where(seen_HL, 0.0).sum(1) / seen_HL.sum(1)
        means.append(torch.where(least_H < most_H, mean_H, most_H))
        alike = alike and bool((bias_HL == bias_HL[:, :1]).all())
    return torch.stack(means, dim=1), alike


def turn_by_distance(position: LayerPosition, num_heads: int, head_dim: int) -> Tensor | None:
    """(H, N): the dot product of equal vectors, all ones, by distance, where 1 is their product without the turn.

    The query stands at the last position, as the turn of some methods depends on more than the distance. Both are
    divided by their lengths at position 0, which only methods change that also widen them. None: nothing is turned.
    """
    if position.turn_query is None and position.turn_key is None:
        return None
    ones_BHLK = torch.ones(1, num_heads, position.of.num_keys, head_dim, dtype=torch.float64)
    query_HLK, key_HLK = (turned[0] / turned[0, :, :1].norm(dim=-1, keepdim=True) for turned in position.turned(
        ones_BHLK, ones_BHLK))  # fmt: skip
    return (key_HLK @ query_HLK[:, -1, :, None])[..., 0].flip(1)

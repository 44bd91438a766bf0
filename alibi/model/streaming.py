"""Positions inside a cache of the first tokens and the last ones, as StreamingLLM counts them.

With S sink tokens and a window of W, the cache of query i has C = S + W places. From token C on,

    query i  has position  C - 1
    key j    has position  j if it is a sink (j < S), else j - (i - (C - 1))

so no distance is larger than C - 1. The key/value cache itself keeps everything; the mask hides what has left.

A turn of queries and keys sees i - j alone where both are turned, so recent keys may keep their places in the text, and
sinks need another turn of the query. Both turns stand side by side in a head twice as wide: a recent key has zeros in
the second half, a sink in the first.

Source: Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453, section 3.2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.model.model_config import LayerSettings
from alibi.positions import Bias, DistanceBias, PairBias, QueryTableBias, Turn


@dataclass(frozen=True)
class StreamingCache:
    """
    Attributes:
        sinks: first tokens that stay in the cache.
        window: last tokens in it, the query's own counted.
    """

    sinks: int
    window: int

    def query(self, positions: Tensor) -> Tensor:
        """Positions of queries inside the cache."""
        return positions.clamp(max=self.sinks + self.window - 1)

    def key(self, i: Tensor, j: Tensor) -> Tensor:
        """Positions of keys j inside the cache of queries i; later keys have any value."""
        return torch.where(j < self.sinks, j, j - (i - self.query(i)))

    def turn_query(self, in_text: Turn, in_cache: Turn) -> Turn:
        return lambda q_BHLK: torch.cat([in_text(q_BHLK), in_cache(q_BHLK)], dim=-1)

    def turn_key(self, turn: Turn, positions: Tensor) -> Turn:
        sink_BN = (positions < self.sinks).reshape(-1, 1, positions.shape[-1], 1)

        def both(k_BHNK: Tensor) -> Tensor:
            turned = turn(k_BHNK)
            return torch.cat([turned.masked_fill(sink_BN, 0.0), turned.masked_fill(~sink_BN, 0.0)], dim=-1)

        return both

    def bias(self, bias: Bias | None, name: str) -> Bias | None:
        """The same bias of positions inside the cache.

        Args:
            name: of the method, for messages.

        Raises:
            ValueError: a bias that has no positions, or a table longer than the window.
        """
        if isinstance(bias, DistanceBias):
            return PairBias(lambda i, j: bias.at((self.query(i) - self.key(i, j))[:, 0]).transpose(0, 1))
        if isinstance(bias, PairBias):
            return PairBias(lambda i, j, *own: bias.at(self.query(i), self.key(i, j), *own), bias.parameters)
        if isinstance(bias, QueryTableBias):
            # A sink is never nearer than the window, whether in the cache or in the text.
            if (extent := bias.table_BHLE.shape[-1]) > self.window:
                raise ValueError(
                    f"{name} has a table of {extent} distances, and the window ({self.window}) is shorter; "
                    "use a wider one, or sink_mask."
                )
            return bias
        if bias is not None:
            raise ValueError(f"{name} counts no positions, inside a cache or elsewhere; use sink_mask.")
        return None


def streaming_cache(layer: LayerSettings) -> StreamingCache | None:
    """The cache in which a layer counts positions; None: it counts them in the text."""
    return StreamingCache(layer.sink_tokens or 0, layer.window) if layer.positions_in_cache else None

"""A position method at work in one forward pass: its turns, its bias and what its heads see.

Made once a pass where layers share the method, else by each layer inside its own forward, since FSDP gathers a
layer's parameters there. Hooks run with autocast off and in float32 or wider.

Legend: B batch, L queries, N new keys, M keys, D d_model, H heads, K head_dim.
"""

import torch
from torch import Tensor

from alibi.model.cache import KeyValueCache
from alibi.model.mask import Mask, Pass
from alibi.model.model_config import LayerSettings
from alibi.model.score_bias import ScoreBias
from alibi.model.streaming import streaming_cache
from alibi.positions import Bias, Position, Turn


def hooks_in_float32(device: torch.device) -> torch.autocast:
    """The context in which hooks of a method run."""
    return torch.autocast(device.type, enabled=False)


class LayerPosition:
    """
    Args:
        position: the method.
        layer: window and sink tokens.
        of: the pass, with the queries of all new tokens.
        first_query: the layer computes queries from this new token on.
    """

    def __init__(self, position: Position, layer: LayerSettings, of: Pass, first_query: int = 0) -> None:
        self.position, self.of = position, of.after(first_query)
        windows = position.head_windows()
        wrong = windows is not None and any(window is not None and window < 1 for window in windows)
        if wrong or (windows is not None and len(windows) != position.num_heads):
            raise ValueError(f"{position.name} has the windows {windows}; give one for each head, None or at least 1.")
        self.mask = Mask(self.of, layer.window, layer.sink_tokens, windows, layer.block_keys)
        self.by_content = type(position).content_bias is not Position.content_bias
        self.cache = streaming_cache(layer)
        with hooks_in_float32(of.query_positions.device):
            self.turn_query, self.turn_key = self._turns(of.query_positions)
            self._scores = None if self.by_content else ScoreBias(self._of_cache(position.bias()), self.mask)

    def _turns(self, keys: Tensor) -> tuple[Turn | None, Turn | None]:
        """Of the queries, and of new keys at these positions."""
        queries, method = self.of.query_positions, self.position
        turn_key = method.turn_key(keys)
        if self.cache is None:
            alike = type(method).turn_key is Position.turn_key and queries.shape == keys.shape
            return turn_key if alike else method.turn_query(queries), turn_key
        in_cache = method.turn_query(self.cache.query(queries))
        if turn_key is None:
            return in_cache, None
        return self.cache.turn_query(method.turn_query(queries), in_cache), self.cache.turn_key(turn_key, keys)

    def _of_cache(self, bias: Bias | None) -> Bias | None:
        return bias if self.cache is None else self.cache.bias(bias, self.position.name)

    def turned(self, q_BHLK: Tensor, k_BHNK: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and new keys as the method turns them."""
        with hooks_in_float32(q_BHLK.device):
            turned = zip((q_BHLK, k_BHNK), (self.turn_query, self.turn_key), strict=True)
            return tuple(x if turn is None else turn(x).to(x.dtype) for x, turn in turned)

    def scores(self, x_BND: Tensor, first_query: int, cache: KeyValueCache | None, block: int) -> ScoreBias:
        """What is added to the scores of a layer whose attention reads x."""
        if not self.by_content:
            return self._scores
        with hooks_in_float32(x_BND.device):
            x_BND = x_BND.to(torch.promote_types(x_BND.dtype, torch.float32))
            remembered_BRM = self.position.remember(x_BND)
            if cache is not None and remembered_BRM is not None:
                remembered_BRM = cache.remember_content(block, remembered_BRM)
            positions = self.of.query_positions if self.cache is None else self.cache.query(self.of.query_positions)
            bias = self.position.content_bias(x_BND[:, first_query:], positions, remembered_BRM)
            return ScoreBias(self._of_cache(bias), self.mask)

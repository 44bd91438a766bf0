"""The attention weights of one layer on a text, densely and in float64, from what the layer itself computes.

Legend: B batch, H heads, L queries, M keys, N distances from 0, D d_model, K head_dim, C queries in a block, W windows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from alibi.model import LanguageModel
from alibi.model.attention import Attention
from alibi.model.layer_position import LayerPosition
from alibi.model.score_bias import ScoreBias


@dataclass(frozen=True)
class AttentionPass:
    """The attention of one layer in one forward pass: what it reads, and its position method at work."""

    attention: Attention
    number: int
    x_BLD: Tensor
    position: LayerPosition

    @classmethod
    def of(cls, model: LanguageModel, number: int, ids_BL: Tensor) -> "AttentionPass":
        """The pass of layer `number` when the model, which is float64, reads `ids_BL`."""
        attention, read = model.transformer.blocks[number].attention, []
        hook = attention.register_forward_pre_hook(lambda _, arguments: read.append(arguments[:2]))
        try:
            model.hidden(ids_BL)
        finally:
            hook.remove()
        return cls(attention, number, *read[0])

    def scores(self) -> ScoreBias:
        return self.position.scores(self.x_BLD, 0, None, self.number)

    def heads(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(-1, (self.attention.num_heads, -1)).transpose(1, 2)

    def weights(self) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, (B, H, C, M)): the weights of queries start to stop - 1 over all keys, 0 where hidden."""
        attention, scores = self.attention, self.scores()
        q_BHLK, k_BHMK = (self.heads(linear(self.x_BLD)) for linear in (attention.query, attention.key))
        q_BHLK, k_BHMK = self.position.turned(q_BHLK, k_BHMK)
        if attention.query_scale is not None:
            q_BHLK = attention.query_scale(q_BHLK, self.position.mask.keys_of_queries())
        for start, stop in scores.blocks():
            bias_BHCM = scores.block(start, stop, torch.float64).flip(2)
            seen = bias_BHCM.shape[-1]
            products_BHCM = attention.scale * q_BHLK[:, :, start:stop] @ k_BHMK[:, :, :seen].transpose(2, 3)
            weights_BHCM = (products_BHCM + bias_BHCM).softmax(-1)
            yield start, stop, pad(weights_BHCM, (0, k_BHMK.shape[2] - seen))


@dataclass(frozen=True)
class AttentionByDistance:
    """Weights by distance and head, as means over all queries; a query that has no such distance counts as 0.

    Attributes:
        weight_HN: sums to 1 over the distances.
        entropy_H: nats.
        num_queries: how many it is the mean over.
    """

    weight_HN: Tensor
    entropy_H: Tensor
    num_queries: int

    @classmethod
    def of(cls, model: LanguageModel, number: int, windows_WL: Tensor) -> "AttentionByDistance":
        num_heads, length = model.config.num_heads, windows_WL.shape[1]
        weight_HN = torch.zeros(num_heads, length, dtype=torch.float64)
        entropy_H = torch.zeros(num_heads, dtype=torch.float64)
        index = torch.arange(length)
        for ids_L in windows_WL:
            for start, stop, weights_BHCM in AttentionPass.of(model, number, ids_L[None]).weights():
                distance_CM = (index[start:stop, None] - index).clamp(min=0)  # the weight of later keys is 0
                weight_HN.index_add_(1, distance_CM.flatten(), weights_BHCM[0].flatten(1))
                entropy_H += torch.special.entr(weights_BHCM[0]).sum((1, 2))
        num_queries = windows_WL.numel()
        return cls(weight_HN / num_queries, entropy_H / num_queries, num_queries)

    @classmethod
    def uniform(cls, length: int) -> "AttentionByDistance":
        """That of one head which gives all keys before a query the same weight."""
        seen_L = torch.arange(1, length + 1, dtype=torch.float64)
        weight_N = (1 / seen_L).flip(0).cumsum(0).flip(0) / length
        return cls(weight_N[None], seen_L.log().mean()[None], length)

    def mean_distance(self) -> Tensor:
        """(H,): tokens."""
        return self.weight_HN @ torch.arange(self.weight_HN.shape[1], dtype=torch.float64)

    def share_within(self, keys: int) -> Tensor:
        """(H,): the share of the weight on the last `keys` keys, the query's own counted."""
        return self.weight_HN[:, :keys].sum(1)

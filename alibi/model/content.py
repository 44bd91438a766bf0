"""How far content can move attention scores, bounded without computing them.

By Cauchy and Schwarz, with mu any vector (here the mean key) and u the scale, 1 / sqrt(head_dim),

    u q_i.k_j <= u q_i.mu + u |q_i| |k_j - mu|

Subtracting the mean tightens the bound, because what all keys share shifts all scores of a query equally. Two
things follow, both exact to rounding: which keys need not be visited (`far_keys`), and how low a bias needs to
go (`bias_depth`).

Legend: B batch, H heads, L queries, M keys, K head_dim.
"""

import math

import torch
from torch import Tensor

# exp(-margin) of a softmax's sum is half a unit in the last place of 1: ln 2^24 = 16.6, ln 2^53 = 36.7.
MARGIN, MARGIN_FLOAT64 = 17.0, 37.0
# The bound reads the keys three times, attention twice for each query.
LEAST_QUERIES = 16


class KeySizes:
    """The keys' distances from their mean.

    Attributes:
        mean_BHK1, size_BHM: float32, or float64 for float64 keys.
        margin: how many nats below the softmax's sum a term must be for rounding to hide it.
    """

    @torch.no_grad()
    def __init__(self, k_BHMK: Tensor) -> None:
        self.margin = MARGIN_FLOAT64 if k_BHMK.dtype == torch.float64 else MARGIN
        self.key_BHMK = k_BHMK.detach().to(torch.promote_types(k_BHMK.dtype, torch.float32))
        self.mean_BHK1 = self.key_BHMK.mean(2)[..., None]
        self.size_BHM = torch.linalg.vector_norm(self.key_BHMK - self.mean_BHK1.transpose(2, 3), dim=-1)

    @staticmethod
    def worthwhile(q_BHLK: Tensor) -> bool:
        """Whether enough queries share the cost of the bound; a single decoded token does not pay for it."""
        return q_BHLK.device.type == "cpu" and q_BHLK.shape[2] >= LEAST_QUERIES and q_BHLK.shape[0] > 0

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def bias_depth(self, q_BHLK: Tensor, first_query: int, scale: float) -> Tensor:
        """How many nats below the bias of a query's own key a bias hides the key's weight by rounding.

        A query sees its own key, so the weight of another is at most exp(its score - the own score), and content
        makes these differ by at most

            u |q_i| max_j |k_j - mu| - u q_i.(k_i - mu)

        With a bias `margin` + ln M below that, all M keys together stay below half a unit in the last place. How
        much deeper it is makes no difference, so attention raises it to this depth, where its exponential is not
        denormal: some processors take a hundred times as long for denormal numbers (below 1.2e-38).

        Args:
            first_query: index of the first query among the keys.

        Returns:
            (H,); infinite where queries or keys are not finite.
        """
        q_BHLK = q_BHLK.to(self.key_BHMK.dtype)
        own_BHLK = self.key_BHMK[:, :, first_query : first_query + q_BHLK.shape[2]]
        own_BHL = torch.linalg.vecdot(q_BHLK, own_BHLK) - (q_BHLK @ self.mean_BHK1)[..., 0]
        most_BHL = torch.linalg.vector_norm(q_BHLK, dim=-1) * self.size_BHM.amax(-1, keepdim=True)
        apart_H = scale * (most_BHL - own_BHL).amax((0, 2))
        return (apart_H + self.margin + math.log(self.size_BHM.shape[-1])).nan_to_num(nan=math.inf)

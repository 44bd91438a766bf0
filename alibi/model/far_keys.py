"""Which keys a linear bias puts out of reach: those whose weights together are below rounding.

A head with slope m adds -m (i - j) to the score of query i and key j. For keys of one block, by the bound
of `content`,

    score_ij <= u q_i.mu + u |q_i| max_j |k_j - mu| - m (i - j)

Summed over all keys of a block and all blocks further away, this bounds what they add to the softmax's sum. Once
the bound is `margin` below the log-sum-exp of the keys nearer than that, for every query of a block,
they are left out, and the result is the dense one to rounding. The bound uses the queries and keys
that are there: where content scores far away are large, nothing is left out.

No approximation to choose, and no window: how far a head sees follows from its slope and its keys.

Legend: B batch, H heads, C queries in a block, M keys, K head_dim, N blocks of keys before the near ones.
"""

import itertools
import math

import torch
from torch import Tensor

from alibi.model.content import KeySizes
from alibi.model.score_bias import QUERIES_PER_BLOCK, ScoreBias

# Keys nearer than this are always visited; their log-sum-exp is what the rest is held against.
NEAR_KEYS = 256
KEYS_PER_BLOCK = 128
# Of what may be left out, what is granted to keys left out for all queries at once.
SHARE_OF_FAR = 1 / 64


class FarKeys:
    """
    Args:
        keys: sizes of all keys.
        scores: with slopes.
    """

    def __init__(self, keys: KeySizes, scores: ScoreBias) -> None:
        self.first_query, self.margin, self.mean_BHK1 = scores.first_query, keys.margin, keys.mean_BHK1
        size_BHM = keys.size_BHM
        self.slope_H1 = torch.tensor(scores.slopes, dtype=size_BHM.dtype, device=size_BHM.device)[:, None]
        whole = size_BHM.shape[2] // KEYS_PER_BLOCK * KEYS_PER_BLOCK
        self.largest_BHN = size_BHM[:, :, :whole].unflatten(2, (-1, KEYS_PER_BLOCK)).amax(-1)

    @staticmethod
    def worthwhile(scores: ScoreBias) -> bool:
        """Whether a block of queries has keys far enough to be left out, and is a block and not one token."""
        least = QUERIES_PER_BLOCK + NEAR_KEYS + KEYS_PER_BLOCK
        return scores.slopes is not None and scores.num_queries >= QUERIES_PER_BLOCK and scores.num_keys > least

    def spans(self, q_BHCK: Tensor, lse_BHC: Tensor, start: int, stop: int, near: int) -> list[tuple[int, slice]]:
        """First key that may matter and the heads, neighbours, for which it is that; over all heads.

        Args:
            q_BHCK: queries stop - 1 down to start.
            lse_BHC: of the keys from `near` on.
            near: first key already visited.
        """
        u, blocks = q_BHCK.shape[-1] ** -0.5, near // KEYS_PER_BLOCK
        q_BHCK = q_BHCK.to(self.mean_BHK1.dtype)
        size_BHC = u * torch.linalg.vector_norm(q_BHCK, dim=-1)
        common_BHC = u * (q_BHCK @ self.mean_BHK1)[..., 0]
        # Distances are counted from `near`, so that no digits are lost far into a text.
        index_C = torch.arange(stop - 1, start - 1, -1, device=q_BHCK.device) + self.first_query - near
        last_key_N = torch.arange(1, blocks + 1, device=q_BHCK.device) * KEYS_PER_BLOCK - 1 - near
        of_query_BHC = common_BHC - self.slope_H1 * index_C - lse_BHC + (self.margin + math.log(KEYS_PER_BLOCK))
        of_keys_BHN, falls_HN = self.largest_BHN[:, :, :blocks], self.slope_H1 * last_key_N
        # First for all queries at once, by the largest of each number: keys far out are done with, and looking at
        # them costs next to nothing however long the text is. What is nearer for each query by itself.
        of_all_BHN = size_BHC.amax(-1, keepdim=True) * of_keys_BHN + of_query_BHC.amax(-1, keepdim=True) + falls_HN
        far = int(_negligible(of_all_BHN, SHARE_OF_FAR).sum(-1).min())
        of_each_BHCN = size_BHC[..., None] * of_keys_BHN[:, :, None, far:]
        of_each_BHCN.add_(of_query_BHC[..., None]).add_(falls_HN[:, None, far:])
        negligible_BHN = _negligible(of_each_BHCN, 1 - SHARE_OF_FAR).all(2)
        first_H = (far + negligible_BHN.sum(-1).amin(0)) * KEYS_PER_BLOCK
        spans, head = [], 0
        for first, heads in itertools.groupby(first_H.tolist()):
            begin, head = head, head + len(list(heads))
            spans.append((first, slice(begin, head)))
        return spans


def _negligible(bound: Tensor, most: float) -> Tensor:
    """Whether blocks 0 to N, the last dimension, add up to `most` of the largest sum that rounding hides, or less.

    Args:
        bound: logarithms of what each block adds, in units of that sum; overwritten.
    """
    # Raised to e^-50, which is as good as nothing: exponentials that underflow took 12 times as long.
    return bound.clamp_(min=-50.0).exp_().cumsum(-1) <= most

"""Which keys a bias lets attention skip: those whose weights together are below rounding.

ALiBi, for instance, adds -m (i - j) to the score of query i and key j. For the keys of one block, by the bound of
`content`,

    score_ij <= u q_i.mu + u |q_i| max_j |k_j - mu| + reach_i + reach_block

where the bias is at most the last two (`Term.reach`). Summed over the keys of a block and of all blocks further away,
this bounds what they add to the sum of the softmax. If the bound is `margin` below the log-sum-exp of the nearer keys
for every query of a block, these keys are skipped, and the result equals dense attention to rounding. The bound is
computed from the actual queries and keys: if content scores far away are large, no key is skipped.

There is no approximation to choose and no window: how far a head sees follows from its bias and its keys.

Legend: B batch, H heads, C queries in a block, M keys, K head_dim, N blocks of keys before the near ones.
"""

import itertools
import math

import torch
from torch import Tensor

from alibi.model.content import KeySizes
from alibi.model.score_bias import QUERIES_PER_BLOCK, ScoreBias

# Keys nearer than this are always visited; the others are compared with their log-sum-exp.
NEAR_KEYS = 256
KEYS_PER_BLOCK = 128
# The share of the allowed error that is spent on keys skipped for all queries at once.
SHARE_OF_FAR = 1 / 64


class FarKeys:
    """
    Args:
        keys: sizes of all keys.
        scores: with a bias that fades.
    """

    def __init__(self, keys: KeySizes, scores: ScoreBias, scale: float) -> None:
        self.scale, self.term, self.margin, self.mean_BHK1 = scale, scores.term, keys.margin, keys.mean_BHK1
        size_BHM = keys.size_BHM
        whole = size_BHM.shape[2] // KEYS_PER_BLOCK * KEYS_PER_BLOCK
        self.largest_BHN = size_BHM[:, :, :whole].unflatten(2, (-1, KEYS_PER_BLOCK)).amax(-1)

    @staticmethod
    def worthwhile(scores: ScoreBias) -> bool:
        """Whether there is a whole block of queries, and there are keys far enough away to be skipped.

        Every query must see a key before the near ones, so a window must be wider than these and a block together.
        """
        least = QUERIES_PER_BLOCK + NEAR_KEYS + KEYS_PER_BLOCK
        of, mask = scores.of, scores.mask
        if not (of.skip_far_keys and of.causal and of.padding_BM is None):
            return False
        if mask.sink_tokens or mask.blocks or len(mask.windows) > 1:
            return False
        if of.num_queries < QUERIES_PER_BLOCK or min(of.num_keys, mask.narrowest or of.num_keys) <= least:
            return False
        return scores.term.fades

    def spans(self, q_BHCK: Tensor, lse_BHC: Tensor, start: int, stop: int, near: int) -> list[tuple[int, slice]]:
        """The first key that may matter, for each range of adjacent heads that share it.

        Args:
            q_BHCK: queries stop - 1 down to start.
            lse_BHC: of the keys from `near` on.
            near: first key already visited.
        """
        u, blocks = self.scale, near // KEYS_PER_BLOCK
        dtype = self.mean_BHK1.dtype
        q_BHCK = q_BHCK.to(dtype)
        size_BHC = u * torch.linalg.vector_norm(q_BHCK, dim=-1)
        common_BHC = u * (q_BHCK @ self.mean_BHK1)[..., 0]
        ends_N = torch.arange(1, blocks + 1, device=q_BHCK.device) * KEYS_PER_BLOCK - 1
        reach_BHC, falls_BHN = (one.to(dtype) for one in self.term.reach(start, stop, near, ends_N))
        of_query_BHC = common_BHC + reach_BHC - lse_BHC + (self.margin + math.log(KEYS_PER_BLOCK))
        of_keys_BHN = self.largest_BHN[:, :, :blocks]
        # First for all queries at once, with the maximum of each term, which is cheap however long the text is. The
        # nearer blocks are then checked for each query.
        of_all_BHN = size_BHC.amax(-1, keepdim=True) * of_keys_BHN + of_query_BHC.amax(-1, keepdim=True) + falls_BHN
        far = int(_negligible(of_all_BHN, SHARE_OF_FAR).sum(-1).min())
        of_each_BHCN = size_BHC[..., None] * of_keys_BHN[:, :, None, far:]
        of_each_BHCN.add_(of_query_BHC[..., None]).add_(falls_BHN[:, :, None, far:])
        negligible_BHN = _negligible(of_each_BHCN, 1 - SHARE_OF_FAR).all(2)
        first_H = (far + negligible_BHN.sum(-1).amin(0)) * KEYS_PER_BLOCK
        spans, head = [], 0
        for first, heads in itertools.groupby(first_H.tolist()):
            begin, head = head, head + len(list(heads))
            spans.append((first, slice(begin, head)))
        return spans


def _negligible(bound: Tensor, most: float) -> Tensor:
    """Whether blocks 0 to N together add at most the share `most` of the largest sum that rounding hides.

    Args:
        bound: logarithm of what each block (last dimension) adds, in units of that sum; overwritten.
    """
    # Clamped to e^-50, which is negligible: exponentials that underflow took 12 times as long.
    return bound.clamp_(min=-50.0).exp_().cumsum(-1) <= most

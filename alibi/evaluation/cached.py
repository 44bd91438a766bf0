"""Scoring through the key/value cache, as in decoding.

The nats must equal those of the full forward pass, so an evaluation also holds for decoding. Each target costs one
pass, so this is slow.
"""

import torch
from torch import Tensor

from alibi.environment import autocast
from alibi.evaluation.score import Scorer
from alibi.model import KeyValueCache, LanguageModel


def cached_scorer(model: LanguageModel, precision: str = "fp32") -> Scorer:
    """A model of ours, in evaluation mode, as a scorer: the unscored context in one pass, then one input a pass.

    Args:
        precision: as for `model_scorer`.
    """

    def nats(input_ids: Tensor, target_ids: Tensor, first_scored: int) -> Tensor:
        cache = KeyValueCache()
        with autocast(model.device, precision):
            if first_scored:
                model.hidden(input_ids[:, :first_scored], cache=cache, first_query=first_scored - 1)
            scored = input_ids[:, first_scored:].split(1, dim=1)
            hidden = [model.hidden(ids, cache=cache) for ids in scored]
            return model.output.nll(torch.cat(hidden, dim=1), target_ids)

    return nats

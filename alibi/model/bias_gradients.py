"""Gradients of a learned bias on a CPU, collected block by block while attention's backward pass visits its keys.

The gradient of the scores is an L x M matrix, which is never whole; each kind of bias needs other sums of it.
"""

import torch
from torch import Tensor

from alibi.model.bias_terms import DecayTerm, LinearTerm, PairTerm, QueryTableTerm
from alibi.model.gradient_columns import Columns, DecayGradient, LinearGradient
from alibi.model.gradient_tiles import LineGradient, PairGradient, QueryTableGradient, Tiles
from alibi.model.score_bias import ScoreBias

COLUMNS = {LinearTerm: LinearGradient, DecayTerm: DecayGradient}
TILES = {QueryTableTerm: QueryTableGradient, PairTerm: PairGradient}


def gradient_of(scores: ScoreBias, scale: float, k_BHMK: Tensor, v_BHMK: Tensor) -> Columns | Tiles | None:
    """What collects the gradients of `scores.inputs`; None if none are wanted."""
    if not scores.learned:
        return None
    kind = type(scores.term)
    if kind in COLUMNS:
        return COLUMNS[kind](scores, scale, k_BHMK, v_BHMK)
    return TILES.get(kind, LineGradient)(scores, scale, torch.promote_types(k_BHMK.dtype, torch.float32))

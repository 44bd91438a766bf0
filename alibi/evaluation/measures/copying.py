"""Copying: segments behind a copy of themselves, written over what was `distance` tokens earlier.

    ... LEAD tokens, [CUE + segment], text ..., CUE + segment
                     |<---------- distance ---------->|

The copy holds CUE tokens before the segment too, so that the model can know where in it it is. The gain is the nats of
the segment in the text as it is minus those behind the copy. A model without induction heads gains nothing at any
distance, which says nothing of positions.

Source: the forgetting curve of Liu et al., arXiv 2410.04727, with nats in place of accuracy.
"""

from collections.abc import Callable

import numpy as np

from alibi.data import TokenFile
from alibi.evaluation.measures.segments import TARGETS, Segments, left_out, score_segments
from alibi.evaluation.score import Scorer
from alibi.processes import Processes

CUE = LEAD = TARGETS  # a copy at a distance needs so many more tokens before a segment


def copy_distances(trained: int, reach: int) -> list[int]:
    """L/2, L, 2L and so on up to `reach`; copy and segment do not overlap."""
    return [d for d in (trained * 2**power // 2 for power in range(40)) if CUE + TARGETS <= d <= reach]


def window_of(tokens: TokenFile, segments: Segments, place: int, distance: int, copied: bool) -> np.ndarray:
    """(distance + LEAD + CUE + TARGETS,) int64: the inputs of a segment."""
    stop = int(segments.first_S[place]) + TARGETS
    length = CUE + TARGETS
    inputs = tokens.inputs(stop - distance - length - LEAD, stop)
    if copied:
        inputs[LEAD + 1 : LEAD + 1 + length] = tokens.targets(stop - length, stop)
    return inputs


def score_copying(
    tokens: TokenFile,
    segments: Segments,
    distances: list[int],
    scorer_of: Callable[[int], Scorer],
    batch_tokens: int,
    procs: Processes,
) -> list[dict]:
    """The entries of a result file, `copy`.

    Args:
        scorer_of: window length -> what scores it. May raise NotScored, and that point is left out.
    """

    def nats(distance: int, scorer: Scorer, copied: bool) -> np.ndarray:
        def inputs_of(place: int) -> np.ndarray:
            return window_of(tokens, segments, place, distance, copied)

        return score_segments(inputs_of, tokens, segments, scorer, batch_tokens, procs)

    points = []
    for distance in distances:
        with left_out(f"copy {distance:,} tokens away", procs):
            scorer = scorer_of(len(window_of(tokens, segments, 0, distance, True)))
            behind_S, without_S = (nats(distance, scorer, copied) for copied in (True, False))
            points.append(
                {
                    "distance": distance,
                    "targets": segments.targets,
                    "nll_nats": float(behind_S.sum()),
                    "without_nll_nats": float(without_S.sum()),
                    "group_nats": segments.by_article(behind_S),
                    "without_group_nats": segments.by_article(without_S),
                }
            )
    return points

"""The context sample: the same targets behind n = L/4, L, 4L, 16L tokens, L the training length.

    true       a segment is the end of a window of n tokens of its article, so that a target sees n - 15 to n of them
    swapped    what is more than L tokens before the segment's end is another article's, so that a target sees as much
               of its own article as in a true window of L
    masked     the window is the longest, and every layer sees its last n keys alone

Where a method knows where the text begins, a longer window moves its positions too, so masked windows have L tokens and
say nothing beyond.

true - swapped at n is what the content beyond L gives; swapped at n - true at L is what the length itself does.
"""

from collections.abc import Callable

import numpy as np

from alibi.data import TokenFile
from alibi.evaluation.measures.segments import TARGETS, Segments, left_out, score_segments
from alibi.evaluation.score import Scorer
from alibi.processes import Processes


def context_lengths(trained: int, reach: int) -> list[int]:
    """L/4, L, 4L and so on up to `reach`, which is the last; a window holds a segment at least."""
    lengths = {reach, *(trained * 4**power // 4 for power in range(20))}
    return sorted(n for n in lengths if TARGETS <= n <= reach)


def window_of(tokens: TokenFile, segments: Segments, place: int, n: int, trained: int, swapped: bool) -> np.ndarray:
    """(n,) int64: the inputs of a segment."""
    stop = int(segments.first_S[place]) + TARGETS
    inputs = tokens.inputs(stop - n, stop)
    far = n - trained
    if swapped and far > 0:
        other = int(segments.other_S[place])
        inputs[:far] = tokens.targets(other, other + far)
    return inputs


def score_context(
    tokens: TokenFile,
    segments: Segments,
    trained: int,
    lengths: list[int],
    masked_length: int,
    scorer_of: Callable[[int, int | None], Scorer | None],
    batch_tokens: int,
    procs: Processes,
) -> list[dict]:
    """The entries of a result file, `context`.

    Args:
        masked_length: tokens of the windows that are masked.
        scorer_of: (window length, keys that every layer sees or None for all) -> what scores it; None where a model
            cannot be masked. May raise NotScored, and that point is left out.
    """

    def nats(n: int, scorer: Scorer, swapped: bool = False) -> np.ndarray:
        def inputs_of(place: int) -> np.ndarray:
            return window_of(tokens, segments, place, n, trained, swapped)

        return score_segments(inputs_of, tokens, segments, scorer, batch_tokens, procs)

    def point_at(n: int) -> dict:
        scorer = scorer_of(n, None)
        kinds = {"": nats(n, scorer)}
        kinds["swapped_"] = nats(n, scorer, swapped=True) if n > trained else kinds[""]
        if n <= masked_length and (masked := scorer_of(masked_length, n)):
            with left_out(f"context masked to {n:,} tokens", procs):
                kinds["masked_"] = nats(masked_length, masked)
        point = {"n": n, "targets": segments.targets}
        for kind, nats_S in kinds.items():
            point |= {f"{kind}nll_nats": float(nats_S.sum()), f"{kind}group_nats": segments.by_article(nats_S)}
        return point

    points = []
    for n in lengths:
        with left_out(f"context of {n:,} tokens", procs):
            points.append(point_at(n))
    return points

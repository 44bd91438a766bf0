"""Copies: written where they should be, and their gain found at every distance that the scorer sees."""

import numpy as np
import pytest
import torch

from alibi.evaluation.measures.copying import CUE, LEAD, copy_distances, score_copying, window_of
from alibi.evaluation.measures.segments import SEGMENTS, TARGETS, choose_segments
from alibi.processes import ALONE

L, REACH = 64, 512
LENGTH = CUE + TARGETS


@pytest.fixture
def tokens(articles):
    draw = np.random.default_rng(0)
    return articles(*[[f"w{n}" for n in draw.integers(0, 900, 2000)] for _ in range(6)])[0]


@pytest.fixture
def segments(tokens):
    return choose_segments(tokens, REACH, CUE + LEAD)


def test_the_copy_stands_at_its_distance_and_the_rest_is_the_text(tokens, segments):
    for distance in (LENGTH, 64, 512):
        plain, copied = (window_of(tokens, segments, 3, distance, copied) for copied in (False, True))
        passage = tokens.targets(segments.first_S[3] - CUE, segments.first_S[3] + TARGETS)
        changed = np.flatnonzero(plain != copied)
        place = slice(len(plain) + 1 - LENGTH - distance, len(plain) + 1 - distance)
        assert (copied[place] == passage).all()
        assert changed.min() >= place.start
        assert changed.max() < place.stop
        assert (copied[-LENGTH + 1 :] == passage[:-1]).all(), "the inputs of the passage itself"


def test_distances_are_halves_to_the_reach_without_overlap():
    assert copy_distances(128, 2048) == [64, 128, 256, 512, 1024, 2048]
    assert copy_distances(32, 128) == [32, 64, 128], "a passage is 32 tokens long"


def induction(window):
    """Half a nat where the last eight inputs stand before the target in the last `window` inputs, four elsewhere."""

    def scorer(inputs, targets, first):
        nats = torch.full(targets.shape, 4.0)
        for b, row in enumerate(inputs.tolist()):
            for s in range(targets.shape[1]):
                end = first + s + 1
                seen, cue = row[max(0, end - window) : end], row[end - 8 : end]
                found = [k for k in range(len(seen) - 8) if seen[k : k + 8] == cue]
                nats[b, s] = 0.5 if any(seen[k + 8] == targets[b, s] for k in found) else 4.0
        return nats

    return scorer


def test_the_gain_of_a_copy_is_found_as_far_as_the_scorer_sees(tokens, segments):
    points = score_copying(tokens, segments, [64, 128, 256], lambda n: induction(200), 4096, ALONE)
    gains = {p["distance"]: (p["without_nll_nats"] - p["nll_nats"]) / p["targets"] for p in points}
    assert gains == pytest.approx({64: 3.5, 128: 3.5, 256: 0.0})
    assert all(point["targets"] == SEGMENTS * TARGETS for point in points)
    assert sum(points[0]["group_nats"]) == pytest.approx(points[0]["nll_nats"])

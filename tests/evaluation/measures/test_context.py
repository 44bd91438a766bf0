"""The context sample on a source whose far half decides the target, and on models that cannot see so far."""

import numpy as np
import pytest
import torch

from alibi.evaluation.measures.context import context_lengths, score_context, window_of
from alibi.evaluation.measures.segments import SEGMENTS, TARGETS, choose_segments
from alibi.evaluation.score import model_scorer
from alibi.model import LanguageModel, ModelConfig, masked, same_weights
from alibi.processes import ALONE

L, REACH = 64, 256
LENGTHS = [16, 64, 256]


@pytest.fixture
def tokens(articles):
    """Articles of one word each: the far half of a window says which article it is, and so does the near one."""
    return articles(*[[f"a{n}"] * 1200 for n in range(8)])[0]


def points(tokens, scorer_of, lengths=LENGTHS, masked_length=REACH):
    segments = choose_segments(tokens, REACH)
    found = score_context(tokens, segments, L, lengths, masked_length, scorer_of, 4096, ALONE)
    return {point["n"]: point for point in found}


def test_lengths_are_quarters_and_powers_of_four_up_to_the_reach():
    assert context_lengths(128, 2048) == [32, 128, 512, 2048]
    assert context_lengths(128, 1024) == [32, 128, 512, 1024]
    assert context_lengths(32, 512) == [32, 128, 512], "a window of 8 holds no segment"


def test_a_source_that_far_content_decides_is_found(tokens):
    def far_scorer(inputs, targets, first):
        """Knows the target if the first input of its window is the same word."""
        return torch.where(inputs[:, :1] == targets, 0.5, 4.0)

    found = points(tokens, lambda n, keys: None if keys else far_scorer)
    for n in LENGTHS:
        point = found[n]
        assert point["nll_nats"] == pytest.approx(0.5 * SEGMENTS * TARGETS)
        assert point["swapped_nll_nats"] == pytest.approx((4.0 if n > L else 0.5) * SEGMENTS * TARGETS)
        assert sum(point["swapped_group_nats"]) == pytest.approx(point["swapped_nll_nats"])
        assert "masked_nll_nats" not in point

    def near_scorer(inputs, targets, first):
        return torch.where(inputs[:, -L:][:, :1] == targets, 0.5, 4.0)

    control = points(tokens, lambda n, keys: None if keys else near_scorer)[REACH]
    assert control["swapped_nll_nats"] == control["nll_nats"], "control: near content alone"


def test_only_what_is_beyond_the_training_length_is_swapped(tokens):
    segments = choose_segments(tokens, REACH)
    true, swapped = (window_of(tokens, segments, 7, REACH, L, swap) for swap in (False, True))
    assert (true[-L:] == swapped[-L:]).all()
    assert (true[:-L] != swapped[:-L]).all()
    assert len(true) == len(swapped) == REACH


def test_a_point_that_cannot_be_scored_is_left_out(tokens, capsys):
    def out_of_memory(inputs, targets, first):
        raise MemoryError("can't allocate memory")

    def nan(inputs, targets, first):
        return torch.full(targets.shape, torch.nan)

    def one(inputs, targets, first):
        return torch.ones(targets.shape)

    for fails in (out_of_memory, nan):
        assert points(tokens, lambda n, keys, fails=fails: fails if n == REACH else one).keys() == {16, L}
        alone = points(tokens, lambda n, keys, fails=fails: fails if keys else one)
        assert alone.keys() == {16, L, REACH}
        assert "masked_nll_nats" not in alone[L]
    out = capsys.readouterr().out
    assert "context of 256 tokens: out of memory: can't allocate memory; left out" in out
    assert "context masked to 64 tokens: nats are not a number; left out" in out


@pytest.fixture
def random_tokens(articles):
    draw = np.random.default_rng(0)
    return articles(*[[f"w{n}" for n in draw.integers(0, 40, 1200)] for _ in range(8)])[0]


def model(vocab_size, method="rotary", layers=2, **values):
    config = ModelConfig(position={"name": method}, num_layers=layers, d_model=16, num_heads=2, **values)
    return LanguageModel(config, vocab_size, seed=0).eval()


def scorers(of):
    def scorer_of(n, keys):
        return model_scorer(of if keys is None else same_weights(of, masked(of.config, keys)))

    return scorer_of


def test_a_window_model_is_changed_by_nothing_beyond_window_times_layers(random_tokens):
    """Exactly: two layers of 25 keys see 49 tokens, as many as the first target keeps; two of 26 see 51."""
    assert L - (TARGETS - 1) == 49
    found = points(random_tokens, scorers(model(60, window=25)))
    assert found[REACH]["swapped_group_nats"] == found[REACH]["group_nats"]
    wider = points(random_tokens, scorers(model(60, window=26)))[REACH]
    assert wider["swapped_group_nats"] != wider["group_nats"], "control"


@pytest.mark.parametrize("layers", [1, 2])
def test_masked_keys_are_absent_ones_in_one_layer_and_carried_on_in_two(random_tokens, layers):
    """One layer of a method that shifting does not change gives the nats of the last n tokens alone."""
    found = points(random_tokens, scorers(model(60, layers=layers)))
    # A segment's targets in a window of n see n - 15 to n tokens; masked, all of them see n.
    for n in (64, 256):
        alike = found[n]["masked_nll_nats"] == pytest.approx(found[n]["nll_nats"], rel=1e-7)
        assert alike == (n == REACH), "at the longest window the two are one"


def test_masked_windows_are_no_longer_than_they_may_be(tokens):
    asked = []

    def scorer_of(n, keys):
        asked.append((n, keys))
        return lambda inputs, targets, first: torch.zeros(targets.shape)

    found = points(tokens, scorer_of, masked_length=L)
    assert [n for n, point in found.items() if "masked_nll_nats" in point] == [16, L]
    assert [one for one in asked if one[1]] == [(L, 16), (L, L)]

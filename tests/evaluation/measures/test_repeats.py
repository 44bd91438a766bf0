"""Repeats: found where they were planted, counted where they can be seen, and nowhere else."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from alibi.data import DataConfig, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens
from alibi.evaluation.measures import repeats as module
from alibi.evaluation.measures.repeats import RepeatSums, edges_of, repeat_distances
from alibi.evaluation.score import score
from alibi.evaluation.sums import text_groups

L, DISTANCE = 64, 100
EDGES = [0, 16, 32, 64, 128, 256, 512]


def planted(draw, number=1200, every=150):
    """Words of which no bigram comes twice, but for pairs that come again DISTANCE later."""
    words = [f"w{n}" for n in draw.permutation(5000)[:number]]
    for place in range(10, number - DISTANCE - 2, every):
        words[place + DISTANCE : place + DISTANCE + 2] = words[place : place + 2]
    return words


@pytest.fixture
def text(articles):
    """A text with planted repeats, and a training text in which their bigrams do not occur."""
    draw = np.random.default_rng(0)
    tokens, tokenizer = articles(*(planted(draw) for _ in range(12)), name="text")
    return tokens, tokenizer


def test_the_planted_repeats_are_found_at_their_distance(text):
    tokens, tokenizer = text
    distances = repeat_distances(tokens, tokens, tokenizer)
    assert set(distances[distances > 0]) == {DISTANCE}
    places = np.flatnonzero(distances)
    ids = tokens.targets(0, len(tokens))
    assert len(places) == 12 * 8
    for place in places:
        assert (ids[place - 1 : place + 1] == ids[place - DISTANCE - 1 : place - DISTANCE + 1]).all()


def scored(tokens, distances, length, stride, scorer):
    sums = RepeatSums(distances, L, text_groups(tokens))
    for _ in score(tokens, length, stride, scorer, [sums], torch.device("cpu"), 4096):
        pass
    return RepeatSums.row([sums])["repeats"]


def looks_back(inputs, targets, first):
    """Half a nat where the bigram of the target stands in the inputs, four elsewhere."""
    nats = torch.full(targets.shape, 4.0)
    for b, row in enumerate(inputs.tolist()):
        for s in range(targets.shape[1]):
            seen, pair = row[: first + s + 1], (row[first + s], int(targets[b, s]))
            nats[b, s] = 0.5 if pair in pairwise(seen) else 4.0
    return nats


def test_the_gain_is_in_the_bucket_of_the_distance_and_nowhere_else(text):
    tokens, tokenizer = text
    distances = repeat_distances(tokens, tokens, tokenizer)
    row = scored(tokens, distances, 256, 64, looks_back)
    assert row["edges"] == EDGES == edges_of(L)
    bucket = 3  # above 64, at most 128
    assert [number > 0 for number in row["targets"]] == [place == bucket for place in range(6)]
    assert row["nll_nats"][bucket] == 0.5 * row["targets"][bucket]
    assert np.array(row["group_nats"]).sum(1) == pytest.approx(row["nll_nats"])
    assert np.array(row["group_targets"]).sum(1).tolist() == row["targets"]
    short = scored(tokens, distances, L, L, looks_back)
    assert not any(short["targets"]), "in windows of L none can be seen"
    assert short["hidden_targets"][bucket] == 12 * 8
    assert short["hidden_nll_nats"][bucket] == 4.0 * 12 * 8


def test_seen_and_hidden_are_told_apart_to_the_token(text):
    """A bigram is seen if its first token is an input: at a distance of d from a context of d + 1 on."""
    tokens, tokenizer = text
    distances = repeat_distances(tokens, tokens, tokenizer)
    for length, seen in ((DISTANCE, 0), (DISTANCE + 1, 12 * 8)):
        row = scored(tokens, distances, length, 1, lambda inputs, targets, first: torch.ones(targets.shape))
        assert sum(row["targets"]) == seen


def test_repeats_of_another_article_do_not_count(articles):
    words = [f"w{n}" for n in range(300)]
    tokens, tokenizer = articles(words, words)
    assert not repeat_distances(tokens, tokens, tokenizer).any()


def test_bigrams_that_training_knows_well_do_not_count(articles, monkeypatch):
    words = [f"w{n}" for n in range(100)]
    tokens, tokenizer = articles([*words, *words], name="text")
    often, _ = articles(*([words] * module.MOST_IN_TRAINING), name="train")
    found = repeat_distances(tokens, often, tokenizer)
    assert (found > 0).sum() == 99
    more, _ = articles(*([words] * (module.MOST_IN_TRAINING + 1)), name="more")
    assert not repeat_distances(tokens, more, tokenizer).any()
    monkeypatch.setattr(module, "CHUNK", 7)
    assert (repeat_distances(tokens, often, tokenizer) == found).all(), "counted in parts"
    assert not repeat_distances(tokens, more, tokenizer).any()


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_unknown_words_are_left_out(tmp_path, kind):
    folder = tmp_path / "text"
    folder.mkdir()
    half = " a <unk> b <unk> c d"
    (folder / "one.txt").write_text(f"{half}{half}\n")
    text = open_text(DataConfig("text", str(folder)), "all", words=kind == "word")
    tokenizer = prepare_tokenizer(TokenizerConfig(kind, 300 if kind == "bpe" else None), text, tmp_path, quiet=True)
    tokens = prepare_tokens(text, tokenizer, tmp_path, quiet=True)
    found = np.flatnonzero(repeat_distances(tokens, tokens, tokenizer))
    said = [tokenizer.decode([int(tokens.tokens[place])]).strip() for place in found]
    assert said == ["d"] if kind == "word" else "<" not in "".join(said) and "d" in said

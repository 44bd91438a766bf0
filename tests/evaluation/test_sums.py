"""Sums: in float64, by context, by group of the text; and the metrics that follow."""

import math

import numpy as np
import pytest
import torch

from alibi.data import DataConfig, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens, window_batches
from alibi.data.windows import windows
from alibi.evaluation import NatsSum, bits_per_byte, perplexity
from alibi.evaluation import sums as sums_module
from alibi.evaluation.sums import ContextSums, Groups, GroupSums, context_bins, text_groups


def test_nats_are_added_in_float64():
    total = NatsSum()
    for _ in range(1000):
        total.add([], torch.full((1, 1000), 0.1, dtype=torch.float32))
    exact = 1e6 * float(torch.tensor(0.1))
    assert total.nats == pytest.approx(exact, rel=1e-12)
    in_float32 = torch.zeros(())
    for _ in range(1000):
        in_float32 += torch.full((1000,), 0.1).sum()
    assert in_float32.item() != pytest.approx(exact, rel=1e-9), "control: float32 sums are not that good"


def test_perplexity_and_bits_per_byte():
    assert perplexity(10 * math.log(7), 10) == pytest.approx(7)
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2)


@pytest.mark.parametrize(("nats", "reason"), [(7100.0, "above the largest float64"), (float("nan"), "nan")])
def test_what_is_no_number_says_why(nats, reason):
    with pytest.raises(OverflowError, match=reason):
        perplexity(nats, 10)


def test_bins_are_exact_up_to_64_and_shared_by_all_lengths():
    assert context_bins(10).tolist() == list(range(1, 11))
    bins = context_bins(4096)
    assert bins[:64].tolist() == list(range(1, 65))
    assert {128, 256, 512, 1024, 2048, 4096} <= set(bins)
    assert (np.diff(bins) > 0).all()
    assert set(context_bins(1024)) <= set(bins)
    assert context_bins(100)[-1] == 100


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (8, 8), (100, 100), (200, 13), (300, 1), (5000, 5000)])
def test_every_target_counts_once_under_its_own_context(length, stride):
    num_tokens = 333
    sums, expected = ContextSums(min(length, num_tokens)), {}
    for batch in window_batches(num_tokens, length, stride, 500):
        contexts = [[t - w.start + 1 for t in range(w.first, w.stop)] for w in batch]
        sums.add(batch, 2.0 + 1.0 / torch.tensor(contexts, dtype=torch.float64))
    for w in windows(num_tokens, length, stride):
        for t in range(w.first, w.stop):
            context = t - w.start + 1
            bin_ = min(n for n in sums.up_to.tolist() if n >= context)
            expected.setdefault(bin_, []).append(2.0 + 1.0 / context)
    assert sums.targets.sum() == num_tokens
    for up_to, targets, nats in zip(sums.up_to.tolist(), sums.targets, sums.nats, strict=True):
        assert targets == len(expected.get(up_to, []))
        assert nats == pytest.approx(sum(expected.get(up_to, [])), rel=1e-12)


@pytest.fixture
def prepared(corpus, cache):
    """The validation split of the generated corpus, or its train split, by a tokenizer of its own."""

    def prepare(tokenizer="byte", split="validation", max_tokens=None):
        data = DataConfig("wikitext2", str(corpus))
        train = open_text(data, "train", tokenizer == "word")
        trained = prepare_tokenizer(TokenizerConfig(tokenizer, 300 if tokenizer == "bpe" else None), train, cache)
        tokens = prepare_tokens(open_text(data, split, tokenizer == "word"), trained, cache)
        return tokens if max_tokens is None else tokens.cut(max_tokens)

    return prepare


def test_articles_are_the_groups_and_are_the_same_for_every_tokenizer(prepared):
    by_name = {name: text_groups(prepared(name, "train")) for name in ("byte", "bpe", "word")}
    for name, groups in by_name.items():
        assert groups.kind == "documents"
        assert len(groups.sizes) == 60, "the articles of the generated corpus"
        whole = prepared(name, "train")
        assert groups.sizes.sum(0).tolist() == [len(whole), whole.num_words, whole.num_bytes]
    assert (by_name["byte"].sizes[:, 1:] == by_name["bpe"].sizes[:, 1:]).all()
    # The word form has <unk> for rare words: other bytes, the same words.
    assert (by_name["byte"].sizes[:, 1] == by_name["word"].sizes[:, 1]).all()
    assert (by_name["byte"].sizes[:, 0] != by_name["bpe"].sizes[:, 0]).any()


def test_few_articles_are_cut_into_blocks_of_whole_lines(prepared, monkeypatch):
    monkeypatch.setattr(sums_module, "BLOCK_WORDS", 100)
    tokens = prepared("bpe")
    groups = text_groups(tokens)
    assert groups.kind == "blocks", "four articles are too few"
    assert (groups.sizes[:, 1] >= 100).all()
    assert (groups.sizes[:, 0] >= 100).all(), "a word is a target at least"
    assert groups.sizes[:-1, 1].max() < 100 + tokens.line_sizes()[:, 1].max()
    assert set(np.cumsum(groups.sizes[:, 0])) <= set(np.cumsum(tokens.line_sizes()[:, 0]))
    assert groups.sizes.sum(0).tolist() == [len(tokens), tokens.num_words, tokens.num_bytes]


def test_a_short_text_is_one_block(prepared):
    assert len(text_groups(prepared("bpe")).sizes) == 1


def test_a_part_of_the_text_has_groups_of_its_own(prepared):
    whole, part = prepared("byte", "train"), prepared("byte", "train", 20_000)
    groups = text_groups(part)
    assert groups.sizes.sum(0).tolist() == [len(part), part.num_words, part.num_bytes]
    assert (groups.sizes[:-1] == text_groups(whole).sizes[: len(groups.sizes) - 1]).all()


def test_many_documents_are_taken_together(prepared, monkeypatch):
    monkeypatch.setattr(sums_module, "MAX_GROUPS", 20)
    together = text_groups(prepared("byte", "train")).sizes
    monkeypatch.undo()
    apart = text_groups(prepared("byte", "train")).sizes
    assert (together == apart.reshape(20, 3, 3).sum(1)).all()


@pytest.mark.parametrize(("length", "stride", "batch_tokens"), [(7, 7, 7), (16, 3, 100), (64, 64, 1000), (5000, 1, 1)])
def test_nats_go_to_the_group_of_their_target(length, stride, batch_tokens):
    sizes = np.array([[1, 1, 1], [40, 1, 1], [3, 1, 1], [100, 1, 1]])
    groups, nats = Groups("documents", sizes), np.random.default_rng(0).random(144)
    sums = GroupSums(groups)
    for batch in window_batches(144, length, stride, batch_tokens):
        sums.add(batch, torch.tensor(np.stack([nats[w.first : w.stop] for w in batch])))
    expected = [part.sum() for part in np.split(nats, np.cumsum(sizes[:, 0])[:-1])]
    assert sums.nats == pytest.approx(expected, rel=1e-12)

import math
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from alibi.data.windows import read_windows, windows
from alibi.evaluation import NatsSum, model_scorer, perplexity, score
from alibi.evaluation.score import expected_seconds
from alibi.model import LanguageModel, ModelConfig

CPU = torch.device("cpu")
METHODS = ["alibi", "none", "rotary", "sinusoidal", "t5"]


def total(tokens, length, stride, scorer, batch_tokens=512, share=(0, 1)):
    nats = NatsSum()
    for _ in score(tokens, length, stride, scorer, [nats], CPU, batch_tokens, share):
        pass
    return nats


@pytest.fixture(scope="module")
def stream(make_stream):
    return make_stream(np.random.default_rng(0).integers(1, 50, 1003), end_of_text=0)


def model(method="alibi", **values):
    config = ModelConfig(position={"name": method}, num_layers=2, d_model=16, num_heads=2, **values)
    return LanguageModel(config, 50, seed=0).eval()


def test_a_uniform_model_has_perplexity_v(stream):
    uniform = model(tie_embeddings=False)
    with torch.no_grad():
        uniform.output.weight.zero_()
    for length, stride in ((7, 7), (64, 64), (64, 5), (5000, 5000)):
        nats = total(stream, length, stride, model_scorer(uniform))
        assert nats.tokens == 1003
        assert perplexity(nats.nats, nats.tokens) == pytest.approx(50, rel=1e-6)


def bigram_scorer(log_p):
    """Nats by the input token alone: what a perfect model of a bigram source gives."""
    return lambda inputs, targets, first: -log_p[inputs[:, first:], targets]


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (16, 16), (64, 64), (64, 3), (2000, 2000), (100, 99)])
def test_a_bigram_source_has_the_closed_form(make_stream, length, stride):
    draw = np.random.default_rng(1)
    p = draw.dirichlet(np.ones(6), size=6)
    ids = [0]
    for _ in range(777):
        ids.append(draw.choice(6, p=p[ids[-1]]))
    log_p = torch.from_numpy(np.log(p))
    closed_form = -sum(math.log(p[a, b]) for a, b in pairwise(ids))
    nats = total(make_stream(ids[1:], end_of_text=ids[0]), length, stride, bigram_scorer(log_p))
    assert nats.nats == pytest.approx(closed_form, rel=1e-12)
    other = total(make_stream(ids[1:], end_of_text=ids[0]), length, stride, bigram_scorer(log_p.T))
    assert other.nats != pytest.approx(closed_form, rel=1e-3), "control: the transposed source"


@pytest.mark.parametrize("method", METHODS)
def test_results_do_not_depend_on_the_batch_size(stream, method):
    scorer = model_scorer(model(method))
    for length, stride in ((32, 32), (32, 10)):
        sums = [total(stream, length, stride, scorer, batch_tokens) for batch_tokens in (1, 32, 100, 5000)]
        assert {s.tokens for s in sums} == {1003}
        assert all(s.nats == pytest.approx(sums[0].nats, rel=1e-7) for s in sums)


def test_processes_share_the_batches_and_the_sum_is_the_same(stream):
    scorer = model_scorer(model())
    whole = total(stream, 32, 10, scorer)
    parts = [total(stream, 32, 10, scorer, share=(rank, 3)) for rank in range(3)]
    assert all(part.tokens for part in parts)
    assert sum(part.tokens for part in parts) == whole.tokens
    assert sum(part.nats for part in parts) == pytest.approx(whole.nats, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_sliding_equals_scoring_each_window_by_itself(stream, method):
    """A window at a time through the plain logits, without first_scored, batches or sums."""
    lm = model(method)
    expected = 0.0
    with torch.no_grad():
        for w in windows(200, 24, 7):
            inputs, _ = read_windows(stream, [w])
            log_p = lm(torch.from_numpy(inputs)).double().log_softmax(-1)[0]
            targets = stream.targets(w.start, w.stop)
            expected -= sum(log_p[t - w.start, targets[t - w.start]].item() for t in range(w.first, w.stop))
    cut = make_cut(stream, 200)
    assert total(cut, 24, 7, model_scorer(lm)).nats == pytest.approx(expected, rel=1e-6)


def make_cut(stream, count):
    return replace(stream, tokens=stream.tokens[:count])


class Curve:
    """A scorer whose nats fall with context, so that wrong counting shows."""

    def __call__(self, inputs, targets, first):
        context = torch.arange(1, inputs.shape[1] + 1, dtype=torch.float64)[first:]
        return (2 + 3 / context).expand(targets.shape)


def true_mean(num_tokens, length, stride):
    contexts = [t - w.start + 1 for w in windows(num_tokens, length, stride) for t in range(w.first, w.stop)]
    return sum(2 + 3 / c for c in contexts) / len(contexts)


def test_the_mean_of_window_means_is_not_what_we_compute(make_stream):
    """field_notes 1 and 4: windows score different numbers of targets, and averaging their means is wrong."""
    scored = total(make_stream(np.zeros(70)), 64, 64, Curve())
    ours = scored.nats / scored.tokens
    assert ours == pytest.approx(true_mean(70, 64, 64), rel=1e-12)
    per_window = [np.mean([2 + 3 / (t - w.start + 1) for t in range(w.first, w.stop)]) for w in windows(70, 64, 64)]
    assert float(np.mean(per_window)) > ours + 0.1


def test_a_windows_first_target_is_scored(make_stream):
    """field_notes 2: without overlap the first token of each window counts, with one token of context."""
    stream = make_stream(np.zeros(640))
    ours = total(stream, 64, 64, Curve())
    assert ours.tokens == 640
    without_first = sum(2 + 3 / c for c in range(2, 65)) / 63
    assert ours.nats / ours.tokens == pytest.approx(true_mean(640, 64, 64), rel=1e-12)
    assert ours.nats / ours.tokens > without_first + 0.01


def test_perplexity_is_exp_of_the_mean_not_the_mean_of_exp(make_stream):
    """field_notes 3."""
    ours = total(make_stream(np.zeros(640)), 64, 64, Curve())
    mean_of_exp = np.mean([math.exp(2 + 3 / c) for c in range(1, 65)])
    assert perplexity(ours.nats, ours.tokens) == pytest.approx(math.exp(true_mean(640, 64, 64)), rel=1e-12)
    assert perplexity(ours.nats, ours.tokens) < 0.97 * mean_of_exp


def test_a_ragged_last_batch_weighs_by_its_tokens(make_stream):
    """field_notes 6: no mean is taken before the end."""
    stream = make_stream(np.zeros(650))
    ours = total(stream, 64, 64, Curve(), batch_tokens=256)
    assert ours.nats / ours.tokens == pytest.approx(true_mean(650, 64, 64), rel=1e-12)


def test_every_length_scores_the_same_tokens(stream):
    """field_notes 5: the denominators are equal."""
    seen = {}
    for length in (16, 100, 1003, 4096):
        targets = []
        total(stream, length, length, lambda i, t, f, into=targets: into.append(t) or torch.zeros(t.shape))
        seen[length] = torch.cat([t.flatten() for t in targets]).tolist()
    assert all(tokens == stream.tokens.tolist() for tokens in seen.values())


def test_logits_only_where_a_target_is_scored(stream, monkeypatch):
    lm, sizes = model(), []
    nll = type(lm.output).nll
    monkeypatch.setattr(type(lm.output), "nll", lambda self, h, t: sizes.append(h.shape[:2]) or nll(self, h, t))
    total(stream, 64, 4, model_scorer(lm))
    assert {shape[1] for shape in sizes} == {4, 1003 % 4}


@pytest.mark.parametrize(
    ("length", "stride", "batch_tokens", "batches"), [(64, 8, 64, 126), (64, 8, 256, 32), (32, 4, 32, 251)]
)
def test_the_time_of_sliding_is_expected_from_its_first_whole_windows(length, stride, batch_tokens, batches, stream):
    """1,003 tokens, by a scorer that takes as long for every batch, and would refuse a window that is not whole."""

    def slow(inputs, targets, first):
        assert inputs.shape[1] == length
        time.sleep(0.02)
        return torch.zeros(targets.shape)

    seconds = expected_seconds(stream, length, stride, slow, torch.device("cpu"), batch_tokens)
    assert 0.02 * (batches - 1) <= seconds < 0.2 * batches


def test_a_length_without_a_whole_window_or_without_memory_is_expected_to_take_no_time(stream):
    def full(inputs, targets, first):
        raise MemoryError

    assert expected_seconds(stream, 5000, 8, full, torch.device("cpu"), 64) == 0.0
    assert expected_seconds(stream, 64, 8, full, torch.device("cpu"), 64) < 0.5

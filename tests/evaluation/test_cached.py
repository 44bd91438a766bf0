"""Scoring through the cache gives the nats of the full pass, at every position."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alibi.data.windows import windows
from alibi.evaluation import NatsSum, model_scorer, score
from alibi.evaluation.score import cached_scorer
from alibi.model import LanguageModel, ModelConfig
from alibi.model.transformer import Transformer
from alibi.positions import Position

METHODS = sorted(Position.registry)
CPU = torch.device("cpu")
TRAINED = 16


class Nats:
    """Keeps the nats of every target, by its place in the stream."""

    def __init__(self) -> None:
        self.by_target = {}

    def add(self, batch, nats_BS) -> None:
        for window, row in zip(batch, nats_BS, strict=True):
            self.by_target |= dict(zip(range(window.first, window.stop), row.tolist(), strict=True))

    def sorted(self) -> torch.Tensor:
        return torch.tensor([self.by_target[t] for t in sorted(self.by_target)], dtype=torch.float64)


def model(method: str, num_layers: int = 2) -> LanguageModel:
    config = ModelConfig(position={"name": method}, num_layers=num_layers, d_model=32, num_heads=4)
    made = LanguageModel(config, 50, seed=0).eval().requires_grad_(False)
    for block in made.transformer.blocks:  # attention far from uniform, so that a wrong key shows
        block.attention.query.weight.mul_(3)
    return made


@pytest.fixture(scope="module")
def stream(make_stream):
    return make_stream(np.random.default_rng(0).integers(1, 50, 700), end_of_text=0)


def nats(stream, length, stride, scorer, batch_tokens=400) -> torch.Tensor:
    kept, total = Nats(), NatsSum()
    for _ in score(stream, length, stride, scorer, [kept, total], CPU, batch_tokens):
        pass
    assert total.tokens == len(stream) == len(kept.by_target)
    return kept.sorted()


def part(stream, count):
    return replace(stream, tokens=stream.tokens[:count])


@pytest.mark.parametrize(("length", "stride"), [(TRAINED, TRAINED), (96, 96), (96, 17)])
@pytest.mark.parametrize("method", METHODS)
def test_nats_are_those_of_the_full_pass(stream, method, length, stride):
    """At the training length and six times it, nonoverlapping and sliding, whole and ragged windows."""
    lm, text = model(method), part(stream, 250)
    full, cached = (nats(text, length, stride, make(lm)) for make in (model_scorer, cached_scorer))
    assert (full - cached).abs().max() < 1e-5


@pytest.mark.parametrize(("method", "stride", "targets"), [("alibi", 600, 600), ("t5", 40, 640)])
def test_over_several_blocks_of_queries(stream, method, stride, targets):
    """600 positions are three blocks of 256 queries in the full pass."""
    lm, text = model(method, num_layers=1), part(stream, targets)
    full, cached = (nats(text, 600, stride, make(lm), 1200) for make in (model_scorer, cached_scorer))
    assert (full - cached).abs().max() < 1e-5


@pytest.mark.parametrize("method", ["alibi", "rotary", "sinusoidal", "t5"])
def test_a_cache_that_forgets_where_it_is_would_be_noticed(stream, method, monkeypatch):
    """Control: positions begin anew at each piece."""
    lm, text = model(method), part(stream, 96)
    full, forward = nats(text, 96, 96, model_scorer(lm)), Transformer.forward

    def forgets(self, x, positions=None, padding_mask=None, cache=None, first_query=0):
        return forward(self, x, torch.arange(x.shape[1]), padding_mask, cache, first_query)

    monkeypatch.setattr(Transformer, "forward", forgets)
    assert (full - nats(text, 96, 96, cached_scorer(lm))).abs().max() > 1e-2


def test_a_cache_that_loses_its_keys_would_be_noticed(stream, monkeypatch):
    """Control: each token sees itself alone."""
    lm, text = model("none"), part(stream, 96)
    full = nats(text, 96, 96, model_scorer(lm))
    monkeypatch.setitem(cached_scorer.__globals__, "KeyValueCache", lambda: None)
    assert (full - nats(text, 96, 96, cached_scorer(lm))).abs().max() > 1e-2


def test_a_scored_token_is_a_pass_of_its_own(stream, monkeypatch):
    """What is context only goes in at once, and then one token at a time."""
    lm, seen = model("alibi"), []
    hidden = LanguageModel.hidden
    monkeypatch.setattr(
        LanguageModel, "hidden", lambda self, ids, **values: seen.append(ids.shape[1]) or hidden(self, ids, **values)
    )
    nats(part(stream, 60), 40, 10, cached_scorer(lm), batch_tokens=40)
    expected = []
    for window in windows(60, 40, 10):
        inputs, context = window.shape
        expected += ([context] if context else []) + [1] * (inputs - context)
    assert seen == expected


def test_precision_is_handed_on(stream):
    lm, text = model("alibi"), part(stream, 64)
    full, narrow = nats(text, 64, 64, model_scorer(lm)), nats(text, 64, 64, cached_scorer(lm, "bf16"))
    assert 1e-4 < (full - narrow).abs().max() < 0.5

"""Defects of other evaluators that the sums and windows of test_score.py do not cover; each would show here."""

import numpy as np
import pytest
import torch

from alibi.data.windows import windows
from alibi.evaluation import NatsSum, model_scorer, score
from alibi.evaluation.score import cached_scorer
from alibi.evaluation.sums import Groups, GroupSums
from alibi.model import LanguageModel, ModelConfig
from alibi.positions import Position

CPU = torch.device("cpu")
BIASED = [
    name
    for name, method in sorted(Position.registry.items())
    if any(getattr(method, hook) is not getattr(Position, hook) for hook in ("bias", "content_bias"))
]


def fed(tokens, length, stride, scorer, *sums):
    for _ in score(tokens, length, stride, scorer, sums, CPU, 256):
        pass
    return sums


def test_documents_weigh_by_their_tokens(make_stream):
    """field_notes 4: a mean of per-document means counts a line of dialogue as much as a novel."""
    nats = np.concatenate([np.full(900, 2.0), np.full(100, 6.0)])
    ids = np.arange(1, 1001)
    by_target = dict(zip(ids.tolist(), nats.tolist(), strict=True))
    stream = make_stream(ids)
    sizes = np.array([[900, 9, 9], [100, 1, 1]])
    by_document = GroupSums(Groups("documents", sizes))
    total, groups = fed(stream, 64, 64, lambda i, t, f: t.double().apply_(by_target.get), NatsSum(), by_document)
    assert total.nats / total.tokens == pytest.approx(2.4, rel=1e-12)
    assert np.mean(groups.nats / sizes[:, 0]) == pytest.approx(4.0), "control: the mean of means"


def test_overlapping_windows_lose_no_target(make_stream):
    """field_notes 2: the recipe that shifts labels inside each window drops a target of every window."""
    stream, uniform = make_stream(np.ones(1000)), lambda i, t, f: torch.ones(t.shape)
    [ours] = fed(stream, 64, 16, uniform, NatsSum())
    assert ours.tokens == 1000
    recipe = sum(w.stop - w.first - (w.start == w.first) for w in windows(1000, 64, 16))
    assert recipe < 1000, "control"


def with_bias_off(method):
    """A model, and the same without its method's bias."""
    config = ModelConfig(position={"name": method}, num_layers=2, d_model=16, num_heads=2)
    model = LanguageModel(config, 50, seed=0).eval()
    with torch.no_grad():
        for parameter in model.position_parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    bare = LanguageModel(ModelConfig(position={"name": "none"}, num_layers=2, d_model=16, num_heads=2), 50, seed=0)
    return model, bare.eval()


@pytest.mark.parametrize("path", ["full", "sliding", "cached"])
@pytest.mark.parametrize("method", BIASED)
def test_no_path_drops_the_bias(make_stream, method, path):
    """field_notes 7: a fast path, or a cached one, that silently leaves the bias out gives the nats of no position."""
    stream = make_stream(np.random.default_rng(0).integers(1, 50, 300))
    model, bare = with_bias_off(method)
    make, stride = (cached_scorer if path == "cached" else model_scorer), 8 if path == "sliding" else 64
    [ours], [without] = (fed(stream, 64, stride, make(m), NatsSum()) for m in (model, bare))
    assert abs(ours.nats / ours.tokens - without.nats / without.tokens) > 1e-4
    [full] = fed(stream, 64, stride, model_scorer(model), NatsSum())
    assert ours.nats == pytest.approx(full.nats, rel=1e-6)

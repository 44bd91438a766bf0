"""The switch eval.skip_far_keys: the same numbers to rounding, fewer keys visited, and the row says which it was."""

import json

import pytest
import torch
from evaluations import evaluate_checkpoint

from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.model import far_keys
from alibi.runs import Checkpoint, checkpoint_of
from alibi.training import train

CPU = torch.device("cpu")


@pytest.mark.parametrize("stride", [None, 64])
def test_results_are_the_same_with_far_keys_and_without(small_run, tmp_path, cache, monkeypatch, stride):
    train(small_run(max_steps=2), tmp_path / "run")
    checkpoint = Checkpoint(checkpoint_of(tmp_path / "run"))
    text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), cache)
    visited, spans = [], far_keys.FarKeys.spans

    def watch(self, q, lse, start, stop, near):
        found = spans(self, q, lse, start, stop, near)
        visited.extend(first for first, _ in found)
        return found

    monkeypatch.setattr(far_keys.FarKeys, "spans", watch)
    monkeypatch.setattr(far_keys, "QUERIES_PER_BLOCK", 64)  # a stride of 64 is worth it then
    rows = {}
    for skip in (True, False):
        visited.clear()
        settings = EvaluationSettings(lengths=[900], stride=stride, skip_far_keys=skip)
        [path] = evaluate_checkpoint(checkpoint, text, settings, "fp32")
        [rows[skip]] = json.loads(path.read_text())["rows"]
        assert (max(visited, default=0) > 0) == skip, "keys were left out with the switch on, and none with it off"
        assert rows[skip]["skip_far_keys"] is skip
    tokens = rows[True]["scored_tokens"]
    assert rows[True]["nll_nats"] / tokens == pytest.approx(rows[False]["nll_nats"] / tokens, abs=1e-6)


def test_training_leaves_the_same_weights_to_rounding(small_run, tmp_path):
    """And the run's name is the same: a run may go on with the other value."""
    weights = {}
    for skip in (True, False):
        config = small_run(dropout=0.0, seq_len=2048, batch_tokens=2048, micro_batch_tokens=2048, max_steps=3)
        config.train.skip_far_keys = skip
        train(config, tmp_path / str(skip))
        model = Checkpoint(checkpoint_of(tmp_path / str(skip))).load_model(CPU)
        weights[skip] = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (weights[True] - weights[False]).abs().max() < 1e-4
    assert not torch.equal(weights[True], weights[False]), "nothing was left out: the comparison says nothing"

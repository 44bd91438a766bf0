"""Training on a task: the loss of answers alone, an end when it is learned, and resuming."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alibi.data import DataConfig, TokenizerConfig
from alibi.data.tasks import IGNORED
from alibi.model import ModelConfig
from alibi.processes import ALONE
from alibi.runs import Checkpoint, RunFolder, run_name
from alibi.training import RunConfig, train
from alibi.training.run_data import prepare_data
from alibi.training.run_parts import RunParts
from alibi.training.training_settings import TrainSettings
from alibi.training.update import Updater


@pytest.fixture
def task_run(small_run):
    """Settings of a run of a few updates on a task; keywords go to the train settings."""

    def make(name="copy", task=None, method="alibi", dropout=0.1, **values) -> RunConfig:
        config = small_run(method, dropout=dropout)
        asked = {"seq_len": 16, "batch_tokens": 128, "micro_batch_tokens": None, "max_steps": 4, "eval_every": 2}
        train = TrainSettings(**(asked | {"checkpoint_every": 2, "keep_last": 10} | values))
        return replace(config, data=DataConfig(name, task=task), tokenizer=TokenizerConfig("word"), train=train)

    return make


def updater_of(config, micro_batch_tokens):
    run = RunParts(config, RunFolder(Path("nowhere")), ALONE, prepare_data(config, ALONE), None)
    return Updater(run, micro_batch_tokens), run


@pytest.mark.parametrize("micro_batch_tokens", [128, 32])
def test_the_gradient_is_of_the_mean_over_answers(task_run, micro_batch_tokens):
    updater, run = updater_of(task_run(dropout=0.0), micro_batch_tokens)
    blocks, _ = run.order.blocks(run.state.cursor, 8)
    nats = updater._gradient(1, blocks)
    found = {name: p.grad.clone() for name, p in run.model.named_parameters()}
    inputs, targets = map(torch.from_numpy, run.order.read(blocks))
    run.model.zero_grad()
    logits = run.model(inputs).double()
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    loss.backward()
    assert nats / run.order.count_targets(blocks) == pytest.approx(loss.item(), rel=1e-6)
    for name, parameter in run.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
    padded = F.cross_entropy(logits.flatten(0, 1), targets.clamp(min=0).flatten())
    assert padded.item() != pytest.approx(loss.item(), rel=1e-2), "the control: positions that are no answer count"


def test_a_run_logs_accuracy_and_exact_match_at_every_length_asked_for(task_run, tmp_path):
    train(task_run(eval_lengths=[32]), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    validated = [line for line in lines if "val/loss" in line]
    assert [line["step"] for line in validated] == [2, 4]
    for line in validated:
        assert {
            "val/accuracy",
            "val/exact_match",
            "val/loss_32",
            "val/accuracy_32",
            "val/exact_match_32",
        } <= line.keys()
        assert "val/ppl" not in line


def test_a_run_ends_when_it_has_learned(task_run, tmp_path, capsys):
    """Two symbols, and strings of one or two: any exact match above a tenth is soon reached."""
    config = task_run(task={"alphabet": 2}, seq_len=6, batch_tokens=192, max_steps=400, eval_every=10, stop_at=0.1)
    assert train(config, tmp_path / "run") == "ran"
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("finished")]
    assert "as train.stop_at=0.1 was reached" in line
    checkpoint = Checkpoint(RunFolder(tmp_path / "run").at(RunFolder(tmp_path / "run").saved_steps()[-1]))
    assert checkpoint.step < 400
    assert checkpoint.is_last
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["val/exact_match"] >= 0.1
    assert train(config, tmp_path / "run") == "skipped"
    with pytest.raises(ValueError, match=r"train.stop_at is 0.1 there and not set now"):
        train(task_run(task={"alphabet": 2}, seq_len=6, batch_tokens=192, max_steps=400), tmp_path / "run")


def test_resuming_gives_the_same_bits_as_not_stopping(task_run, tmp_path):
    config = task_run("mqar", method="sinusoidal", random_offset=40)
    train(config, tmp_path / "whole")
    folder = RunFolder(tmp_path / "whole")
    resumed = replace(config, train=replace(config.train, resume=str(folder.at(2))))
    train(resumed, tmp_path / "resumed")
    first, second = (RunFolder(tmp_path / name).at(4) / "model.safetensors" for name in ("whole", "resumed"))
    assert first.read_bytes() == second.read_bytes()


def test_sequences_begin_at_random_positions(task_run):
    config = task_run(method="sinusoidal", random_offset=40)
    updater, _ = updater_of(config, 128)
    positions = torch.cat([updater._positions(8, f"1/{number}") for number in range(200)])
    assert positions.shape == (1600, 16)
    assert torch.equal(positions - positions[:, :1], torch.arange(16).expand(1600, 16))
    assert set(positions[:, 0].tolist()) == set(range(41))
    assert updater_of(task_run(), 128)[0]._positions(8, "1/0") is None
    blocks = np.arange(8)
    shifted, _ = updater_of(config, 128)
    plain, _ = updater_of(task_run(method="sinusoidal"), 128)
    assert shifted._gradient(1, blocks) != plain._gradient(1, blocks)


def test_an_offset_that_changes_nothing_is_refused(task_run):
    for method in ("alibi", "rotary", "none"):
        with pytest.raises(ValueError, match=rf"train.random_offset \(8\) would be ignored: {method} does not know"):
            task_run(method=method, random_offset=8)
    with pytest.raises(ValueError, match=r"train.random_offset \(0\) must be at least 1"):
        task_run(method="sinusoidal", random_offset=0)


def test_settings_that_a_task_or_a_text_would_ignore_are_refused(task_run, small_run):
    with pytest.raises(ValueError, match=r"train.stop_at \(0.5\) would be ignored by wikitext2, which is no task"):
        small_run(stop_at=0.5)
    with pytest.raises(ValueError, match=r"train.stop_at \(2.0\) must be above 0 and at most 1"):
        task_run(stop_at=2.0)
    with pytest.raises(ValueError, match="data=copy has symbols of its own; give tokenizer=word"):
        replace(task_run(), tokenizer=TokenizerConfig("byte"))
    with pytest.raises(ValueError, match=r"train.seq_len \(2\) must be at least 4, the shortest string of copy"):
        task_run(seq_len=2)
    config = task_run("mqar", eval_lengths=[4])
    with pytest.raises(ValueError, match=r"train.eval_lengths \(4\) must be at least 8, the shortest string of mqar"):
        updater_of(config, 128)


def test_a_task_is_in_the_name_of_its_run_and_new_settings_leave_old_names(task_run, small_run):
    def name(config):
        return run_name(asdict(config))

    copy, other = name(task_run()), name(task_run(task={"alphabet": 32}))
    assert "-copy-L16-seed0-" in copy
    assert copy != other
    config = small_run()
    before = name(config)
    assert config.data.task is None
    assert config.train.stop_at is None
    assert before == name(replace(config, data=replace(config.data, task=None)))


def test_an_adaptive_softmax_trains_on_answers_too(task_run):
    config = task_run(dropout=0.0)
    adaptive = ModelConfig(
        position={"name": "alibi"}, num_layers=2, d_model=16, num_heads=2, adaptive_cutoffs=[20], adaptive_factor=2
    )
    updater, run = updater_of(replace(config, model=adaptive), 128)
    blocks, _ = run.order.blocks(run.state.cursor, 8)
    inputs, targets = map(torch.from_numpy, run.order.read(blocks))
    logits = run.model(inputs).double()
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    assert updater._gradient(1, blocks) == pytest.approx(loss.item(), rel=1e-5)

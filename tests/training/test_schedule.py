"""Schedules against formulas written out by hand, and runs that are extended from the end of their stable phase."""

import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from alibi.runs import Checkpoint, Origin, RunFolder
from alibi.training import RunConfig, train
from alibi.training.optimizer import OptimizerConfig
from alibi.training.schedule import check_schedule, how_to_extend, learning_rate, stable_step


def rates(max_steps: int, **settings) -> list[float]:
    config = OptimizerConfig(lr=2.0, min_lr=0.5, **settings)
    check_schedule(config, max_steps)
    return [learning_rate(config, update, max_steps) for update in range(max_steps)]


def test_wsd_goes_up_stays_and_falls_in_a_line():
    found = rates(20, schedule="wsd", warmup_steps=4, decay_steps=5)
    by_hand = [0.5, 1.0, 1.5, 2.0] + [2.0] * 11 + [1.7, 1.4, 1.1, 0.8, 0.5]
    assert found == pytest.approx(by_hand)
    assert found != pytest.approx(rates(20, warmup_steps=4)), "control: a cosine"
    assert rates(20, schedule="wsd", warmup_steps=4)[-3:] == pytest.approx([2.0, 1.25, 0.5]), "a tenth"
    assert rates(3, schedule="wsd") == [2.0, 2.0, 0.5], "one update at least"


def test_constant_stays_after_its_warm_up():
    assert rates(6, schedule="constant", warmup_steps=2) == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert OptimizerConfig(schedule="constant", lr=1e-6).lr == 1e-6, "min_lr, which it does not use, may be above"


@pytest.mark.parametrize("schedule", ["cosine", "constant", "wsd"])
def test_without_a_warm_up_the_first_update_has_the_peak(schedule):
    first, *rest = rates(50, schedule=schedule, warmup_steps=0)
    assert first == 2.0
    assert max(rest) <= 2.0
    assert rates(50, schedule=schedule)[0] == 1.0, "control: a twentieth is two updates"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"schedule": "linear"}, r"optimizer.schedule \(linear\) must be one of: cosine, constant, wsd"),
        ({"decay_steps": 3}, r"optimizer.decay_steps \(3\) would be ignored by cosine; remove it"),
        ({"schedule": "wsd", "cosine_steps": 30}, r"optimizer.cosine_steps \(30\) would be ignored by wsd"),
        ({"schedule": "constant", "decay_steps": 3}, r"optimizer.decay_steps \(3\) would be ignored by constant"),
        ({"schedule": "wsd", "decay_steps": 0}, r"optimizer.decay_steps \(0\) must be at least 1"),
        ({"schedule": "wsd", "decay_steps": 17, "warmup_steps": 4}, r"must be at most the 16 updates .* use 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        rates(20, **settings)


def weights(run: Path, step: int) -> bytes:
    return (RunFolder(run).at(step) / "model.safetensors").read_bytes()


def extended(config: RunConfig, checkpoint: Path, more: int, **train_settings) -> RunConfig:
    """The run from a checkpoint, as `how_to_extend` says it."""
    settings = {"init_from": str(checkpoint), "init_optimizer": True, "max_steps": more} | train_settings
    return replace(
        config,
        optimizer=replace(config.optimizer, warmup_steps=0),
        train=replace(config.train, **settings),
        origin=Origin.of(Checkpoint(checkpoint)),
    )


@pytest.mark.parametrize(("schedule", "decay"), [("wsd", 2), ("constant", None)])
@pytest.mark.parametrize("method", ["t5", "rotary"])
def test_an_extended_run_is_bit_for_bit_the_one_that_never_stopped(schedule, decay, method, small_run, tmp_path):
    """With dropout, and with batches of whatever micro-batch the first run had."""

    def of(max_steps: int) -> RunConfig:
        optimizer = OptimizerConfig(
            lr=1e-2, min_lr=1e-3, warmup_steps=2, schedule=schedule, decay_steps=decay, beta2=0.9
        )
        return replace(small_run(method, max_steps=max_steps, keep_last=1), optimizer=optimizer)

    first, whole = of(8), of(15)
    train(first, tmp_path / "first")
    train(whole, tmp_path / "whole")
    stable = stable_step(first.optimizer, 8) or 8
    checkpoint = RunFolder(tmp_path / "first").at(stable)
    assert str(checkpoint) in how_to_extend(asdict(first), tmp_path / "first")
    train(extended(first, checkpoint, 15 - stable), tmp_path / "longer")
    assert weights(tmp_path / "longer", 15 - stable) == weights(tmp_path / "whole", 15)
    train(extended(first, checkpoint, 15 - stable, init_optimizer=False), tmp_path / "control")
    assert weights(tmp_path / "control", 15 - stable) != weights(tmp_path / "whole", 15)

    # A chain: dropout and order count on from all origins.
    half = extended(first, checkpoint, 4 + (decay or 0))
    train(half, tmp_path / "half")
    middle = RunFolder(tmp_path / "half").at(4)
    train(extended(first, middle, 15 - stable - 4), tmp_path / "end")
    assert weights(tmp_path / "end", 15 - stable - 4) == weights(tmp_path / "whole", 15)
    assert Checkpoint(RunFolder(tmp_path / "end").last()).tokens == 15 * 64


def test_the_checkpoint_at_the_end_of_the_stable_phase_is_kept(small_run, tmp_path):
    values = {"max_steps": 10, "keep_last": 1, "checkpoint_every": 4, "eval_every": 100}
    wsd = replace(small_run(**values), optimizer=OptimizerConfig(schedule="wsd", decay_steps=5))
    train(wsd, tmp_path / "wsd")
    assert RunFolder(tmp_path / "wsd").saved_steps() == [5, 10]
    train(small_run(**values), tmp_path / "cosine")
    assert RunFolder(tmp_path / "cosine").saved_steps() == [10]


def test_a_finished_run_says_how_it_is_extended_and_a_longer_one_in_its_folder_too(small_run, tmp_path, capsys):
    cosine, run = small_run(max_steps=2), tmp_path / "run"
    train(cosine, run)
    capsys.readouterr()
    assert train(cosine, run) == "skipped"
    told = rf"A cosine ends with its last update and cannot be extended.*train\.init_from={run}, .*warm-up"
    assert re.search(told, capsys.readouterr().out)
    with pytest.raises(ValueError, match=told):
        train(small_run(max_steps=3), run)
    with pytest.raises(ValueError, match="another run_dir") as other:
        train(small_run(max_steps=3, batch_tokens=128), run)
    assert "extended" not in str(other.value), "control: more differs than max_steps"

    wsd = replace(cosine, optimizer=OptimizerConfig(schedule="wsd"))
    shutil.rmtree(run)
    train(wsd, run)
    longer = replace(wsd, train=replace(wsd.train, max_steps=30))
    with pytest.raises(
        ValueError, match=rf"train\.init_from={run}/checkpoints/step-00000001 train.init_optimizer=true"
    ):
        train(longer, run)

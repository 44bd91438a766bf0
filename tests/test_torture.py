"""scripts/torture.py, shortened: real kills of a real run and of a real study, each with a control."""

import runpy
import shutil
import sys
import time

import pytest
import study
import torture


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_as_one_left_alone(tmp_path, monkeypatch, capsys):
    options = ["--methods", "t5", "--tokenizers", "byte", "--kills", "4"]
    monkeypatch.setattr("sys.argv", ["torture.py", "--out", str(tmp_path / "out"), *options])
    with pytest.raises(SystemExit) as end:
        torture.main()
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "4 kills" in printed
    assert "0 inside a checkpoint write" not in printed
    assert "0 differences" in printed

    [trial] = torture.run_trials(tmp_path / "out", ["t5"], ["byte"])
    assert trial.differences() == []
    other = tmp_path / "out" / "t5-byte" / "alone" / "run" / "checkpoints"
    pointers = [name for name in ("best", "last") if (other / name).readlink() == (other / "last").readlink()]
    shutil.copy(other / "step-00000021" / "model.safetensors", other / "last" / "model.safetensors")
    assert trial.differences() == [f"t5-byte: {p}/model.safetensors differs" for p in pointers]


@pytest.mark.slow
def test_killed_twice_a_study_ends_with_the_report_of_one_left_alone(tmp_path, monkeypatch):
    """SIGKILL for all its processes, at the first checkpoint and the first result; the one left alone is no sweep."""
    trial = torture.study_trial(tmp_path / "out", ["rotary"], 2, None)
    alone, killed = trial.folder / "alone", trial.folder / "killed"
    for sign in ("runs/*/checkpoints/step-*", "runs/*/evaluation/*.json"):
        process = trial.start("killed")
        while not any(killed.glob(sign)):
            assert process.is_alive()
            time.sleep(0.01)
        torture.kill_group(process)
    trial.finish("killed")

    alone.mkdir()
    monkeypatch.chdir(alone)
    sweep = ["model=rotary", "seed=0,1"]
    commands = study.read_study(tmp_path / "out" / "study.yaml").commands([], [])
    assert commands[0][-2:] == sweep
    train = [[name, *more[:-2], sweep[0], f"seed={seed}"] for name, _, *more in commands[:1] for seed in (0, 1)]
    for name, *more in (*train, *commands[1:]):
        monkeypatch.setattr(sys, "argv", [name, *more])
        runpy.run_path(name, run_name="__main__")
    assert trial.differences() == []
    path = next(killed.glob("runs/*-tiny-*/evaluation/*.json"))
    path.write_text(path.read_text().replace('"length": 32', '"length": 33', 1))
    assert trial.differences() == [f"study: {path.name} of {path.parents[1].name} differs"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--kills", "0"], "--kills (0) must be at least 1"),
        (["--study", "--tokenizers", "byte"], "--tokenizers would be ignored"),
        (["--seeds", "2"], "would be ignored without --study"),
    ],
)
def test_options_that_would_be_ignored_are_refused(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.setattr("sys.argv", ["torture.py", "--out", str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit):
        torture.parse()
    assert told in capsys.readouterr().err

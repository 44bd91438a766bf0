"""What goes wrong while a run trains: nothing that was there is lost, and the same command goes on."""

import errno
import time

import pytest
from torture import run_content

from alibi.data import TrainingOrder
from alibi.runs import Checkpoint, RunFolder, step_name
from alibi.tracking import read_metrics
from alibi.training import train
from alibi.training.update import NotFinite, Updater


def poisoned(monkeypatch, *steps: int) -> None:
    """The loss of these updates is not finite."""
    whole = Updater._gradient

    def gradient(self, step, *rest):
        return whole(self, step, *rest) * (float("nan") if step in steps else 1.0)

    monkeypatch.setattr(Updater, "_gradient", gradient)


def test_an_update_that_is_not_finite_is_skipped_and_logged_where_that_is_allowed(
    small_run, tmp_path, monkeypatch, capsys
):
    poisoned(monkeypatch, 3, 4)
    assert train(small_run(skip_nonfinite=2, log_every=100), tmp_path / "run") == "ran"
    lines = {line["step"]: line for line in read_metrics(tmp_path / "run" / "metrics.jsonl")}
    assert [lines[step]["train/skipped"] for step in (3, 4)] == [1, 2]
    assert "train/loss" not in lines[3]
    assert capsys.readouterr().out.count("loss is nan") == 2
    folder = RunFolder(tmp_path / "run")
    steps = [Checkpoint(folder.checkpoints / step_name(step)) for step in folder.saved_steps()]
    assert [c.step for c in steps] == [2, 4, 6]
    assert steps[0].sha256 == steps[1].sha256 != steps[2].sha256, "skipped means that nothing changed"


def test_no_more_are_skipped_than_allowed_even_with_a_stop_in_between(small_run, tmp_path, monkeypatch):
    poisoned(monkeypatch, 2, 3, 5)
    with pytest.raises(NotFinite, match=r"step 3: loss is nan.*step 2, is untouched.*train.skip_nonfinite, now 1"):
        train(small_run(skip_nonfinite=1), tmp_path / "run")
    with pytest.raises(NotFinite, match="step 5"):
        train(small_run(skip_nonfinite=2), tmp_path / "run")
    assert train(small_run(skip_nonfinite=3), tmp_path / "run") == "ran"


def test_a_kill_between_a_checkpoint_and_its_pointer_leaves_none_behind(small_run, tmp_path, monkeypatch):
    point_best = RunFolder.point_best

    def killed(self, step):
        if step == 4:
            raise KeyboardInterrupt
        point_best(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "point_best", killed)
        with pytest.raises(KeyboardInterrupt):
            train(small_run(), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "best").exists()

    def not_better(self, loss):
        self.last_val_loss = loss

    monkeypatch.setattr("alibi.training.train_state.TrainState.saw_validation", not_better)
    train(small_run(), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "best").readlink().as_posix() == "step-00000004"


def test_a_run_that_branches_off_has_all_lines_and_a_best_checkpoint_of_its_own(small_run, tmp_path):
    train(small_run(), tmp_path / "run")
    start = tmp_path / "run" / "checkpoints" / "step-00000002"
    train(small_run(resume=str(start)), tmp_path / "other")
    lines = run_content(tmp_path / "run")["metrics.jsonl"], run_content(tmp_path / "other")["metrics.jsonl"]
    assert lines[0] == lines[1]
    assert (tmp_path / "other" / "checkpoints" / "best" / "model.safetensors").is_file()


def test_a_branch_points_to_the_best_of_its_own_checkpoints(small_run, tmp_path):
    """Even if the run it came from had a better one: the updates after it are far too large."""

    def config(**values):
        made = small_run(max_steps=4, eval_every=1, **values)
        made.optimizer.lr = made.optimizer.min_lr = 1.0
        made.optimizer.warmup_steps = 3
        return made

    train(config(), tmp_path / "run")
    start = tmp_path / "run" / "checkpoints" / "step-00000002"
    train(config(resume=str(start)), tmp_path / "other")
    losses = {line["step"]: line["val/loss"] for line in read_metrics(tmp_path / "other" / "metrics.jsonl")}
    assert min(losses, key=losses.get) <= 2
    best = min((3, 4), key=losses.get)
    assert (tmp_path / "other" / "checkpoints" / "best").readlink().as_posix() == step_name(best)


def test_a_branch_has_a_wandb_run_of_its_own(small_run, tmp_path, monkeypatch):
    asked = []

    class Noted:
        def __init__(self, config, folder, run_id, *rest):
            asked.append(run_id)
            self.id = run_id or f"id{len(asked)}"

        def log_step(self, line): ...
        def close(self): ...

    monkeypatch.setattr("alibi.training.record.Wandb", Noted)
    with pytest.raises(SystemExit):
        train(small_run(max_hours=1e-9), tmp_path / "run")
    train(small_run(), tmp_path / "run")
    train(small_run(resume=str(tmp_path / "run" / "checkpoints" / "step-00000002")), tmp_path / "other")
    assert asked == [None, "id1", None]


def test_sequences_that_cannot_be_read_end_the_run_by_their_reason(small_run, tmp_path, monkeypatch):
    train(small_run(), tmp_path / "whole")
    read, calls = TrainingOrder.read, []

    def fails(self, blocks):
        calls.append(1)
        if len(calls) == 12:
            raise OSError(errno.EIO, "Input/output error", "tokens.bin")
        return read(self, blocks)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingOrder, "read", fails)
        with pytest.raises(OSError, match=r"Input/output error.*tokens\.bin"):
            train(small_run(), tmp_path / "run")
    assert 0 < RunFolder(tmp_path / "run").saved_steps()[-1] < 6
    train(small_run(), tmp_path / "run")
    assert run_content(tmp_path / "run") == run_content(tmp_path / "whole")


def test_a_clock_that_goes_back_changes_nothing(small_run, tmp_path, monkeypatch):
    train(small_run(), tmp_path / "whole")
    day = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(day)))
    train(small_run(max_hours=1.0), tmp_path / "run")
    assert run_content(tmp_path / "run") == run_content(tmp_path / "whole")


def test_what_a_kill_left_beside_its_place_is_no_run_and_is_cleared_away(small_run, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".config.yaml.4711").write_text("model: {")  # killed in its first moment
    train(small_run(), run)
    (run / "checkpoints" / ".last.4711").symlink_to("step-00000002")
    (run / "checkpoints" / ".step-00000004.4711").mkdir()
    (run / "checkpoints" / "step-00000006" / "model.safetensors").write_bytes(b"")  # so that there is something to do
    train(small_run(), run)
    assert not [p for p in (*run.iterdir(), *(run / "checkpoints").iterdir()) if "4711" in p.name]

"""The run folder: pointers, which checkpoints are kept, and what `runs=` means."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alibi.model import LanguageModel
from alibi.runs import Checkpoint, DamagedCheckpoint, RunFolder, checkpoint_of, load_model, resolve_runs, step_name


@pytest.fixture
def outputs(tmp_path: Path, save: Callable, tiny_model: LanguageModel) -> Path:
    """Two runs: `one` with steps 10 and 20, `two` with step 10; `two` is the latest."""
    outputs = tmp_path / "outputs"
    for name, steps in (("one", (10, 20)), ("two", (10,))):
        for step in steps:
            save(outputs / name, tiny_model, step)
        RunFolder(outputs / name).point_best(10)
        RunFolder(outputs / name).point_latest(outputs)
    return outputs


def at(outputs: Path, run: str, step: int) -> Path:
    return (outputs / run / "checkpoints" / step_name(step)).resolve()


def test_pointers_are_relative_names(outputs: Path) -> None:
    one = outputs / "one" / "checkpoints"
    assert os.readlink(one / "last") == "step-00000020"
    assert os.readlink(one / "best") == "step-00000010"
    assert os.readlink(outputs / "latest") == "two"


def test_a_run_folder_may_be_moved(outputs: Path, tmp_path: Path, tiny_model: LanguageModel) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    shutil.move(outputs / "one", moved)
    assert resolve_runs(str(moved), outputs) == [(moved / "checkpoints" / "step-00000020").resolve()]
    checkpoint = Checkpoint(resolve_runs(str(moved / "checkpoints" / "best"), outputs)[0])
    assert (checkpoint.step, checkpoint.run) == (10, moved)
    assert torch.equal(load_model(moved).embedding.weight, tiny_model.embedding.weight)
    shutil.move(outputs, tmp_path / "all")
    assert resolve_runs("latest", tmp_path / "all") == [at(tmp_path / "all", "two", 10)]


def test_latest_reaches_a_run_outside_of_outputs(outputs: Path, save: Callable, tmp_path: Path, tiny_model) -> None:
    save(tmp_path / "study" / "three", tiny_model, 30)
    RunFolder(tmp_path / "study" / "three").point_latest(outputs)
    assert not os.path.isabs(os.readlink(outputs / "latest"))
    assert resolve_runs("latest", outputs) == [at(tmp_path / "study", "three", 30)]


def test_saved_steps_are_checkpoints_in_order(outputs: Path) -> None:
    checkpoints = outputs / "one" / "checkpoints"
    (checkpoints / "step-other").mkdir()
    (checkpoints / ".step-00000030.7").mkdir()
    assert RunFolder(outputs / "one").saved_steps() == [10, 20]
    assert RunFolder(outputs / "none").saved_steps() == []


@pytest.mark.parametrize(
    ("best", "last", "kept"),
    [(None, 1, [5]), (None, 2, [4, 5]), (2, 1, [2, 5]), (5, 1, [5]), (1, 3, [1, 3, 4, 5]), (3, 9, [1, 2, 3, 4, 5])],
)
def test_the_last_and_the_best_are_kept(tmp_path: Path, best: int | None, last: int, kept: list[int]) -> None:
    run = RunFolder(tmp_path / "run")
    for step in range(1, 6):
        (run.checkpoints / step_name(step)).mkdir(parents=True)
    if best is not None:
        run.point_best(best)
    run.keep(last)
    assert run.saved_steps() == kept
    assert (run.checkpoints / "best").exists() == (best is not None)


def test_latest_a_run_and_a_checkpoint(outputs: Path) -> None:
    assert resolve_runs("latest", outputs) == [at(outputs, "two", 10)]
    assert resolve_runs(str(outputs / "one"), outputs) == [at(outputs, "one", 20)]
    for name, step in (("step-00000010", 10), ("step-00000020", 20), ("last", 20), ("best", 10)):
        assert resolve_runs(str(outputs / "one" / "checkpoints" / name), outputs) == [at(outputs, "one", step)]


def test_paths_may_be_relative(outputs: Path, monkeypatch) -> None:
    monkeypatch.chdir(outputs.parent)
    assert resolve_runs("outputs/one", Path("outputs")) == [at(outputs, "one", 20)]
    assert resolve_runs("outputs/*", Path("outputs")) == [at(outputs, "one", 20), at(outputs, "two", 10)]
    assert resolve_runs("latest", Path("outputs")) == [at(outputs, "two", 10)]
    monkeypatch.chdir(outputs / "one" / "checkpoints" / "step-00000010")
    assert resolve_runs(".", outputs) == [at(outputs, "one", 10)]


def test_globs_skip_pointers_and_what_is_no_run(outputs: Path) -> None:
    (outputs / "notes.txt").write_text("no run")
    (outputs / "empty").mkdir()
    assert resolve_runs(f"{outputs}/*", outputs) == [at(outputs, "one", 20), at(outputs, "two", 10)]
    checkpoints = [at(outputs, "one", 10), at(outputs, "one", 20)]
    assert resolve_runs(f"{outputs}/one/checkpoints/*", outputs) == checkpoints
    assert resolve_runs(f"{outputs}/o*", outputs) == [at(outputs, "one", 20)]
    assert resolve_runs(f"{outputs}/*/checkpoints/step-00000010", outputs) == [
        at(outputs, "one", 10),
        at(outputs, "two", 10),
    ]


def test_a_glob_may_name_a_pointer_itself(outputs: Path) -> None:
    """`*` never stands for a pointer, but `best` written out does."""
    assert resolve_runs(f"{outputs}/*/checkpoints/last", outputs) == [at(outputs, "one", 20), at(outputs, "two", 10)]
    assert resolve_runs(f"{outputs}/on*/checkpoints/best", outputs) == [at(outputs, "one", 10)]
    assert resolve_runs(f"{outputs}/latest/checkpoints/step-*", outputs) == [at(outputs, "two", 10)]
    with pytest.raises(FileNotFoundError, match="matches no run"):
        resolve_runs(f"{outputs}/late*/checkpoints/step-*", outputs)


def test_a_name_with_brackets_is_first_of_all_a_name(outputs: Path) -> None:
    shutil.move(outputs / "one", outputs / "run[1]")
    assert resolve_runs(str(outputs / "run[1]"), outputs) == [at(outputs, "run[1]", 20)]


def test_lists_are_joined_and_duplicates_left_out(outputs: Path) -> None:
    runs = ["latest", str(outputs / "one" / "checkpoints" / "last"), f"{outputs}/*", str(outputs / "two")]
    assert resolve_runs(runs, outputs) == [at(outputs, "two", 10), at(outputs, "one", 20)]


def test_what_is_not_there_is_said(outputs: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run yet .*python train\.py makes one"):
        resolve_runs("latest", tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"runs=.*three does not exist"):
        resolve_runs(str(outputs / "three"), outputs)
    with pytest.raises(FileNotFoundError, match=r"three\* matches no run and no checkpoint"):
        resolve_runs(f"{outputs}/three*", outputs)
    with pytest.raises(FileNotFoundError, match="three does not exist"):
        resolve_runs(["latest", str(outputs / "three")], outputs)
    (outputs / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty is neither a run folder nor a checkpoint folder"):
        resolve_runs(str(outputs / "empty"), outputs)


def test_an_empty_list_is_no_answer(outputs: Path) -> None:
    with pytest.raises(ValueError, match="runs is an empty list"):
        resolve_runs([], outputs)


def test_a_run_without_a_checkpoint_is_said(outputs: Path) -> None:
    (outputs / "young").mkdir()
    (outputs / "young" / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(FileNotFoundError, match="young has no checkpoint yet; train it further"):
        resolve_runs(str(outputs / "young"), outputs)


def test_a_glob_passes_over_a_run_without_a_checkpoint_and_says_so(outputs: Path, capsys) -> None:
    before = resolve_runs(f"{outputs}/*", outputs)
    (outputs / "young").mkdir()
    (outputs / "young" / "config.yaml").write_text("seed: 0\n")
    assert resolve_runs(f"{outputs}/*", outputs) == before
    assert "young has no checkpoint yet; skipped" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="young has no checkpoint yet"):
        resolve_runs(f"{outputs}/y*", outputs)


def test_no_other_checkpoint_is_taken_for_a_damaged_one(outputs: Path) -> None:
    last = at(outputs, "one", 20)
    (last / "manifest.json").unlink()
    for given in (outputs / "one", last):
        (path,) = resolve_runs(str(given), outputs)
        assert path == last
        with pytest.raises(DamagedCheckpoint, match="step-00000020 is not a valid checkpoint"):
            Checkpoint(path)
        with pytest.raises(DamagedCheckpoint):
            load_model(given)
    shutil.rmtree(last)
    with pytest.raises(DamagedCheckpoint, match="step-00000020"):
        load_model(outputs / "one")


def test_a_model_is_loaded_from_a_run_or_a_checkpoint(outputs: Path, save: Callable, tiny_config) -> None:
    later = LanguageModel(tiny_config, 257, seed=5)
    save(outputs / "one", later, 30)
    for path, same in (
        (outputs / "one", True),
        (str(outputs / "one"), True),
        (outputs / "one" / "checkpoints" / "last", True),
        (outputs / "one" / "checkpoints" / "best", False),
        (at(outputs, "one", 20), False),
    ):
        model = load_model(path)
        assert torch.equal(model.embedding.weight, later.embedding.weight) == same
        assert not model.training
    for path in (outputs / "gone", outputs):
        with pytest.raises(FileNotFoundError, match=f"{path} is neither a run folder nor a checkpoint folder"):
            load_model(path)


def test_checkpoint_of_a_pointer_is_what_it_points_to(outputs: Path) -> None:
    assert checkpoint_of(outputs / "one" / "checkpoints" / "best") == at(outputs, "one", 10)
    assert checkpoint_of(outputs / "latest") == at(outputs, "two", 10)

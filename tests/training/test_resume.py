import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from alibi.files import file_sha256, hold
from alibi.runs import Checkpoint, DamagedCheckpoint, RunFolder, load_model
from alibi.runs.checkpoint_files import FILES, manifest_sha256
from alibi.training import train
from alibi.training.resume import LOCK


def test_another_configuration_in_the_folder_is_refused_by_name(small_run, tmp_path):
    train(small_run(max_steps=2), tmp_path / "run")
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match=r"train.max_steps is 2 there and 3 now.*another run_dir"):
        train(small_run(max_steps=3), tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_resume_false_refuses_and_names_auto(small_run, tmp_path):
    train(small_run(max_steps=2), tmp_path / "run")
    with pytest.raises(ValueError, match=r"train\.resume=auto"):
        train(small_run(max_steps=2, resume=False), tmp_path / "run")


def test_a_folder_of_something_else_is_not_written_into(small_run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        train(small_run(), tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_resume_from_a_path(small_run, tmp_path):
    train(small_run(), tmp_path / "run")
    start = tmp_path / "run" / "checkpoints" / "step-00000002"
    train(small_run(resume=str(start)), tmp_path / "other")
    ends = [(tmp_path / n / "checkpoints" / "last" / "model.safetensors").read_bytes() for n in ("run", "other")]
    assert ends[0] == ends[1]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        train(small_run(resume=str(tmp_path / "nowhere")), tmp_path / "third")
    pointer = Path(small_run().paths.outputs) / "latest"
    latest = os.readlink(pointer)
    with pytest.raises(ValueError, match=r"is at step 6 of 6: nothing is left to train in .*third; give an earlier"):
        train(small_run(resume=str(tmp_path / "run")), tmp_path / "third")
    assert not (tmp_path / "third").exists()
    assert os.readlink(pointer) == latest, "not an empty folder"
    assert train(small_run(resume=str(tmp_path / "run")), tmp_path / "run") == "skipped"


def test_a_checkpoint_of_other_settings_is_refused_by_name(small_run, tmp_path):
    train(small_run(max_steps=2), tmp_path / "run")
    other = small_run(max_steps=2, batch_tokens=128, resume=str(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"step-00000002 holds a run with other settings: train.batch_tokens is 64"):
        train(other, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_pointer_is_no_run_folder_and_a_mistake_of_before_stops_nobody(small_run, tmp_path):
    outputs = tmp_path / "outputs"
    for place in (outputs / "latest", outputs / "run" / "checkpoints" / "last"):
        with pytest.raises(ValueError, match=r"is this project's own pointer to .*name another folder"):
            train(small_run(), place)
    assert not outputs.exists(), "nothing is left behind"
    (outputs / "latest").mkdir(parents=True)
    (outputs / "latest" / "config.yaml").write_text("of an earlier version")
    train(small_run(max_steps=1), outputs / "run")
    assert (outputs / "latest").readlink() == Path("run")
    assert (outputs / ".latest-copy" / "config.yaml").read_text() == "of an earlier version"


def test_a_copy_without_links_goes_on_to_the_same_end(small_run, tmp_path):
    train(small_run(), tmp_path / "outputs" / "run")
    shutil.copytree(tmp_path / "outputs", tmp_path / "copy")  # its pointers are folders
    copied = tmp_path / "copy" / "run"
    for step in (4, 6):
        shutil.rmtree(copied / "checkpoints" / f"step-{step:08d}")
    shutil.rmtree(copied / "checkpoints" / "last")  # as a copy from before step 4 was
    train(small_run(keep_last=1), copied)
    [whole, again] = [tmp_path / n / "run" / "checkpoints" / "last" for n in ("outputs", "copy")]
    assert again.readlink() == whole.readlink()
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (again.with_name("best") / "model.safetensors").is_file()


def test_an_earlier_checkpoint_of_the_same_folder_does_not_cost_the_later_ones(small_run, tmp_path):
    train(small_run(), tmp_path / "run")
    start = tmp_path / "run" / "checkpoints" / "step-00000002"
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"checkpoints later than train.resume=.*up to step 6.*another run_dir"):
        train(small_run(resume=str(start)), tmp_path / "run")
    assert RunFolder(tmp_path / "run").saved_steps() == [2, 4, 6]
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_nothing_begins_anew_over_damaged_checkpoints(small_run, tmp_path):
    train(small_run(max_steps=2), tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "step-00000002" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(DamagedCheckpoint, match="No sound checkpoint is left"):
        train(small_run(max_steps=2), tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_a_second_process_on_the_same_run_is_refused(small_run, tmp_path):
    (tmp_path / "run").mkdir()
    with (
        hold(tmp_path / "run" / LOCK),
        pytest.raises(ValueError, match=r"another process is training .*run; wait"),
    ):
        train(small_run(), tmp_path / "run")
    train(small_run(max_steps=2), tmp_path / "run")


@pytest.mark.parametrize("content", ["", "a: [", "- 1"])
def test_a_config_that_cannot_be_read_is_named(small_run, tmp_path, content):
    train(small_run(max_steps=2), tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"config\.yaml cannot be read"):
        train(small_run(max_steps=2), tmp_path / "run")


def test_a_damaged_newest_checkpoint_is_named_and_skipped_or_refused(small_run, tmp_path, capsys):
    train(small_run(), tmp_path / "run")
    whole = (tmp_path / "run" / "checkpoints" / "step-00000006" / "model.safetensors").read_bytes()
    newest = tmp_path / "run" / "checkpoints" / "step-00000006" / "model.safetensors"
    newest.write_bytes(whole[:-5])
    with pytest.raises(DamagedCheckpoint, match="cut short or altered"):
        train(small_run(resume=str(newest.parent)), tmp_path / "run")
    capsys.readouterr()
    train(small_run(), tmp_path / "run")
    assert "step-00000006" in capsys.readouterr().out
    assert newest.read_bytes() == whole


def test_changed_text_is_noticed(small_run, tmp_path, corpus):
    train(small_run(), tmp_path / "run")
    with open(corpus / "wiki.train.raw", "a") as file:
        file.write(" one more line \n")
    with pytest.raises(ValueError, match="sha256 of train is"):
        train(small_run(), tmp_path / "run")


def as_format_1(checkpoint: Path) -> None:
    """Make a checkpoint what earlier versions wrote: its training state is one pickle, here of no content."""
    for path in checkpoint.glob("training_state.*"):
        path.unlink()
    (checkpoint / "training_state.pt").write_bytes(b"a pickle")
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest |= {"format": 1, "sha256": {name: file_sha256(checkpoint / name) for name in FILES[1]}}
    manifest["manifest_sha256"] = manifest_sha256(manifest)
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def test_a_checkpoint_of_format_1_is_evaluated_and_not_resumed(small_run, tmp_path):
    run = tmp_path / "run"
    train(small_run(), run)
    before = torch.cat([p.detach().flatten() for p in load_model(run).parameters()])
    for checkpoint in (run / "checkpoints").glob("step-*"):
        as_format_1(checkpoint)
    assert torch.equal(torch.cat([p.detach().flatten() for p in load_model(run).parameters()]), before)
    assert Checkpoint(run / "checkpoints" / "step-00000006").wandb_id is None
    for date in ("1231_235959-older", "0102_030405-a1b2c3d4"):
        part = run / "wandb" / f"offline-run-2026{date}" / f"run-{date.partition('-')[2]}.wandb"
        part.parent.mkdir(parents=True)
        part.touch()
    assert Checkpoint(run / "checkpoints" / "step-00000006").wandb_id == "older", "of the newest part"
    assert train(small_run(), run) == "skipped", "it is finished: there is nothing to resume"

    start = run / "checkpoints" / "step-00000002"
    refusal = r"step-00000002 has a training state of checkpoint format 1.*evaluated, but not trained.*run_dir=.*run-2"
    with pytest.raises(ValueError, match=refusal):
        train(small_run(resume=str(start)), tmp_path / "other")
    for step in (4, 6):
        shutil.rmtree(run / "checkpoints" / f"step-{step:08d}")
    metrics = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=refusal):
        train(small_run(), run)
    assert (run / "metrics.jsonl").read_bytes() == metrics
    (start / "training_state.pt").write_bytes(b"another")
    with pytest.raises(DamagedCheckpoint, match=r"training_state\.pt is cut short or altered"):
        Checkpoint(start)

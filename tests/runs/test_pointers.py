"""Pointers in all their forms: links, files on a disk without links, and copies made without links."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from alibi.pointers import expand, point, refuse_pointer
from alibi.results import find_results
from alibi.runs import Checkpoint, RunFolder, checkpoint_of, resolve_runs, step_name


@pytest.fixture
def outputs(tmp_path: Path, save: Callable, tiny_model) -> Path:
    """Two runs: `one` with steps 10 and 20 and best 10, `two` with step 10; `one` is the latest."""
    outputs = tmp_path / "outputs"
    for name, steps in (("two", (10,)), ("one", (10, 20))):
        for step in steps:
            save(outputs / name, tiny_model, step)
        RunFolder(outputs / name).point_best(10)
        RunFolder(outputs / name).point_latest(outputs)
        (outputs / name / "config.yaml").write_text(f"run_dir: {name}\n")
        (outputs / name / "evaluation").mkdir()
        (outputs / name / "evaluation" / "step-00000010-x.json").write_text("{}")
    return outputs


@pytest.fixture(params=["copied", "zipped", "files"])
def copy(request, outputs: Path, tmp_path: Path) -> Path:
    """The same outputs somewhere else, where no link is: pointers became folders, are missing, or became files."""
    copy = tmp_path / "copy"
    links = [path for path in outputs.rglob("*") if path.is_symlink()]
    if request.param != "copied":
        for link in links:
            name = os.readlink(link)
            link.unlink()
            if request.param == "files":
                link.write_text(name)
    shutil.copytree(outputs, copy)
    assert not [path for path in copy.rglob("*") if path.is_symlink()]
    # Of a copy without times, any run may look like the newest; of one without `latest`, that is what is taken.
    later = (copy / "one" / "config.yaml").stat().st_mtime + 9
    os.utime(copy / ("one" if request.param == "zipped" else "two") / "config.yaml", (later, later))
    return copy


def at(outputs: Path, run: str, step: int) -> Path:
    return outputs / run / "checkpoints" / step_name(step)


def test_runs_in_a_copy_without_links(copy: Path) -> None:
    one, two = at(copy, "one", 20), at(copy, "two", 10)
    assert resolve_runs(str(copy / "one"), copy) == [one]
    assert resolve_runs(f"{copy}/*", copy) == [one, two], "each once"
    assert resolve_runs("latest", copy) == [one]
    if (copy / "latest").exists():
        assert resolve_runs(str(copy / "latest"), copy) == [one]
    if (copy / "one" / "checkpoints" / "best").exists():
        assert checkpoint_of(copy / "one" / "checkpoints" / "best") == at(copy, "one", 10), "under its own name"
        assert resolve_runs(f"{copy}/one/checkpoints/best", copy) == [at(copy, "one", 10)]
    assert resolve_runs(f"{copy}/*/checkpoints/*", copy) == [at(copy, "one", 10), one, two]
    assert find_results([f"{copy}/*"]) == [copy / run / "evaluation" / "step-00000010-x.json" for run in ("one", "two")]
    assert len(find_results([f"{copy}/*/evaluation/*.json"])) == 2


def test_a_pointer_is_made_again_where_its_copy_stands(copy: Path, save: Callable, tiny_model, capsys) -> None:
    save(copy / "one", tiny_model, 30)
    RunFolder(copy / "one").point_best(30)
    RunFolder(copy / "two").point_latest(copy)
    assert os.readlink(copy / "one" / "checkpoints" / "last") == step_name(30)
    assert os.readlink(copy / "one" / "checkpoints" / "best") == step_name(30)
    assert resolve_runs("latest", copy) == [at(copy, "two", 10)]
    assert resolve_runs(f"{copy}/*", copy) == [at(copy, "one", 30), at(copy, "two", 10)]
    kept = {path.name for path in (*copy.glob(".*"), *copy.glob("*/checkpoints/.*"))}
    assert kept in ({".latest-copy", ".last-copy", ".best-copy"}, set())
    assert capsys.readouterr().out.count("was a folder, not a pointer") == len(kept)


def test_a_run_folder_copied_alone(outputs: Path, tmp_path: Path) -> None:
    """By the pointer's name, or without its checkpoints but for the last."""
    shutil.copytree(outputs / "latest", tmp_path / "backup" / "latest")
    copied = at(tmp_path / "backup", "latest", 20)
    assert resolve_runs(f"{tmp_path}/backup/*", outputs) == [copied]
    assert resolve_runs("latest", tmp_path / "backup") == [copied]
    shutil.rmtree(copied)
    last = tmp_path / "backup" / "latest" / "checkpoints" / "last"
    assert checkpoint_of(tmp_path / "backup" / "latest") == last
    assert Checkpoint(last).step == 20


def test_a_copy_that_is_damaged_is_not_passed_over(copy: Path) -> None:
    (at(copy, "one", 20) / "model.safetensors").write_bytes(b"short")
    [path] = resolve_runs(str(copy / "one"), copy)
    with pytest.raises(ValueError, match=r"step-00000020.*cut short or altered"):
        Checkpoint(path)


def test_what_an_earlier_mistake_left_at_latest_stops_nobody(outputs: Path, capsys) -> None:
    (outputs / "latest").unlink()
    (outputs / "latest").mkdir()
    (outputs / "latest" / "config.yaml").write_text("run_dir: outputs/latest\n")
    later = (outputs / "latest" / "config.yaml").stat().st_mtime + 9
    os.utime(outputs / "two" / "config.yaml", (later, later))
    assert resolve_runs("latest", outputs) == [at(outputs, "two", 10)]
    assert "is no pointer to a run" in capsys.readouterr().out
    RunFolder(outputs / "one").point_latest(outputs)
    assert resolve_runs("latest", outputs) == [at(outputs, "one", 20)]
    assert (outputs / ".latest-copy" / "config.yaml").exists()


def test_a_disk_without_links(outputs: Path, monkeypatch) -> None:
    def no_links(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    RunFolder(outputs / "two").point_latest(outputs)
    RunFolder(outputs / "one").point_best(20)
    assert (outputs / "latest").read_text() == "two\n"
    assert resolve_runs("latest", outputs) == [at(outputs, "two", 10)]
    RunFolder(outputs / "one").keep(1)
    assert RunFolder(outputs / "one").saved_steps() == [20]
    assert not list(outputs.rglob(".l*"))


def test_a_pointer_to_what_is_gone_is_told(outputs: Path) -> None:
    for write in (lambda: None, lambda: ((outputs / "latest").unlink(), (outputs / "latest").write_text("one"))):
        write()
        shutil.rmtree(outputs / "one", ignore_errors=True)
        with pytest.raises(FileNotFoundError, match=r"latest points to .*one, which is gone; name a run"):
            resolve_runs("latest", outputs)


def test_links_of_the_users_own_are_runs(outputs: Path, tmp_path: Path) -> None:
    """A folder of links to runs elsewhere: a wildcard passes over this project's pointers alone."""
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    for name in ("one", "two"):
        (chosen / f"{name}-again").symlink_to(outputs / name)
    assert resolve_runs(f"{chosen}/*", outputs) == [at(outputs, "one", 20), at(outputs, "two", 10)]
    assert len(find_results([f"{chosen}/*", f"{outputs}/*"])) == 2


@pytest.mark.parametrize("place", ["runs/one", "outputs/one", "away/one", "."])
def test_a_pointer_leads_to_its_run_where_folders_are_behind_links(tmp_path: Path, monkeypatch, place: str) -> None:
    (tmp_path / "disk" / "deep" / "outputs").mkdir(parents=True)
    (tmp_path / "disk" / "away").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("outputs").symlink_to("../disk/deep/outputs")
    Path("away").symlink_to("../disk/away")
    Path(place).mkdir(parents=True, exist_ok=True)
    RunFolder(Path(place)).point_latest(Path("outputs"))
    assert Path("outputs/latest").resolve() == Path(place).resolve()
    assert not os.path.isabs(os.readlink("outputs/latest"))


def test_nothing_kept_aside_before_is_lost(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    (tmp_path / ".latest-copy").mkdir()
    point(tmp_path / "latest", "run")
    assert (tmp_path / ".latest-copy-2").is_dir()
    assert expand(f"{tmp_path}/*") == []


@pytest.mark.parametrize(
    "path",
    ["outputs/latest", "outputs/latest/", "elsewhere/latest", "outputs/x/../latest", "outputs/latest/inner",
     "outputs/one/checkpoints/last", "outputs/one/checkpoints/best/", "new/checkpoints/last/inner"],
)  # fmt: skip
def test_a_pointer_is_no_place_for_a_run(outputs: Path, monkeypatch, path: str) -> None:
    monkeypatch.chdir(outputs.parent)
    with pytest.raises(ValueError, match=r"run_dir \(.*\) (is|leads through \w+,) this project's own pointer to"):
        refuse_pointer(Path(path))


@pytest.mark.parametrize(
    "path", ["outputs/new", "outputs/last", "checkpoints/new", "latest/outputs/new", "out/latest-2"]
)
def test_other_places_are(tmp_path: Path, monkeypatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    refuse_pointer(Path(path))

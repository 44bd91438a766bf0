"""How a checkpoint comes to the disk: in which order, and what is there if the machine dies in between."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from alibi.data.tokenizers import ByteTokenizer
from alibi.model import LanguageModel
from alibi.runs import Checkpoint, RunFolder, files, load_model, writing
from alibi.runs.layout import FILES, MANIFEST


@pytest.fixture
def events(monkeypatch) -> list[tuple[str, str]]:
    """What is synced, moved and pointed, by name, in order."""
    told = []

    def watch(name: str, named: Callable) -> None:
        original = getattr(os, name)

        def watched(*args, **kwargs):
            told.append((name, named(*args)))
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, watched)

    watch("fsync", lambda handle: Path(os.readlink(f"/proc/self/fd/{handle}")).name)
    watch("replace", lambda source, target: Path(target).name)
    return told


def test_files_then_the_manifest_then_the_folder_then_the_move(tmp_path, save, tiny_model, events) -> None:
    save(tmp_path / "run", tiny_model)
    beside = f".step-00001000.{os.getpid()}"
    last = events.index(("replace", "step-00001000"))
    before = events[:last]
    assert {name for what, name in before if what == "fsync"} >= {*FILES, beside}
    manifest = before.index(("replace", MANIFEST))
    assert all(before.index(("fsync", name)) < manifest for name in FILES)
    assert before[-1] == ("fsync", beside)
    assert manifest < last - 1
    assert events[last + 1 :] == [("fsync", "checkpoints"), ("replace", "last"), ("fsync", "checkpoints")]


@pytest.mark.parametrize("call", ["exchange", "two moves"])
def test_what_is_replaced_is_on_the_disk_until_the_new_one_stands(
    saved: Path, save: Callable, tiny_model: LanguageModel, monkeypatch, call: str
) -> None:
    """Killed at any move, one of the two is whole: in its place, or beside it where the system cannot exchange."""
    if call == "two moves":
        monkeypatch.setattr(writing, "exchange", lambda one, other: False)
    sums, seen = {Checkpoint(saved).sha256}, []
    rmtree = writing.shutil.rmtree

    def watched(path: Path, **options) -> None:
        sound = [p for p in saved.parent.glob("*step-00001000*") if (p / MANIFEST).is_file()]
        seen.append((saved in sound, len(sound)))
        rmtree(path, **options)

    monkeypatch.setattr(writing.shutil, "rmtree", watched)
    save(saved.parents[1], tiny_model, 1000, {"step": 1000, "again": True})
    assert all(there for there, _ in seen), "something was removed while no checkpoint stood in its place"
    assert Checkpoint(saved).load_state()["again"]
    assert Checkpoint(saved).sha256 in sums
    assert sorted(p.name for p in saved.parent.iterdir()) == ["last", "step-00001000"]


@pytest.mark.parametrize("moves", [0, 1])
def test_a_kill_between_two_moves_loses_neither(saved: Path, tiny_model, monkeypatch, moves: int) -> None:
    monkeypatch.setattr(writing, "exchange", lambda one, other: False)
    replace, made = os.replace, []

    class Killed(BaseException): ...

    def dies(source, target) -> None:
        if "step-" in Path(target).name:
            if len(made) == moves:
                monkeypatch.setattr(writing.shutil, "rmtree", lambda *args, **options: None)  # nobody is there to clear
                raise Killed
            made.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(Killed):
        RunFolder(saved.parents[1]).save_checkpoint(1000, tiny_model, {"step": 1}, "", ByteTokenizer(), {})
    sound = [p for p in saved.parent.glob("*step-00001000*") if (p / MANIFEST).is_file()]
    assert len(sound) == 2
    monkeypatch.undo()
    RunFolder(saved.parents[1]).put_back()  # as every run does when it holds the folder
    assert load_model(saved)


def test_folders_change_places_in_one_step(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.mkdir()
        (path / path.name).touch()
    if not files.exchange(one, other):
        pytest.skip("this system has no call for it")
    assert os.listdir(one) == ["other"]
    assert os.listdir(other) == ["one"]
    assert not files.exchange(one, tmp_path / "none")


def test_a_link_under_the_name_beside_is_not_followed(tmp_path: Path) -> None:
    """The name can be guessed, and a stranger's folder may hold a link under it."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f".file.{os.getpid()}").symlink_to(tmp_path / "mine")
    files.write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "new"
    assert not (tmp_path / "file").is_symlink()

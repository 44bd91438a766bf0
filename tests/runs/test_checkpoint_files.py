"""How a checkpoint comes to the disk: in which order, and what is there if the machine dies in between."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alibi.model import LanguageModel, ModelConfig
from alibi.pointers import MANIFEST
from alibi.runs import Checkpoint, RunFolder, checkpoint_of, load_model, resolve_runs
from alibi.runs.checkpoint_files import FILES, FORMAT


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
    assert {name for what, name in before if what == "fsync"} >= {*FILES[FORMAT], beside}
    manifest = before.index(("replace", MANIFEST))
    assert all(before.index(("fsync", name)) < manifest for name in FILES[FORMAT])
    assert before[-1] == ("fsync", beside)
    assert manifest < last - 1
    assert events[last + 1 :] == [("fsync", "checkpoints"), ("replace", "last"), ("fsync", "checkpoints")]


class Killed(BaseException): ...


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_a_kill_at_any_move_leaves_a_checkpoint_that_readers_find(
    saved: Path, save: Callable, tiny_config, monkeypatch, moves: int
) -> None:
    """Of three renames, the first finds the place taken, the second sets the old one aside, the third is the new."""
    run = saved.parents[1]
    old, made, replace = Checkpoint(saved).sha256, [], os.replace
    other = LanguageModel(tiny_config, 257, seed=9)

    def dies(source, target) -> None:
        if Path(target).parent == saved.parent and "step-" in Path(target).name:
            if len(made) == moves:
                raise Killed
            made.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        patch.setattr(shutil, "rmtree", lambda *args, **options: None)  # a killed process clears nothing away
        patch.setattr("alibi.files.put_back", lambda place: None)
        if moves < 3:
            with pytest.raises(Killed):
                save(run, other)
        else:  # after the last rename, before the old one is removed
            save(run, other)
    for found in (checkpoint_of(run), *resolve_runs(str(run / "checkpoints" / "last"), run)):
        assert found == saved
        assert (Checkpoint(found).sha256 == old) == (moves < 3)
    RunFolder(run).clear_up()
    assert save(run, other) == saved
    assert Checkpoint(saved).sha256 != old
    assert sorted(p.name for p in saved.parent.iterdir()) == ["last", "step-00001000"]


def test_a_reader_between_the_two_moves_takes_nothing_from_the_writer(
    saved: Path, save: Callable, tiny_config: ModelConfig, monkeypatch
) -> None:
    run, old, replace, seen = saved.parents[1], Checkpoint(saved).sha256, os.replace, []

    def watched(source, target) -> None:
        if Path(target) == saved and not saved.exists() and ".before" not in str(source) and not seen:
            seen.append(Checkpoint(checkpoint_of(run)).sha256)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    other = LanguageModel(tiny_config, 257, seed=9)
    save(run, other)
    assert seen == [old], "the reader found the old one"
    assert torch.equal(load_model(run).embedding.weight, other.embedding.weight)
    assert sorted(p.name for p in saved.parent.iterdir()) == ["last", "step-00001000"]


def test_a_move_that_fails_puts_the_old_one_back(saved: Path, save: Callable, tiny_config, monkeypatch) -> None:
    before, replace = Checkpoint(saved).sha256, os.replace

    def fails(source, target) -> None:
        if Path(target) == saved and not saved.exists() and ".before" not in str(source):
            raise OSError(5, "Input/output error", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="Input/output"):
        save(saved.parents[1], LanguageModel(tiny_config, 257, seed=9))
    assert Checkpoint(saved).sha256 == before
    assert sorted(p.name for p in saved.parent.iterdir()) == ["last", "step-00001000"]

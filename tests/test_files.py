"""Files that are whole or not there."""

import hashlib
import os
from pathlib import Path

import pytest

from alibi.files import file_sha256, write_atomically
from alibi.pointers import point


def test_a_written_file_is_the_text(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "first, é\n")
    write_atomically(path, "second\r\n")
    assert path.read_bytes() == b"second\r\n"
    assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize("failing", ["encoding", "fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch, there_before: bool, failing: str) -> None:
    path = tmp_path / "file.json"
    if there_before:
        path.write_text("old")

    def full_disk(*args) -> None:
        raise OSError("no space left on device")

    if failing != "encoding":
        monkeypatch.setattr(os, failing, full_disk)
    with pytest.raises((OSError, UnicodeEncodeError)):
        write_atomically(path, "x" * 100_000 + ("\ud800" if failing == "encoding" else ""))
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == ({"file.json": "old"} if there_before else {})


def test_the_file_is_there_only_when_it_is_whole(tmp_path: Path, monkeypatch) -> None:
    path, seen = tmp_path / "file.json", []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        seen.append((path.exists(), Path(source).read_text(), Path(source).parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write_atomically(path, "all of it")
    assert seen == [(False, "all of it", tmp_path)]


def test_a_pointer_is_relative_and_can_be_turned(tmp_path: Path) -> None:
    link = tmp_path / "last"
    for name in ("step-1", "step-2"):
        (tmp_path / name).mkdir()
        point(link, name)
        assert os.readlink(link) == name
        assert link.resolve() == (tmp_path / name).resolve()
    assert sorted(os.listdir(tmp_path)) == ["last", "step-1", "step-2"]
    assert list((tmp_path / "step-1").iterdir()) == [], "the pointer was turned, not put into the folder"


def test_a_pointer_is_never_missing(tmp_path: Path, monkeypatch) -> None:
    point(tmp_path / "last", "one")
    replace, seen = os.replace, []

    def watched(source: Path, target: Path) -> None:
        seen.append(os.readlink(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    point(tmp_path / "last", "two")
    assert seen == ["one"]
    assert os.readlink(tmp_path / "last") == "two"


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()

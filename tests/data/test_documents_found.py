"""The files of a folder that are documents: links, loops, names twice, and what is no text."""

import os
from pathlib import Path

import pytest

from alibi.data import DataConfig, TooFewDocuments, open_text
from alibi.data.documents import find_text_files, is_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six documents, and where they really lie."""
    for name in "abcdef":
        (tmp_path / "store" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "store" / name).write_text(f"document {name}\n")
    (tmp_path / "text").mkdir()
    return tmp_path / "text"


def names(folder: Path, pattern: str = "**/*") -> set[str]:
    return {path.relative_to(folder).as_posix() for path in find_text_files(folder, pattern)[0]}


def test_a_folder_of_links_is_a_text(folder: Path, tmp_path: Path) -> None:
    for name in "abcdef":
        (folder / f"{name}.txt").symlink_to(f"../store/{name}")
    assert names(folder) == names(folder, "*.txt") == {f"{name}.txt" for name in "abcdef"}
    text = open_text(DataConfig("text", str(folder)), "all", False)
    assert sorted(line for line, _ in text.lines()) == [f"document {name}\n" for name in "abcdef"]


def test_a_file_under_several_names_is_one_document(folder: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "own.txt").write_text("x\n")
    (folder / "again.txt").symlink_to("sub/own.txt")
    (folder / "a").symlink_to(tmp_path / "store" / "a")
    (folder / "b").symlink_to("a")
    assert names(folder) == {"sub/own.txt", "a"}
    assert names(folder, "*.txt") == {"again.txt"}, "the one that was asked for"


def test_links_to_folders_are_followed_once_and_loops_end(folder: Path, tmp_path: Path) -> None:
    (folder / "one").symlink_to(tmp_path / "store")
    (folder / "two").symlink_to(tmp_path / "store")
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "deep" / "x.txt").write_text("x\n")
    (folder / "self").symlink_to("self")
    (tmp_path / "store" / "back").symlink_to(folder / "deep")
    assert names(folder) == {"deep/x.txt", *(f"one/{name}" for name in "abcdef")}
    assert names(folder, "**/deep/*") == {"deep/x.txt"}
    assert "1 (self) that are links to nothing" in find_text_files(folder, "**/*")[1]


def test_links_to_nothing_are_said_and_explain_an_empty_text(folder: Path) -> None:
    for name in "abcde":
        (folder / name).symlink_to(f"../gone/{name}")
    with pytest.raises(TooFewDocuments, match=r"has 0 documents.*5 \(a, b, c, \.\.\.\) that are links to nothing"):
        open_text(DataConfig("text", str(folder)), "train", False)


def test_what_is_no_text_is_left_out_and_said(folder: Path) -> None:
    for name in "abcd":
        (folder / f"{name}.txt").write_text(f"document {name}\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    (folder / "packed.gz").write_bytes(b"\x1f\x8b\x08" + bytes(range(1, 256)))
    text = open_text(DataConfig("text", str(folder)), "all", False)
    assert {path.suffix for path in text.paths} == {".txt"}
    assert text.left_out.startswith("left out: 2 (packed.gz, picture.png) that are not text")
    assert "data.pattern" in text.left_out
    assert open_text(DataConfig("text", str(folder), "*.txt"), "train", False).left_out is None
    with pytest.raises(ValueError, match=r"picture\.png\) is a file that is not text"):
        open_text(DataConfig("text", str(folder / "picture.png")), "all", False)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (("é" * 9000).encode()[1:], True),  # begins in the middle of a character: an encoding error, with its place
        (("x" + "é" * 9000).encode(), True),  # a character lies across the end of what is looked at
        ("naïve café\r\n\tx\x0c\x1b[0m".encode("latin-1"), True),
        (b"a\x1cb\x01c\x7f\n", True),
        ("text".encode("utf-16"), False),
        (b"text\x00 and more\n", True),
        (b"notes.txt" + 91 * b"\0" + b"0000644", False),
        (b"\xff\xd8\xff\xe1\x02Exif", False),
        (b"", True),
    ],
)
def test_what_begins_as_text(tmp_path: Path, content: bytes, text: bool) -> None:
    (tmp_path / "file").write_bytes(content)
    assert is_text(tmp_path / "file") is text


def test_a_name_of_any_bytes_is_a_name(folder: Path) -> None:
    for name in (b"a\xff.txt", b"b\xfe.txt", b"c.txt"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("x\n")
    assert len(open_text(DataConfig("text", str(folder)), "all", False).paths) == 3

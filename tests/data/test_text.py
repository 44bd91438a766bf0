"""Lines: where they end, and what is not text."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alibi.data import DataConfig, open_text
from alibi.data.text import in_batches, read_lines

ODD = "a\r\n\u2028b\x85c\x0bd\x0ce\x1cf\n\n \n\rlast, with no line end"


def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(ODD.encode())
    lines = list(read_lines(tmp_path / "odd"))
    assert lines == ["a\r\n", "\u2028b\x85c\x0bd\x0ce\x1cf\n", "\n", " \n", "\rlast, with no line end"]
    assert lines != ODD.splitlines(keepends=True), "the text would not tell the two rules apart"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_lines_are_the_whole_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("lines") / "text"
    path.write_bytes(text.encode())
    lines = list(read_lines(path))
    assert "".join(lines) == text
    assert all("\n" not in line[:-1] for line in lines)
    assert "" not in lines


@pytest.mark.parametrize("before", ["", "first\n", "première ligne\n" * 3 + "né "])
def test_undecodable_bytes_are_named_by_file_and_place(tmp_path: Path, before: str) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(before.encode() + b"caf\xe9 au lait\nnext\n")
    offset = len(before.encode()) + 3
    with pytest.raises(ValueError, match=rf"latin\.txt is not UTF-8: byte 0xe9 at offset {offset} \(") as caught:
        list(read_lines(path))
    assert str(path) in str(caught.value)
    assert path.read_bytes()[offset] == 0xE9


def test_a_character_cut_by_the_end_of_the_file_is_undecodable(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes("ab\nZü".encode()[:-1])
    with pytest.raises(ValueError, match="byte 0xc3 at offset 4"):
        list(read_lines(path))


def test_batches_keep_every_item_in_order() -> None:
    assert list(in_batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_batches([], 3)) == []


def test_hash_is_that_of_the_file(corpus: Path) -> None:
    text = open_text(DataConfig("wikitext2", str(corpus)), "validation", False)
    assert text.sha256 == hashlib.sha256((corpus / "wiki.valid.raw").read_bytes()).hexdigest()


def test_hash_of_the_first_lines(corpus: Path) -> None:
    text = open_text(DataConfig("wikitext2", str(corpus)), "validation", False)
    lines = [line for line, _ in text.lines()]
    for count in (0, 1, 7, len(lines), len(lines) + 1):
        assert text.sha256_of(count) == hashlib.sha256("".join(lines[:count]).encode()).hexdigest()
    assert text.sha256_of(None) == text.sha256 == text.sha256_of(len(lines))
    assert text.sha256_of(7) != text.sha256

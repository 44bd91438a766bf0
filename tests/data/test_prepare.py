"""The cache: keyed by content, made whole or not at all."""

import hashlib
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from prepare_corpus import entries, prepared, validation

from alibi.data import DataConfig, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens
from alibi.data.tokenizers import ByteTokenizer


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Grows whenever something is really encoded."""
    calls = []
    encode = ByteTokenizer.encode

    def counted(self, lines: list[str]) -> list[list[int]]:
        calls.append(len(lines))
        return encode(self, lines)

    monkeypatch.setattr(ByteTokenizer, "encode", counted)
    return calls


def test_what_is_made_once_is_kept(corpus: Path, cache: Path, encoded: list[int]) -> None:
    first = prepared(corpus, cache)
    assert len(encoded) == 1
    second = prepared(corpus, cache)
    assert len(encoded) == 1
    assert first.path == second.path
    assert bytes(first.tokens.astype(np.uint8)) == (corpus / "wiki.valid.raw").read_bytes()
    assert np.array_equal(first.tokens, second.tokens)
    assert len(entries(cache)) == len(entries(cache, "tokenizers")) == 1


def test_a_token_file_says_what_it_was_made_of(corpus: Path, cache: Path) -> None:
    tokens = prepared(corpus, cache)
    sha256 = hashlib.sha256((corpus / "wiki.valid.raw").read_bytes()).hexdigest()
    assert tokens.text == {"name": "wikitext2", "split": "validation", "form": "raw", "sha256": sha256}
    assert tokens.tokenizer == {"name": "byte", "vocab_size": 257, "sha256": ByteTokenizer().sha256}
    assert tokens.end_of_text == 256


@pytest.mark.parametrize("kind", ["bpe", "word", "byte"])
def test_ids_do_not_depend_on_the_batch_size(corpus, tmp_path, monkeypatch, kind: str) -> None:
    config = TokenizerConfig(kind, 300 if kind == "bpe" else None)
    made = []
    for size in (1, 7, 16384):
        monkeypatch.setattr("alibi.data.prepare.LINES_PER_BATCH", size)
        made.append(prepared(corpus, tmp_path / f"cache{size}", config))
    for other in made[1:]:
        for name in ("tokens.bin", "lines.bin", "documents.bin", "manifest.json"):
            assert (other.path / name).read_bytes() == (made[0].path / name).read_bytes()


def test_a_changed_text_is_another_entry(corpus: Path, cache: Path, encoded: list[int]) -> None:
    before = prepared(corpus, cache)
    path = corpus / "wiki.valid.raw"
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b"lobster", b"mobster", 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time: the content decides
    after = prepared(corpus, cache)
    assert after.path != before.path
    assert bytes(after.tokens.astype(np.uint8)) == path.read_bytes()
    path.write_bytes(content)
    assert prepared(corpus, cache).path == before.path
    assert len(encoded) == 2


def test_another_tokenizer_is_another_entry(corpus: Path, cache: Path) -> None:
    sizes = [prepared(corpus, cache, TokenizerConfig("bpe", size)) for size in (300, 310)]
    kinds = [prepared(corpus, cache, TokenizerConfig(kind)) for kind in ("word", "byte")]
    assert len({tokens.path for tokens in sizes + kinds}) == 4
    assert len(sizes[0]) > len(sizes[1])


def test_a_tokenizer_learns_from_its_own_text_alone(corpus: Path, cache: Path) -> None:
    config = TokenizerConfig("bpe", 300)
    made = {}
    for split in ("train", "validation"):
        text = open_text(DataConfig("wikitext2", str(corpus)), split, False)
        made[split] = prepare_tokenizer(config, text, cache, quiet=True)
        assert prepare_tokenizer(config, text, cache, quiet=True).sha256 == made[split].sha256
    assert made["train"].sha256 != made["validation"].sha256
    assert len(entries(cache, "tokenizers")) == 2


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    # Of a manifest the first byte: what else it says is not checked by anything but its being JSON.
    content[0 if path.name == "manifest.json" else len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut_short, alter, Path.unlink])
@pytest.mark.parametrize("name", ["tokens.bin", "lines.bin", "documents.bin", "manifest.json"])
def test_a_damaged_token_file_is_made_again(corpus, cache, encoded, name: str, damage) -> None:
    tokens = prepared(corpus, cache)
    sound = {path.name: path.read_bytes() for path in tokens.path.iterdir()}
    damage(tokens.path / name)
    again = prepared(corpus, cache)
    assert len(encoded) == 2
    assert again.path == tokens.path
    assert {path.name: path.read_bytes() for path in again.path.iterdir()} == sound
    assert len(entries(cache)) == 1


@pytest.mark.parametrize("damage", [cut_short, alter, Path.unlink])
@pytest.mark.parametrize("name", ["tokenizer.json", "sha256"])
def test_a_damaged_tokenizer_is_made_again(corpus: Path, cache: Path, name: str, damage) -> None:
    config, text = TokenizerConfig("bpe", 300), validation(corpus)
    sha256 = prepare_tokenizer(config, text, cache, quiet=True).sha256
    (folder,) = entries(cache, "tokenizers")
    sound = (folder / "tokenizer.json").read_bytes()
    damage(folder / name)
    assert prepare_tokenizer(config, text, cache, quiet=True).sha256 == sha256
    assert (folder / "tokenizer.json").read_bytes() == sound
    assert (folder / "sha256").read_text().strip() == sha256


def test_a_half_written_folder_is_made_again(corpus: Path, cache: Path, encoded: list[int]) -> None:
    tokens = prepared(corpus, cache)
    partial = tokens.path.with_name(f"{tokens.path.name}.4711.partial")
    tokens.path.rename(partial)
    (partial / "manifest.json").unlink()
    assert prepared(corpus, cache).path == tokens.path
    assert entries(cache) == [tokens.path]
    for name in ("manifest.json", "lines.bin"):
        (tokens.path / name).unlink()
    prepared(corpus, cache)
    assert len(encoded) == 3


def test_an_empty_text_is_refused_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"wiki.{split}.raw").touch()
    with pytest.raises(ValueError, match="the validation split of wikitext2 is empty"):
        prepared(tmp_path, cache)
    assert entries(cache) == []


def test_a_failure_halfway_leaves_nothing(corpus: Path, cache: Path, monkeypatch) -> None:
    monkeypatch.setattr("alibi.data.prepare.LINES_PER_BATCH", 10)
    encode = ByteTokenizer.encode

    def failing(self, lines: list[str]) -> list[list[int]]:
        if any("Article 1 " in line for line in lines):
            raise OSError("no space left")
        return encode(self, lines)

    with monkeypatch.context() as patched:
        patched.setattr(ByteTokenizer, "encode", failing)
        with pytest.raises(OSError, match="no space left"):
            prepared(corpus, cache)
    assert entries(cache) == []
    assert bytes(prepared(corpus, cache).tokens.astype(np.uint8)) == (corpus / "wiki.valid.raw").read_bytes()


def test_text_that_is_not_utf8_is_named(corpus: Path, cache: Path) -> None:
    path = corpus / "wiki.valid.raw"
    content = path.read_bytes()
    path.write_bytes(content + b"caf\xe9\n")
    with pytest.raises(ValueError, match=rf"wiki\.valid\.raw is not UTF-8: byte 0xe9 at offset {len(content) + 3}"):
        prepared(corpus, cache)


def test_documents_are_apart_by_end_of_text(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    contents = {f"{n}.txt": f"document {n}\nsecond line" + "\n" * (n % 2) for n in range(20)}
    for name, content in contents.items():
        (folder / name).write_text(content)
    text = open_text(DataConfig("text", str(folder)), "train", False)
    tokens = prepare_tokens(text, ByteTokenizer(), cache, quiet=True)
    stream = tokens.tokens.tolist()
    assert stream[-1] == tokens.end_of_text
    ends = [-1, *(n for n, token in enumerate(stream) if token == tokens.end_of_text)]
    documents = [bytes(stream[a + 1 : b]).decode() for a, b in pairwise(ends)]
    assert documents == [contents[path.name] for path in text.paths]
    assert len(documents) == 18
    assert tokens.num_bytes == sum(map(len, documents)) == len(tokens) - 18


CONTENTS = {
    "0": "hello world",
    "1": "hello world\n",
    "2": "one two\r\nthree",
    "3": "\r\n\n \n",
    "4": "\n",
    "5": "  ",
    "6": "a\u2028b \x85 c\rd",
    "7": " last line of spaces\n   ",
}


@pytest.mark.parametrize("name", ["byte", "bpe", "word"])
def test_words_bytes_and_tokens_are_those_that_stand_in_the_text(tmp_path: Path, cache: Path, name: str) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for path, content in CONTENTS.items():
        (folder / path).write_bytes(content.encode())
    text = open_text(DataConfig("text", str(folder)), "all", False)
    tokenizer = prepare_tokenizer(TokenizerConfig(name, 300 if name == "bpe" else None), text, cache, quiet=True)
    tokens = prepare_tokens(text, tokenizer, cache, quiet=True)
    contents = [CONTENTS[path.name] for path in text.paths]

    def words_of(part: str) -> int:
        return len(part.split()) + part.count("\n")

    assert tokens.num_words == sum(map(words_of, contents))
    assert tokens.num_bytes == len("".join(contents).encode())
    if name == "word":  # every word and line end is a token, and every document ends in one
        assert len(tokens) == tokens.num_words + len(contents)
    if name == "byte":
        assert len(tokens) == tokens.num_bytes + len(contents)
    # Cut anywhere, it counts what is left, and that is never nothing.
    lines = [line for line, _ in text.lines()]
    for most in range(10, len(tokens)):
        cut = tokens.cut(most)
        assert cut.num_words == sum(map(words_of, lines[: cut.num_lines])) > 0


def test_spaces_without_a_line_end_are_no_text(tmp_path: Path, cache: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.txt").write_text("   ")
    text = open_text(DataConfig("text", str(tmp_path)), "all", False)
    with pytest.raises(ValueError, match="the all split of text is empty"):
        prepare_tokens(text, ByteTokenizer(), cache, quiet=True)


def test_what_an_older_version_counted_is_made_again(corpus, cache, encoded, monkeypatch) -> None:
    with monkeypatch.context() as older:
        for module in ("prepare", "token_file"):
            older.setattr(f"alibi.data.{module}.FORMAT", 1)
        before = prepared(corpus, cache)
    assert prepared(corpus, cache).path != before.path
    assert len(encoded) == 2
    assert len(entries(cache, "tokenizers")) == 1, "a tokenizer is not another one"


def test_wikitext_has_no_end_of_text_inside(corpus: Path, cache: Path) -> None:
    """The paper's stream: articles follow each other, with no token between them."""
    tokens = prepared(corpus, cache)
    assert tokens.end_of_text not in tokens.tokens
    assert json.loads((tokens.path / "manifest.json").read_text())["documents"] == 4


def test_progress_is_shown_or_not(corpus: Path, tmp_path: Path, capsys) -> None:
    text = validation(corpus)
    prepare_tokens(text, ByteTokenizer(), tmp_path / "quiet", quiet=True)
    assert capsys.readouterr() == ("", "")
    prepare_tokens(text, ByteTokenizer(), tmp_path / "loud")
    captured = capsys.readouterr()
    assert "wikitext2: encoding validation: 100%" in captured.err
    assert captured.out == ""

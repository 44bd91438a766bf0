"""Token files: what is counted, where end-of-text stands, cutting at whole lines."""

import hashlib
import json
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alibi.data import DataConfig, TokenFile, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens
from alibi.data.prepare import write_token_file
from alibi.data.token_file import open_token_file

END = 9
LINES = ["a b\n", " \n", "c é\n", "d\n", "e f g\n"]
STARTS = [True, False, True, False, True]
IDS = [[1, 2, 0], [0], [3, 4, 0], [5, 0], [6, 7, 8, 0]]


def written(folder: Path, lines: list[tuple[str, bool]], ids: list[list[int]], separate: bool, vocab_size: int = 10):
    """Lines as a token file, with the given ids."""
    waiting = iter(ids)
    text = SimpleNamespace(name="made", split="train", form="raw", sha256="0", separate_documents=separate)
    tokenizer = SimpleNamespace(name="by hand", vocab_size=vocab_size, sha256="1", end_of_text=END)
    tokenizer.encode = lambda lines: [list(next(waiting)) for _ in lines]
    write_token_file(folder, text, tokenizer, lines)
    return open_token_file(folder)


def write(folder: Path, separate: bool, vocab_size: int = 10) -> TokenFile:
    """The lines above as a token file."""
    folder.mkdir()
    return written(folder, list(zip(LINES, STARTS, strict=True)), IDS, separate, vocab_size)


def test_counts_and_stream(tmp_path: Path) -> None:
    tokens = write(tmp_path / "f", separate=False)
    assert tokens.tokens.tolist() == [1, 2, 0, 0, 3, 4, 0, 5, 0, 6, 7, 8, 0]
    assert (len(tokens), tokens.num_words, tokens.num_lines) == (13, 8 + 5, 5)
    assert tokens.num_bytes == len("".join(LINES).encode())
    assert np.fromfile(tmp_path / "f" / "documents.bin", np.uint32).tolist() == [0, 2, 4]
    manifest = json.loads((tmp_path / "f" / "manifest.json").read_text())
    assert manifest["sha256"]["tokens"] == hashlib.sha256(np.array(tokens.tokens).tobytes()).hexdigest()
    assert manifest["documents"] == 3
    assert tokens.text == {"name": "made", "split": "train", "form": "raw", "sha256": "0"}
    assert tokens.tokenizer == {"name": "by hand", "vocab_size": 10, "sha256": "1"}


def test_ids_are_known_by_themselves(tmp_path: Path) -> None:
    """However wide they are stored; a part has its own hash."""
    narrow = write(tmp_path / "narrow", separate=False)
    wide = write(tmp_path / "wide", separate=False, vocab_size=2**17)
    assert narrow.tokens.dtype != wide.tokens.dtype
    assert narrow.ids_sha256() == wide.ids_sha256() == hashlib.sha256(wide.tokens.tobytes()).hexdigest()
    others = narrow.cut(5), write(tmp_path / "other", separate=True)
    assert len({narrow.ids_sha256(), *(other.ids_sha256() for other in others)}) == 3


def test_end_of_text_stands_between_and_after_documents(tmp_path: Path) -> None:
    tokens = write(tmp_path / "f", separate=True)
    assert tokens.tokens.tolist() == [1, 2, 0, 0, END, 3, 4, 0, 5, 0, END, 6, 7, 8, 0, END]
    # End-of-text is a token, and no word and no byte.
    assert (len(tokens), tokens.num_words, tokens.num_bytes) == (16, 13, len("".join(LINES).encode()))


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_files_do_not_depend_on_the_batches(tmp_path: Path, monkeypatch, batch: int, separate: bool) -> None:
    whole = write(tmp_path / "whole", separate)
    monkeypatch.setattr("alibi.data.prepare.LINES_PER_BATCH", batch)
    cut = write(tmp_path / "cut", separate)
    for name in ("tokens.bin", "lines.bin", "documents.bin", "manifest.json"):
        assert (whole.path / name).read_bytes() == (cut.path / name).read_bytes()


def test_the_stream_is_mapped_and_as_narrow_as_the_vocabulary_allows(tmp_path: Path) -> None:
    for vocab_size, dtype in ((10, np.uint16), (2**16, np.uint16), (2**16 + 1, np.uint32), (267_744, np.uint32)):
        folder = tmp_path / str(vocab_size)
        folder.mkdir()
        tokens = written(folder, [("a\n", True)], [[vocab_size - 1, 0]], False, vocab_size)
        assert isinstance(tokens.tokens, np.memmap)
        assert tokens.tokens.dtype == dtype
        assert tokens.targets(0, 2).tolist() == [vocab_size - 1, 0]


def test_inputs_are_targets_moved_by_one_behind_end_of_text(tmp_path: Path) -> None:
    tokens = write(tmp_path / "f", separate=False)
    stream = [END, *tokens.tokens.tolist()]
    for start in range(len(tokens) + 1):
        for stop in range(start, len(tokens) + 1):
            assert tokens.inputs(start, stop).tolist() == stream[start:stop]
            assert tokens.targets(start, stop).tolist() == stream[start + 1 : stop + 1]
    assert tokens.inputs(0, 3).dtype == tokens.inputs(1, 3).dtype == tokens.targets(0, 3).dtype == np.int64


@pytest.mark.parametrize("separate", [False, True])
def test_cutting_keeps_whole_lines_with_their_words_and_bytes(tmp_path: Path, separate: bool) -> None:
    tokens = write(tmp_path / "f", separate)
    ids = [list(i) for i in IDS]
    if separate:
        ids = [[END, *line] if starts and n else line for n, (starts, line) in enumerate(zip(STARTS, ids, strict=True))]
    for max_tokens in range(3, len(tokens) + 2):
        cut = tokens.cut(max_tokens)
        closed = not separate or max_tokens >= len(tokens)  # the last line goes with the end of its document
        places = range(len(LINES) + closed)
        kept = max(n for n in places if sum(map(len, ids[:n])) <= max_tokens)
        stream = [*chain(*ids[:kept])] + ([END] if separate and max_tokens >= len(tokens) else [])
        assert cut.tokens.tolist() == stream
        assert len(cut) == len(stream) <= max_tokens
        assert cut.num_words == sum(len(line.split()) + 1 for line in LINES[:kept])
        assert cut.num_bytes == len("".join(LINES[:kept]).encode())
    assert tokens.cut(len(tokens)) is tokens
    assert tokens.cut(10**9) is tokens


def test_a_cut_may_be_cut_again(tmp_path: Path) -> None:
    tokens = write(tmp_path / "f", separate=False)
    assert tokens.cut(9).cut(4).tokens.tolist() == tokens.cut(4).tokens.tolist() == [1, 2, 0, 0]
    assert tokens.cut(4).cut(9).num_words == tokens.cut(4).num_words == 4


@pytest.mark.parametrize("max_tokens", [-1, 0, 1, 2])
def test_less_than_the_first_line_is_refused(tmp_path: Path, max_tokens: int) -> None:
    tokens = write(tmp_path / "f", separate=False)
    with pytest.raises(ValueError, match=rf"max_tokens \({max_tokens}\) is below the 3 tokens of the first line"):
        tokens.cut(max_tokens)


def test_cut_counts_are_those_of_the_real_files_head(wikitext: Path, tmp_path: Path) -> None:
    text = open_text(DataConfig("wikitext2", str(wikitext)), "validation", True)
    tokenizer = prepare_tokenizer(TokenizerConfig("word"), text, tmp_path, quiet=True)
    cut = prepare_tokens(text, tokenizer, tmp_path, quiet=True).cut(50_000)
    head = (wikitext / "wiki.valid.tokens").read_bytes().decode().split("\n")[: cut.num_lines + 1]
    sizes = [len(line.split(" ")) - line.startswith(" ") - line.endswith(" ") + 1 for line in head]
    sizes = [1 if line == " " else size for line, size in zip(head, sizes, strict=True)]
    assert len(cut) == cut.num_words == sum(sizes[:-1]) <= 50_000 < sum(sizes)
    assert cut.num_bytes == len("\n".join(head[:-1]).encode()) + 1


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sound") / "f", separate=False).path


@pytest.mark.parametrize("name", ["tokens.bin", "lines.bin", "documents.bin", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "altered"])
def test_a_damaged_file_is_no_token_file(sound: Path, tmp_path: Path, name: str, damage: str) -> None:
    for path in sound.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert open_token_file(tmp_path) is not None
    content = (tmp_path / name).read_bytes()
    # Of a manifest the first byte: what else it says is not checked by anything but its being JSON.
    at = 0 if name == "manifest.json" else len(content) // 2
    changed = {
        "cut": content[:-4],
        "longer": content + content[-4:],
        "altered": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
    }
    if damage == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(changed[damage])
    assert open_token_file(tmp_path) is None


@pytest.mark.parametrize("manifest", ["", "[]", "{}", "null", '{"format": 99}'])
def test_a_garbled_manifest_is_no_token_file(sound: Path, tmp_path: Path, manifest: str) -> None:
    for path in sound.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "manifest.json").write_text(manifest)
    assert open_token_file(tmp_path) is None


def test_another_format_is_no_token_file(sound: Path, tmp_path: Path) -> None:
    for path in sound.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((sound / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": manifest["format"] + 1}))
    assert open_token_file(tmp_path) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30), st.integers(1, 7))
def test_any_documents_come_back_apart(tmp_path_factory, lines: list[tuple[bool, int]], batch: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    starts = [True, *(begins for begins, _ in lines[1:])]
    ids = [[1] * size for _, size in lines]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("alibi.data.prepare.LINES_PER_BATCH", batch)
        stream = written(folder, [("x\n", begins) for begins in starts], ids, True).tokens.tolist()
    documents = np.split(stream, np.flatnonzero(np.array(stream) == END) + 1)
    assert documents[-1].size == 0
    bounds = [*(n for n, begins in enumerate(starts) if begins), len(lines)]
    expected = [sum(len(line) for line in ids[a:b]) for a, b in pairwise(bounds)]
    assert [len(document) - 1 for document in documents[:-1]] == expected

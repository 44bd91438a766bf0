"""Corpora that are files: the standard library, the user's folder; and settings that would be ignored."""

import sysconfig
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from alibi.data import DataConfig, TooFewDocuments, open_text, prepare_tokens
from alibi.data.corpora import CORPORA
from alibi.data.documents import NOT_LIBRARY, split_documents
from alibi.data.tokenizers import ByteTokenizer

SPLITS = ("train", "validation", "test")


def files(folder: Path, contents: dict[str, str]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode())
    return folder


def paths_of(config: DataConfig) -> dict[str, list[Path]]:
    return {split: list(open_text(config, split, False).paths) for split in SPLITS}


def test_stdlib_splits_are_apart_and_whole() -> None:
    paths = paths_of(DataConfig("stdlib"))
    found = Counter(path for chosen in paths.values() for path in chosen)
    assert set(found.values()) == {1}
    root = Path(sysconfig.get_path("stdlib"))
    sources = {p for p in root.rglob("*.py") if p.stat().st_size and not NOT_LIBRARY & set(p.relative_to(root).parts)}
    assert set(found) == sources
    assert len(sources) > 400
    assert {"argparse.py", "decoder.py"} <= {path.name for path in sources}
    assert not any("pydoc_data" in path.parts for path in sources), "it is no code"
    for split in ("validation", "test"):
        sizes = [path.stat().st_size for path in paths[split]]
        assert len(sizes) == 80
        assert max(sizes) < 0.05 * sum(sizes)


def test_a_large_file_is_trained_on_and_never_held_out(tmp_path: Path) -> None:
    paths = [files(tmp_path, {f"{n}.txt": "x" * n}) / f"{n}.txt" for n in range(1, 41)]
    parts = {split: split_documents(tmp_path, paths, split, 4, 20) for split in SPLITS}
    assert [len(parts[split]) for split in SPLITS] == [32, 4, 4]
    assert all(path.stat().st_size <= 20 for split in ("validation", "test") for path in parts[split])
    assert sorted(path for part in parts.values() for path in part) == sorted(paths)


def test_stdlib_is_the_same_each_time_and_differs_between_splits() -> None:
    hashes = [open_text(DataConfig("stdlib"), split, False).sha256 for split in ("validation", "test")]
    assert hashes[0] == open_text(DataConfig("stdlib"), "validation", True).sha256
    assert hashes[0] != hashes[1]


def test_stdlib_can_be_read_and_begins_one_document_a_file() -> None:
    text = open_text(DataConfig("stdlib"), "validation", False)
    lines = list(text.lines())
    assert sum(begins for _, begins in lines) == len(text.paths)
    assert text.separate_documents
    assert sum(len(line.encode()) for line, _ in lines) == sum(path.stat().st_size for path in text.paths)


def test_each_file_of_a_folder_is_a_document_of_one_split(tmp_path: Path) -> None:
    folder = files(tmp_path / "docs", {f"{n}.txt": f"document {n}\nsecond line\n" for n in range(40)})
    paths = paths_of(DataConfig("text", str(folder)))
    assert [len(paths[split]) for split in SPLITS] == [36, 2, 2]
    assert sorted(p for chosen in paths.values() for p in chosen) == sorted(folder.glob("*.txt"))
    lines = list(open_text(DataConfig("text", str(folder)), "test", False).lines())
    assert [begins for _, begins in lines] == [True, False] * 2


def test_the_split_depends_on_names_in_the_folder_alone(tmp_path: Path) -> None:
    roots = [tmp_path / "here", tmp_path / "elsewhere" / "deep"]
    chosen = []
    for root in roots:
        paths = [files(root, {f"{n}.txt": "x"}) / f"{n}.txt" for n in range(50)]
        chosen.append([p.name for p in split_documents(root, paths[::-1], "test", 3)])
    assert chosen[0] == chosen[1]


def test_a_new_document_moves_few_others(tmp_path: Path) -> None:
    paths = [files(tmp_path, {f"{n}.txt": "x"}) / f"{n}.txt" for n in range(101)]
    before, after = (set(split_documents(tmp_path, paths[:n], "train", 5)) for n in (100, 101))
    assert len(before - after) <= 2


def test_three_documents_are_enough_and_two_are_not(tmp_path: Path) -> None:
    folder = files(tmp_path / "docs", {"a": "a\n", "b": "b\n", "sub/c": "c\n"})
    paths = paths_of(DataConfig("text", str(folder)))
    assert [len(paths[split]) for split in SPLITS] == [1, 1, 1]
    (folder / "a").unlink()
    with pytest.raises(ValueError, match=r"has 2 documents with text, and split=train needs .*data\.pattern"):
        open_text(DataConfig("text", str(folder)), "train", False)


def test_hidden_and_empty_files_are_no_documents(tmp_path: Path) -> None:
    visible = {"a.txt": "a\n", "b.txt": "b\n", "sub/c.txt": "c\n", "sub/d.md": "d\n"}
    hidden = {".hidden.txt": "no\n", ".git/config": "no\n", "sub/.cache/x.txt": "no\n", "empty.txt": ""}
    folder = files(tmp_path / ".docs", visible | hidden)

    def found(pattern: str | None) -> set[str]:
        paths = paths_of(DataConfig("text", str(folder), pattern))
        return {p.relative_to(folder).as_posix() for chosen in paths.values() for p in chosen}

    assert found(None) == set(visible)
    assert found("**/*.txt") == {"a.txt", "b.txt", "sub/c.txt"}
    with pytest.raises(ValueError, match="has 2 documents"):
        found("*.txt")


def test_the_hash_knows_where_documents_begin(tmp_path: Path) -> None:
    one = files(tmp_path / "one", dict.fromkeys("xyz", "a\nb\n"))
    other = files(tmp_path / "other", dict.fromkeys("xyz", "a\nb\n"))

    def sha256(folder: Path) -> str:
        return open_text(DataConfig("text", str(folder)), "train", False).sha256

    assert sha256(one) == sha256(other)
    # The same characters as two documents: another text, since end-of-text goes between.
    train = open_text(DataConfig("text", str(one)), "train", False)
    twice = replace(train, paths=train.paths * 2)
    joined = files(tmp_path / "joined", {train.paths[0].name: "a\nb\na\nb\n"}) / train.paths[0].name
    once = replace(train, paths=(joined,))
    assert "".join(line for line, _ in twice.lines()) == "".join(line for line, _ in once.lines())
    assert twice.sha256 != once.sha256


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "text"}, "data=text needs data.path"),
        ({"name": "stdlib", "path": "somewhere"}, "data.path would be ignored by data=stdlib"),
        ({"name": "wikitext2", "pattern": "*.txt"}, "data.pattern is for data=text only.*wikitext2"),
        ({"name": "stdlib", "pattern": "*.py"}, "data.pattern is for data=text only.*stdlib"),
        ({"name": "wikitext104"}, r"data.name \(wikitext104\).*wikitext103, wikitext2, stdlib, text"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


def test_every_corpus_has_a_setting_that_is_accepted() -> None:
    accepted = {name: DataConfig(name, "folder" if name != "stdlib" else None) for name in CORPORA}
    assert list(accepted) == ["wikitext103", "wikitext2", "stdlib", "text"]


def test_missing_folders_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for name in ("text", "wikitext103"):
        with pytest.raises(FileNotFoundError, match=rf"data.path \({missing}\) is not a folder"):
            open_text(DataConfig(name, str(missing)), "train", False)


def test_all_is_every_document_and_one_file_is_a_text(tmp_path: Path) -> None:
    folder = files(tmp_path / "docs", {f"{n}.txt": f"document {n}\n" for n in range(20)} | {"empty.txt": ""})
    whole = open_text(DataConfig("text", str(folder)), "all", False)
    splits = paths_of(DataConfig("text", str(folder)))
    assert list(whole.paths) == [*splits["validation"], *splits["test"], *splits["train"]]
    assert (whole.split, whole.documents_in_text) == ("all", 20)
    one = open_text(DataConfig("text", str(folder / "7.txt")), "all", False)
    assert list(one.lines()) == [("document 7\n", True)]
    assert len(open_text(DataConfig("stdlib"), "all", False).paths) > 400


@pytest.mark.parametrize("split", SPLITS)
def test_one_file_has_no_splits_and_an_empty_one_no_document(tmp_path: Path, split: str) -> None:
    folder = files(tmp_path, {"one.txt": "a\n", "empty.txt": ""})
    with pytest.raises(TooFewDocuments, match=rf"one\.txt has 1 document with text, and split={split} needs"):
        open_text(DataConfig("text", str(folder / "one.txt")), split, False)
    with pytest.raises(TooFewDocuments, match=r"empty\.txt has 0 documents with text, and split=all needs"):
        open_text(DataConfig("text", str(folder / "empty.txt")), "all", False)
    with pytest.raises(ValueError, match=r"data\.pattern \(\*\.md\) would be ignored"):
        open_text(DataConfig("text", str(folder / "one.txt"), "*.md"), "all", False)


def test_the_share_is_told_by_documents_and_bytes(tmp_path: Path, cache: Path) -> None:
    folder = files(tmp_path / "docs", {f"{n:02}.txt": "0123456789\n" * 2 for n in range(40)})
    # The last one: 22 bytes, the end-of-text token of the document before it, and its own.
    largest = "; the largest holds {} % of its tokens"

    def share(split: str, most: int = 10**6) -> str:
        text = open_text(DataConfig("text", str(folder)), split, False)
        return text.share(prepare_tokens(text, ByteTokenizer(), cache, quiet=True).cut(most))

    assert share("validation") == "validation: 2 of 40 documents, 44 bytes (5 %)" + largest.format("52.2")
    assert share("train") == "train: 36 of 40 documents, 792 bytes (90 %)" + largest.format("2.9")
    assert share("all") == "all: 40 of 40 documents, 880 bytes (100 %)" + largest.format("2.61")
    assert share("all", 30) == "all: 1 of 40 documents, 22 bytes (2.5 %)"

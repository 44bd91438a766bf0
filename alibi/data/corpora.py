"""Corpora by name: `wikitext103`, `wikitext2`, `stdlib`, `text`."""

import hashlib
import sysconfig
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alibi.data.documents import Documents, find_documents, is_text
from alibi.data.text import Line, Text, read_lines
from alibi.data.token_file import TokenFile
from alibi.data.wikitext import open_wikitext

SPLITS = ("train", "validation", "test")
# Share of the documents that goes to validation, and as much to test.
HELD_OUT = {"text": 0.05, "stdlib": 0.03}
NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass
class DataConfig:
    """
    Attributes:
        name: of the corpus.
        path: a local folder in place of the hub; the folder of the documents of `text`, or the one document.
        pattern: which files of `text` are documents, as a glob; None means all.
    """

    name: str = "wikitext103"
    path: str | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        if self.name not in CORPORA:
            raise ValueError(f"data.name ({self.name}) is not a corpus; choose one of: {', '.join(CORPORA)}.")
        if self.pattern is not None and self.name != "text":
            raise ValueError(f"data.pattern is for data=text only, and would be ignored by {self.name}; remove it.")
        if self.path is not None and self.name == "stdlib":
            raise ValueError("data.path would be ignored by data=stdlib; remove it, or use data=text.")
        if self.path is None and self.name == "text":
            raise ValueError("data=text needs data.path, a folder of text files; set data.path=FOLDER.")


def open_text(config: DataConfig, split: str, words: bool) -> Text:
    """One split of a corpus.

    Args:
        words: the text is to be cut at spaces (`tokenizer=word`), which asks for WikiText's `.tokens` form.

    Raises:
        ValueError: unknown split, shards of another text or twice, text that is not UTF-8 (when read).
        TooFewDocuments: a kind of ValueError.
        FileNotFoundError: the folder, or the split's file in it, does not exist.
        ConnectionError: the hub cannot be reached.
    """
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split ({split}) must be one of: {', '.join(SPLITS)}, all.")
    return CORPORA[config.name](config, split, words)


@dataclass(frozen=True)
class Files(Text):
    """Documents that are files.

    Attributes:
        paths: of this split.
        all_paths: of the whole text.
        left_out: files that are no part of it, and why, in words; None where there are none.
    """

    paths: tuple[Path, ...]
    all_paths: tuple[Path, ...]
    encoding_of: Callable[[Path], str]
    left_out: str | None = None

    @property
    def documents_in_text(self) -> int:
        return len(self.all_paths)

    def share(self, tokens: TokenFile) -> str:
        part = tokens.num_bytes / sum(path.stat().st_size for path in self.all_paths)
        documents = f"{len(tokens.document_lines()):,} of {self.documents_in_text:,} documents"
        return f"{self.split}: {documents}, {100 * part:.3g} % of the bytes"

    def lines(self) -> Iterator[Line]:
        for path in self.paths:
            starts = True
            for line in read_lines(path, self.encoding_of(path)):
                yield line, starts
                starts = False


class TooFewDocuments(ValueError):
    """Fewer than three, so that there is none for each of train, validation and test."""


def split_documents(root: Path, paths: Sequence[Path], split: str, share: float) -> tuple[Path, ...]:
    """The files of one split, chosen by a hash of their name, so that a new file moves few others.

    They stay in the order of that hash: a split cut short is still a fair sample of it.

    Args:
        root: names are relative to it.
        split: `all` takes every document.
        share: of the documents that goes to validation, and as much to test.

    Raises:
        TooFewDocuments: for the split that is asked for.
    """

    def name_hash(path: Path) -> bytes:
        # A name may hold bytes that are not UTF-8.
        return hashlib.sha256(path.relative_to(root).as_posix().encode(errors="surrogateescape")).digest()

    by_hash = sorted(paths, key=name_hash)
    if len(paths) < (1 if split == "all" else 3):
        number = "1 document that is" if len(paths) == 1 else f"{len(paths)} documents that are"
        needed = "eval.split=all needs" if split == "all" else "each of train, validation and test needs"
        raise TooFewDocuments(
            f"{root} has {number} not empty, and {needed} one; add files (data.pattern chooses among them)."
        )
    held_out = max(1, round(share * len(paths)))
    chosen = {
        "validation": by_hash[:held_out],
        "test": by_hash[held_out : 2 * held_out],
        "train": by_hash[2 * held_out :],
        "all": by_hash,
    }
    return tuple(chosen[split])


def _files(name: str, root: Path, found: Documents, split: str, encoding_of: Callable[[Path], str]) -> Files:
    try:
        chosen = split_documents(root, found.paths, split, HELD_OUT[name])
    except TooFewDocuments as error:
        raise TooFewDocuments(f"{error} {found.left_out or ''}".strip()) from None
    size = sum(p.stat().st_size for p in chosen)
    return Files(name, split, "files", size, True, chosen, found.paths, encoding_of, found.left_out)


def _open_folder(config: DataConfig, split: str, words: bool) -> Files:
    root = Path(config.path)
    if root.is_file():
        if config.pattern is not None:
            raise ValueError(
                f"data.pattern ({config.pattern}) would be ignored: data.path ({root}) is a file; remove it."
            )
        if not is_text(root):
            raise ValueError(f"data.path ({root}) is a file that is not text in UTF-8; give one that is.")
        found = Documents((root,) if root.stat().st_size else (), None)
        return _files("text", root, found, split, lambda path: "utf-8")
    if not root.is_dir():
        raise FileNotFoundError(
            f"data.path ({root}) is not a folder or a file; give the folder that holds the text files."
        )
    pattern = config.pattern or "**/*"
    if Path(pattern).is_absolute():
        raise ValueError(f"data.pattern ({pattern}) must be relative to data.path ({root}); use '**/*.txt', say.")
    return _files("text", root, find_documents(root, pattern), split, lambda path: "utf-8")


def _source_encoding(path: Path) -> str:
    with open(path, "rb") as file:
        return tokenize.detect_encoding(file.readline)[0]


def _open_stdlib(config: DataConfig, split: str, words: bool) -> Files:
    """Sources of the running interpreter's standard library, its tests left out."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = (p for p in root.rglob("*.py") if not NOT_LIBRARY & set(p.relative_to(root).parts))
    found = Documents(tuple(p for p in paths if p.stat().st_size > 0), None)
    return _files("stdlib", root, found, split, _source_encoding)


CORPORA = {"wikitext103": open_wikitext, "wikitext2": open_wikitext, "stdlib": _open_stdlib, "text": _open_folder}

"""Corpora in which every file is a document: the user's own folder (`text`), and Python's standard library."""

import hashlib
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alibi.data.find_files import find_text_files, is_text
from alibi.data.text import Line, Text, read_lines
from alibi.data.token_file import TokenFile

Paths = tuple[Path, ...]
# Share of the documents in validation, and as many again in test.
HELD_OUT = {"text": 0.05, "stdlib": 0.03}
NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


class TooFewDocuments(ValueError):
    """Fewer than three documents, so train, validation and test cannot each have one."""


@dataclass(frozen=True)
class Documents(Text):
    """
    Attributes:
        all_paths: of all splits together.
    """

    all_paths: Paths
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
            for number, line in enumerate(read_lines(path)):
                yield line, number == 0


def open_folder(root: Path, pattern: str | None, split: str) -> Documents:
    """The text files of a folder, or a single file.

    Raises:
        ValueError: a pattern that would be ignored or matches nothing, or a single file that is not text.
        FileNotFoundError: `root` does not exist.
        TooFewDocuments: the split would be empty.
    """
    if root.is_file():
        if pattern is not None:
            raise ValueError(f"data.pattern ({pattern}) would be ignored: data.path ({root}) is a file; remove it.")
        if not is_text(root):
            raise ValueError(f"data.path ({root}) is a file that is not text in UTF-8; give one that is.")
        paths, left_out = (root,) if root.stat().st_size else (), None
    elif root.is_dir():
        paths, left_out = find_text_files(root, pattern or "**/*")
        if pattern and not paths:
            raise ValueError(
                f"data.pattern ({pattern}) matches no text file under data.path ({root}); it is relative to it, "
                f"'**/*.txt' say. {left_out or ''}".strip()
            )
    else:
        raise FileNotFoundError(f"data.path ({root}) is not a folder or a file; give the folder of text files.")
    return _documents("text", root, paths, split, left_out)


def open_stdlib(split: str) -> Documents:
    """Sources of the running interpreter's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [p for p in root.rglob("*.py") if p.stat().st_size and not NOT_LIBRARY & set(p.relative_to(root).parts)]
    return _documents("stdlib", root, tuple(paths), split)


def _documents(name: str, root: Path, paths: Paths, split: str, left_out: str | None = None) -> Documents:
    chosen = split_documents(root, paths, split, HELD_OUT[name], left_out or "")
    return Documents(name, split, "files", chosen, True, paths, left_out)


def split_documents(root: Path, paths: Sequence[Path], split: str, share: float, left_out: str = "") -> Paths:
    """The files of one split, chosen by a hash of their names, so that adding a file moves few others.

    They stay in the order of that hash, so that a split that is cut short is still a fair sample.

    Args:
        root: names are relative to it.
        split: `all` takes every document.
        share: of the documents in validation; test has as many again.
        left_out: said in the error, since it may be why there are too few.

    Raises:
        TooFewDocuments: the split would be empty.
    """

    def name_hash(path: Path) -> bytes:
        # A name may hold bytes that are not UTF-8.
        return hashlib.sha256(path.relative_to(root).as_posix().encode(errors="surrogateescape")).digest()

    needed = 1 if split == "all" else 3
    if len(paths) < needed:
        message = f"{root} has {len(paths)} documents that are not empty, and split={split} needs at least {needed}"
        raise TooFewDocuments(f"{message}; add files (data.pattern chooses among them). {left_out}".strip())
    by_hash = sorted(paths, key=name_hash)
    if split == "all":
        return tuple(by_hash)
    held_out = max(1, round(share * len(paths)))
    start = {"validation": 0, "test": held_out, "train": 2 * held_out}[split]
    return tuple(by_hash[start:] if split == "train" else by_hash[start : start + held_out])

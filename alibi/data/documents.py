"""Corpora in which every file is a document: the user's own folder (`text`), and Python's standard library.

Links are followed, each real file counts once, and what is left out is reported.
"""

import codecs
import hashlib
import math
import os
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from alibi.data.text import Line, Text, read_lines
from alibi.data.token_file import TokenFile

Paths = tuple[Path, ...]
HELD_OUT = 0.05  # share of a folder's documents in validation, and as many again in test
# Of the library, so many files in validation, and as many again in test; none so large that it is a twentieth of them.
LIBRARY_HELD_OUT, LIBRARY_LARGEST_BYTES = 80, 20_000
# pydoc_data is the text of the language reference, not code.
NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "pydoc_data"}
# Enough to tell a picture or an archive from a text.
HEAD_BYTES = 8192
MAX_NUL_SHARE = 0.1  # a text may hold some; ASCII with more is an archive or a table of numbers
# Control characters that no text in an older encoding has: not tab, line feed, form feed, escape and the like.
NOT_TEXT = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")


class TooFewDocuments(ValueError):
    """Fewer than three documents, so train, validation and test cannot each have one."""


@dataclass(frozen=True)
class Documents(Text):
    """
    Attributes:
        bytes_in_text, documents_in_text: of all splits together.
    """

    bytes_in_text: int
    documents_in_text: int
    left_out: str | None

    def share(self, tokens: TokenFile) -> str:
        number = len(tokens.document_lines())
        documents = f"{number:,} of {self.documents_in_text:,} documents"
        largest = f"; the largest holds {100 * tokens.largest_document():.3g} % of its tokens" if number > 1 else ""
        part = f"{tokens.num_bytes:,} bytes ({100 * tokens.num_bytes / self.bytes_in_text:.3g} %)"
        return f"{self.split}: {documents}, {part}{largest}"

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
    left_out = None
    if root.is_dir():
        paths, left_out = find_text_files(root, pattern or "**/*")
        if pattern and not paths:
            rule = f"matches no text file under data.path ({root}); it is relative to it, '**/*.txt' say"
            raise ValueError(f"data.pattern ({pattern}) {rule}. {left_out or ''}".strip())
    elif not root.is_file():
        raise FileNotFoundError(f"data.path ({root}) is not a folder or a file; give the folder of text files.")
    elif pattern is not None:
        raise ValueError(f"data.pattern ({pattern}) would be ignored: data.path ({root}) is a file; remove it.")
    elif not is_text(root):
        raise ValueError(f"data.path ({root}) is a file that is not text in UTF-8; give one that is.")
    else:
        paths = (root,) if root.stat().st_size else ()
    held_out = max(1, round(HELD_OUT * len(paths)))
    return _documents("text", root, paths, split, held_out, left_out=left_out)


def open_stdlib(split: str) -> Documents:
    """Sources of the running interpreter's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [p for p in root.rglob("*.py") if p.stat().st_size and not NOT_LIBRARY & set(p.relative_to(root).parts)]
    return _documents("stdlib", root, tuple(paths), split, LIBRARY_HELD_OUT, LIBRARY_LARGEST_BYTES)


def _documents(
    name: str,
    root: Path,
    paths: Paths,
    split: str,
    held_out: int,
    largest: float = math.inf,
    left_out: str | None = None,
) -> Documents:
    chosen = split_documents(root, paths, split, held_out, largest, left_out or "")
    num_bytes = sum(path.stat().st_size for path in paths)
    return Documents(name, split, "files", chosen, True, num_bytes, len(paths), left_out)


def split_documents(
    root: Path, paths: Sequence[Path], split: str, number: int, largest: float = math.inf, left_out: str = ""
) -> Paths:
    """The files of one split, chosen by a hash of their names, so that adding a file moves few others.

    They stay in the order of that hash, so that a split that is cut short is still a fair sample.

    Args:
        root: names are relative to it.
        split: `all` takes every document.
        number: of documents in validation; test has as many again.
        largest: size in bytes above which a file stays in train.
        left_out: said in the error, since it may be why there are too few.

    Raises:
        TooFewDocuments: the split would be empty.
    """

    def name_hash(path: Path) -> bytes:
        # A name may hold bytes that are not UTF-8.
        return hashlib.sha256(path.relative_to(root).as_posix().encode(errors="surrogateescape")).digest()

    needed = 1 if split == "all" else 3
    if len(paths) < needed:
        counted = f"{len(paths)} document{'' if len(paths) == 1 else 's'}"
        message = f"{root} has {counted} with text, and split={split} needs at least {needed}"
        raise TooFewDocuments(f"{message}; add files (data.pattern chooses among them). {left_out}".strip())
    by_hash = sorted(paths, key=name_hash)
    if split == "all":
        return tuple(by_hash)
    held_out = [path for path in by_hash if path.stat().st_size <= largest][: 2 * number]
    if split == "train":
        known = set(held_out)
        return tuple(path for path in by_hash if path not in known)
    return tuple(held_out[:number] if split == "validation" else held_out[number:])


def find_text_files(root: Path, pattern: str) -> tuple[tuple[Path, ...], str | None]:
    """Files of a folder and its subfolders that are text, not hidden and not empty.

    A file with two names is one document: otherwise it could be in both train and validation.

    Args:
        pattern: glob relative to `root`; `**` is any number of folders.

    Returns:
        The files, and in words what was left out and why (None if nothing was).
    """
    wanted, unreadable = Path(pattern).parts, []
    named = [path for path in _files_under(root, unreadable) if _matches(path.relative_to(root).parts, wanted)]
    # Of several names the last one here counts: the file's own rather than a link to it, and the first that was found.
    named.sort(key=os.path.islink)
    files = {os.path.realpath(path): path for path in named[::-1] if path.is_file() and path.stat().st_size > 0}
    paths = tuple(path for path in files.values() if is_text(path))
    groups = {
        "that are not text in UTF-8 (data.pattern chooses among files, '**/*.txt' say)": {*files.values()} - {*paths},
        "that are links to nothing (fetch the files they point to)": {path for path in named if not path.exists()},
        "that are folders you may not read": set(unreadable),
    }
    reasons = [f"{_first_names(group, root)} {why}" for why, group in groups.items() if group]
    return paths, f"left out: {'; '.join(reasons)}" if reasons else None


def is_text(path: Path) -> bool:
    """Whether a file begins as text, in UTF-8 or in an older encoding (reading it then reports the first bad byte)."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut off
    except UnicodeDecodeError:
        return not NOT_TEXT.search(head)
    return head.count(0) <= MAX_NUL_SHARE * len(head)


def _files_under(root: Path, unreadable: list[Path]) -> Iterator[Path]:
    """Every visible name that is not a folder, each real folder once; folders behind links come last.

    Args:
        unreadable: receives the folders that may not be read.
    """
    waiting, seen = [root], set()
    for start in waiting:  # grows
        for folder, folders, names in os.walk(start, onerror=lambda error: unreadable.append(Path(error.filename))):
            if (real := os.path.realpath(folder)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [Path(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]
            yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Path.full_match, which Python 3.11 lacks."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _first_names(paths: set[Path], root: Path) -> str:
    names = sorted(path.relative_to(root).as_posix() for path in paths)
    return f"{len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"

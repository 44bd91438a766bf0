"""The files of a folder that are documents: links followed, each real file once, what is no text left out and said."""

import codecs
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

# Enough to tell a picture or an archive from a text.
HEAD_BYTES = 8192
MOST_NULS = 0.1  # a text may have some; what is mostly ASCII and has more is an archive or a table of numbers
# Control characters that no text in an older encoding has: not tab, line feed, form feed, escape and their like.
NO_TEXT = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True)
class Documents:
    """
    Attributes:
        paths: as they are named in the folder.
        left_out: what was left out and why, in words; None where nothing was.
    """

    paths: tuple[Path, ...]
    left_out: str | None


def find_documents(root: Path, pattern: str) -> Documents:
    """Files of a folder and its subfolders that are not hidden, not empty, and text.

    A second name of a file is not a second document: it might stand in train and in validation.

    Args:
        pattern: glob relative to `root`; `**` is any number of folders.
    """
    wanted, closed = Path(pattern).parts, []
    named = [path for path in _files_under(root, closed) if _fits(path.relative_to(root).parts, wanted)]
    named.sort(key=os.path.islink)  # a file's own name before those that lead to it
    once: dict[str, Path] = {}
    for path in named:
        if path.is_file():
            once.setdefault(os.path.realpath(path), path)
    filled = [path for path in once.values() if path.stat().st_size > 0]
    paths = tuple(path for path in filled if is_text(path))
    groups = {
        "that are not text in UTF-8 (data.pattern chooses among the files, '**/*.txt' say)": set(filled) - set(paths),
        "that are links to nothing (fetch what they stand for)": {path for path in named if not path.exists()},
        "that are folders you may not read": set(closed),
    }
    said = [f"{_some(group, root)} {why}" for why, group in groups.items() if group]
    return Documents(paths, f"left out: {'; '.join(said)}" if said else None)


def is_text(path: Path) -> bool:
    """Whether a file begins as text: UTF-8, or another encoding, which its reader names with the place."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return not NO_TEXT.search(head)
    return head.count(0) <= MOST_NULS * len(head)


def _files_under(root: Path, closed: list[Path]) -> Iterator[Path]:
    """Every visible name that is no folder, each real folder once; those behind links come last.

    Args:
        closed: is given the folders that may not be read.
    """
    waiting, seen = [root], set()
    for start in waiting:  # grows
        for folder, folders, names in os.walk(start, onerror=lambda error: closed.append(Path(error.filename))):
            if (real := os.path.realpath(folder)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [Path(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]
            yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or (bool(parts) and _fits(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _some(paths: set[Path], root: Path) -> str:
    names = sorted(path.relative_to(root).as_posix() for path in paths)
    return f"{len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"

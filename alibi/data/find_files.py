"""The text files of a folder: links are followed, each real file counts once, and what is left out is reported."""

import codecs
import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

# Enough to tell a picture or an archive from a text.
HEAD_BYTES = 8192
MAX_NUL_SHARE = 0.1  # a text may hold some; ASCII with more is an archive or a table of numbers
# Control characters that no text in an older encoding has: not tab, line feed, form feed, escape and the like.
NOT_TEXT = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")


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
    named.sort(key=os.path.islink)  # a file's own name before links to it
    by_target: dict[str, Path] = {}
    for path in named:
        if path.is_file() and path.stat().st_size > 0:
            by_target.setdefault(os.path.realpath(path), path)
    paths = tuple(path for path in by_target.values() if is_text(path))
    not_text = {*by_target.values()} - {*paths}
    groups = {
        "that are not text in UTF-8 (data.pattern chooses among the files, '**/*.txt' say)": not_text,
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

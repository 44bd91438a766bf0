"""Files that are whole or not there: written beside their place, brought to the disk, renamed."""

import ctypes
import hashlib
import os
from pathlib import Path

from alibi.faults import naming

RENAME_EXCHANGE, AT_FDCWD = 2, -100  # of Linux


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside its name, bring it to the disk, and rename it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        # "x" makes the file: a link that a stranger left under this name is not followed.
        with naming(path), open(beside, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def free_name(path: Path) -> Path:
    """`path`, with a number behind its stem where something has that name."""
    free, number = path, 2
    while os.path.lexists(free):
        free, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return free


def exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system has no such call."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def refuse_links_out(folder: Path, patterns: tuple[str, ...]) -> None:
    """A folder from a stranger may hold a link in place of what will be written to.

    Args:
        patterns: of what is written to, as globs in `folder`.

    Raises:
        ValueError: one of these is a link that leads out of `folder`.
    """
    inside = os.path.realpath(folder)
    for place in (place for pattern in patterns for place in folder.glob(pattern)):
        # Not Path.resolve(), which fails on links that lead to each other.
        if place.is_symlink() and not Path(os.path.realpath(place)).is_relative_to(inside):
            raise ValueError(
                f"{place} is a link out of the run folder, where nothing may be written; remove it, or put what it "
                "points to in its place."
            )


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Bring a file's or folder's content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)

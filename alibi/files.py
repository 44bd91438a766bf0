"""Files and folders that are complete or absent: written beside their place, synced to disk, then renamed.

A leaf beside `faults`.
"""

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from alibi.faults import naming

OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file under a temporary name, sync it to disk, and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path), open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def replace_folder(new: Path, place: Path) -> None:
    """Rename the folder `new` to `place`, replacing a folder that is there.

    No rename replaces a folder that has content. The old one is therefore set aside under a hidden name first, and
    removed last; if the process is killed in between, `put_back` restores it.
    """
    aside = _aside(place)
    try:
        while True:
            try:
                os.replace(new, place)
                break
            except OSError as error:
                if error.errno not in OCCUPIED:
                    raise
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(place, aside)  # a reader may put it back before the new one arrives; then try again
    finally:
        put_back(place)
    shutil.rmtree(aside, ignore_errors=True)


def put_back(place: Path) -> None:
    """Restore the folder that a killed `replace_folder` had set aside, where nothing has its place."""
    if not os.path.lexists(place):
        with suppress(OSError):  # nothing was set aside, or another process was faster
            os.replace(_aside(place), place)


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.before")


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)

"""Files that are complete or absent, file locks, and disk errors as messages with a remedy.

A file or folder is written beside its place, synced to disk, then renamed. A leaf: imports nothing of this project.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
PLACES = "run_dir or paths.outputs, eval.figure_dir, paths.cache (ALIBI_CACHE), HF_HOME for the hub's files"
FULL = f"Free space there, or choose another place ({PLACES})"
CLOSED = f"Give yourself the permission, or choose another place ({PLACES})"
LOCKS = f"Turn them on where it is mounted, or choose another place ({PLACES})"
PATH = "Check how the path is written"
REMEDIES = {
    errno.ENOENT: ("there is no such file or folder", PATH),
    errno.EISDIR: ("this is a folder, and a file is needed", PATH),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", PATH),
    errno.ENOSPC: ("the disk is full", FULL),
    errno.EDQUOT: ("your quota on this disk is used up", FULL),
    errno.EFBIG: ("the file would be larger than the system allows (ulimit -f, or the disk's own limit)", FULL),
    errno.EROFS: ("this disk can only be read", CLOSED),
    errno.EACCES: ("you may not read or write there", CLOSED),
    errno.EPERM: ("the system does not permit it", CLOSED),
    errno.ENOLCK: ("this disk has no file locks", LOCKS),
    errno.EOPNOTSUPP: ("this disk lacks something that is needed here, file locks most likely", LOCKS),
}
DISK_NUMBERS = {*REMEDIES, errno.EIO}
UNCLEAR = {errno.EACCES, errno.EPERM}  # without a file's name it may be a firewall's


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name, sync it to disk, and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path), open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
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


def explained(error: OSError) -> str:
    """The error in one line: file, rule and, where there is one, the remedy."""
    if error.errno not in REMEDIES:
        return f"{type(error).__name__}: {error}"
    rule, remedy = REMEDIES[error.errno]
    # A rename names two files; the second is the one that could not be made.
    name = error.filename2 or error.filename
    where = f"{name}: " if name else ""
    return f"{where}{rule}. {remedy}, and give the same command again; existing files are unchanged."


def check_writable(folder: Path) -> None:
    """Check, before the work is done, that files can be written to a folder, which need not exist yet.

    Raises:
        NotADirectoryError, PermissionError: they cannot.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give `path` as the file name to an OSError that has none, as those of `write`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def hold(path: Path, timeout: float = -1) -> AbstractContextManager:
    """Acquire the lock file at `path`, waiting for other processes; released at the end of the `with`.

    Args:
        timeout: seconds to wait; -1 waits forever.

    Raises:
        filelock.Timeout: another process still holds it.
        OSError: its folder is missing or not writable, or the disk has no locks; it names the file.
    """
    if not path.parent.is_dir():  # filelock would create it, and so make a removed run again
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    with naming(path):
        return FileLock(path).acquire(timeout=timeout)


def disk_error_of(error: BaseException, path: Path) -> OSError | None:
    """The disk's OSError behind a library's error (the hub's, safetensors'); None if it was a network's.

    Args:
        path: named where the error names no file.
    """
    cause: BaseException | None = error
    while cause is not None:
        known = isinstance(cause, OSError) and cause.errno in DISK_NUMBERS
        if known and (cause.filename or cause.errno not in UNCLEAR):
            return OSError(cause.errno, cause.strerror, cause.filename or str(path))
        cause = cause.__cause__ or cause.__context__
    # Libraries written in Rust give the number in the text only.
    if (found := re.search(r"\(os error (\d+)\)", str(error))) and int(found[1]) in DISK_NUMBERS - UNCLEAR:
        return OSError(int(found[1]), errno.errorcode[int(found[1])], str(path))
    return None


def one_line(error: BaseException) -> str:
    """Kind and first line of another library's error."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

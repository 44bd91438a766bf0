"""What a disk refuses, told so that a person can go on. A leaf: imports nothing of this project."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = "run_dir or paths.outputs for runs, paths.cache (ALIBI_CACHE) for prepared texts"
FULL = f"Free space there, or choose another place ({PLACES})"
CLOSED = f"Give yourself the permission, or choose another place ({PLACES})"
REMEDIES = {
    errno.ENOSPC: ("the disk is full", FULL),
    errno.EDQUOT: ("your quota on this disk is used up", FULL),
    errno.EFBIG: ("the file would be larger than the system allows (ulimit -f, or the disk's own limit)", FULL),
    errno.EROFS: ("this disk can only be read", CLOSED),
    errno.EACCES: ("you may not read or write there", CLOSED),
    errno.EPERM: ("the system does not permit it", CLOSED),
}


def explained(error: OSError) -> str:
    """The error in one line: file, rule and, where there is one, the remedy."""
    if error.errno not in REMEDIES:
        return f"{type(error).__name__}: {error}"
    rule, remedy = REMEDIES[error.errno]
    # A move names two files, and the second is where there was no place.
    name = error.filename2 or error.filename
    where = f"{name}: " if name else ""
    return f"{where}{rule}. {remedy}, and give the same command again; what was there before is whole."


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError that names no file, as one from `write`, gets the name of this one."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def os_error_of(error: BaseException, path: Path) -> OSError | None:
    """The OSError behind the error of a library that wraps it (torch.save: context; safetensors: in its text)."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return OSError(cause.errno, cause.strerror, str(path))
        cause = cause.__cause__ or cause.__context__
    _, found, rest = str(error).partition("(os error ")
    number = rest.partition(")")[0]
    if found and number.isdecimal():
        code = int(number)
        return OSError(code, errno.errorcode.get(code, "error"), str(path))
    return None

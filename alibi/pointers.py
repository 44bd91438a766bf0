"""The project's own pointers: `latest` in the outputs, `last` and `best` among a run's checkpoints.

A pointer is a relative symbolic link; on a disk without links, a file that holds the name. In a copy made without
links (cp -rL, scp -r, zip, an object store) it is a copy of the folder that it pointed to, or missing. All of these
are read.
"""

import errno
import filecmp
import glob
import os
from contextlib import suppress
from pathlib import Path

from alibi.files import sync, write_atomically

CONFIG, MANIFEST = "config.yaml", "manifest.json"  # the files that mark a run folder and a checkpoint folder
LATEST, LAST, BEST = "latest", "last", "best"
POINTERS = (LATEST, LAST, BEST)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def point(pointer: Path, target: str) -> None:
    """Atomically point `pointer` to `target`, relative to its own folder. A folder in its place is renamed and kept."""
    if pointer.is_dir() and not pointer.is_symlink():
        kept, number = pointer.with_name(f".{pointer.name}-copy"), 2
        while kept.exists():
            kept, number = pointer.with_name(f".{pointer.name}-copy-{number}"), number + 1
        with suppress(FileNotFoundError):  # another process was first
            pointer.replace(kept)
            print(f"note       {pointer} was a folder, not a pointer (copied without links?); it is now {kept}")
    beside = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(target)
        os.replace(beside, pointer)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        write_atomically(pointer, f"{target}\n")
    finally:
        beside.unlink(missing_ok=True)
    sync(pointer.parent)


def follow(path: Path) -> Path:
    """Where a pointer of any form leads; any other path is returned as it is.

    A copied folder leads to its original where that stands beside it.
    """
    if path.is_symlink():
        return Path(os.path.realpath(path))
    if path.name in POINTERS and path.is_file():
        return Path(os.path.realpath(path.parent / path.read_text(encoding="utf-8", errors="replace").strip()))
    if path.name in POINTERS and path.is_dir():
        beside = (p for p in sorted(path.parent.iterdir()) if p.name not in POINTERS and p.name[0] != ".")
        return next((p for p in beside if _is_copy(path, p)), path)
    return path


def _is_copy(one: Path, other: Path) -> bool:
    """Whether two folders are the same checkpoint, or the same run at the same step."""
    if (one / MANIFEST).is_file():
        names = [MANIFEST]
    else:
        found = (p.relative_to(one) for p in one.glob(f"checkpoints/*/{MANIFEST}"))
        names = [CONFIG, *(name for name in found if name.parent.name not in POINTERS)]
    pairs = [(one / name, other / name) for name in names]
    return all(a.is_file() and b.is_file() and filecmp.cmp(a, b, shallow=False) for a, b in pairs)


def expand(pattern: str) -> list[Path]:
    """Matches of a glob, in order. Wildcards skip pointers: the folder they point to is matched under its own name."""
    parts = Path(pattern).parts

    def through_pointer(match: Path) -> bool:
        places = [Path(*match.parts[: depth + 1]) for depth in range(len(match.parts))]
        starred = (place for part, place in zip(parts, places, strict=True) if glob.has_magic(part))
        return any(place.name in POINTERS and follow(place) != place for place in starred)

    return [match for match in map(Path, sorted(glob.glob(pattern))) if not through_pointer(match)]


def refuse_pointer(run_dir: Path) -> None:
    """
    Raises:
        ValueError: run_dir is the place of one of the project's pointers, or leads through one.
    """
    place = Path(os.path.abspath(run_dir))
    for part in (place, *place.parents):
        to_run = part.name == LATEST and (part == place or (part / CONFIG).is_file())
        if to_run or (part.name in (LAST, BEST) and part.parent.name == "checkpoints"):
            where = "is" if part == place else f"leads through {part.name},"
            rule = "this project's own pointer to a run or checkpoint"
            raise ValueError(f"run_dir ({run_dir}) {where} {rule}; name another folder, or leave run_dir out.")

"""Files of the Hugging Face Hub, fetched by its own client into its own cache (HF_HOME).

The cache is used when the hub gives nothing, because it is offline or down. Every request has a time limit here: some
of the client's have none.
"""

import re
from collections.abc import Iterable, Sequence
from logging import WARNING, getLogger
from pathlib import Path

from alibi.files import disk_error_of, file_sha256, one_line

# Seconds until a connection must be open, and until a server must send something.
CONNECT_SECONDS, SILENT_SECONDS = 4, 5
SIGNATURE = re.compile(r"(?<=\S)\?[^\s']*=[^\s']*")  # of an address that lets anyone who has it read the file
Globs = Sequence[str]


def fetch(name: str, files: Globs, kind: str = "model", revision: str | None = None, but: Globs = ()) -> Path:
    """The folder of a repository's newest commit in the hub's cache; files that it lacks are fetched first.

    Args:
        name: OWNER/NAME on the hub.
        files: the files that are wanted; if none matches the first glob, the cache does not have it.
        kind: model or dataset.
        revision: branch, tag or commit; None means main.
        but: files that are not wanted.

    Raises:
        ConnectionError: the hub does not give it, and the cache does not have it.
        OSError: the cache's disk is full or not writable.
        ValueError: a file was damaged on the way.
    """
    from huggingface_hub import constants, get_session, snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars, logging

    how = {"repo_type": kind, "revision": revision, "allow_patterns": files, "ignore_patterns": but}
    hooks = get_session().event_hooks["request"]
    if _limited not in hooks:
        hooks.append(_limited)
    for client in ("httpx", "httpx2"):  # they log every request, with its signed address
        getLogger(client).setLevel(WARNING)
    logging.set_verbosity_error()  # its messages are repeated by ours
    disable_progress_bars()
    try:
        cached = Path(snapshot_download(name, **how, local_files_only=True))
    except Exception:  # not there, or incomplete; anything else is reported by the next try
        cached = None
        enable_progress_bars()  # what follows may take long
    try:
        return Path(snapshot_download(name, **how, etag_timeout=CONNECT_SECONDS))
    except Exception as error:  # offline, missing, not allowed, no space: each is of another kind
        if cached is None or not any(cached.glob(files[0])):
            called = f"hf:{name}" if kind == "model" else name
            raise _explained(error, called, Path(constants.HF_HUB_CACHE)) from error
        return cached


def check_sound(paths: Iterable[Path]) -> None:
    """Compare large files of the cache with their sha256, which is their name there.

    Raises:
        ValueError: one is damaged.
    """
    for path in paths:
        blob = path.resolve()
        if re.fullmatch(r"[0-9a-f]{64}", blob.name) and file_sha256(blob) != blob.name:
            raise ValueError(f"{path} is damaged: its bytes are not those that the hub has. {remedy(path)}")


def remedy(path: Path) -> str:
    """What to do about a file that is not as it was on the hub."""
    for folder in path.parents:
        if folder.name.startswith(("models--", "datasets--")):
            return f"Remove {folder} (in the hub's cache, HF_HOME) and give the same command again: it is fetched anew."
    return "Fetch it again."


def _explained(error: Exception, name: str, cache: Path) -> OSError:
    """One error for whatever went wrong: the disk's, or that of a hub which gives nothing."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if disk := disk_error_of(error, cache):
        return disk
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__:  # says only that we asked
        error = error.__cause__
    reason = SIGNATURE.sub("", one_line(error)).strip().rstrip(".")
    return ConnectionError(f"the hub did not give {name} ({reason}).")


def _limited(request) -> None:
    """Give a request our time limits in place of the client's."""
    others = dict.fromkeys(("read", "write", "pool"), SILENT_SECONDS)
    request.extensions["timeout"] = {"connect": CONNECT_SECONDS, **others}

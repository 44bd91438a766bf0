"""Files of the Hugging Face Hub, fetched by its own client into its own cache (HF_HOME).

What is in the cache is used when the hub gives nothing: offline, or while it is down. Every request has a limit of
its own, since the client's wait for ever.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from alibi.faults import disk_error_of
from alibi.files import file_sha256

# Seconds in which a connection must open, and a server that was asked must send something.
CONNECT_SECONDS, SILENT_SECONDS = 4, 5
SIGNATURE = re.compile(r"(?<=\S)\?[^\s']*=[^\s']*")  # of an address that lets whoever has it read the file
SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(
    name: str,
    files: Sequence[str],
    kind: Literal["model", "dataset"] = "model",
    revision: str | None = None,
    but: Sequence[str] = (),
) -> Path:
    """The folder of a repository's newest commit in the hub's cache, what it lacks fetched first.

    Args:
        name: OWNER/NAME on the hub.
        files: globs of the files that are wanted; without a match of the first, the cache does not have it.
        revision: branch, tag or commit; None means main.
        but: globs of files that are not wanted.

    Raises:
        ConnectionError: the hub does not give it, and the cache does not have it.
        OSError: the disk with the cache does not take it.
        ValueError: a file was damaged on its way.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import enable_progress_bars

    how = {"repo_type": kind, "revision": revision, "allow_patterns": files, "ignore_patterns": but}
    with _quiet_client():
        try:
            known = Path(snapshot_download(name, **how, local_files_only=True))
        except Exception:  # not there, or not all of it; what is wrong otherwise is said by the next try
            known = None
            enable_progress_bars()  # what follows may take long
        try:
            return Path(snapshot_download(name, **how, etag_timeout=CONNECT_SECONDS))
        except Exception as error:  # offline, not there, not allowed, no space: each has a kind of its own
            if known is None or not any(known.glob(files[0])):
                called = f"hf:{name}" if kind == "model" else name
                raise _told(error, called, Path(constants.HF_HUB_CACHE)) from error
            return known


def check_sound(paths: Iterable[Path]) -> None:
    """Hold large files of the cache against their sha256, which is their name there.

    Raises:
        ValueError: one is damaged.
    """
    for path in paths:
        blob = path.resolve()
        if SHA256.fullmatch(blob.name) and file_sha256(blob) != blob.name:
            raise ValueError(f"{path} is damaged: its bytes are not those that the hub has. {remedy(path)}")


def remedy(path: Path) -> str:
    """What to do about a file that is not as it was on the hub."""
    for folder in path.parents:
        if folder.name.startswith(("models--", "datasets--")):
            return f"Remove {folder} (in the hub's cache, HF_HOME) and give the same command again: it is fetched anew."
    return "Fetch it again."


def _told(error: Exception, name: str, cache: Path) -> OSError:
    """One error for what went wrong: the disk's, or that of a hub which does not give."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if disk := disk_error_of(error, cache):
        return disk
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__:  # it says no more than that we asked
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    reason = SIGNATURE.sub("", lines[0]).strip().rstrip(".")
    return ConnectionError(f"the hub did not give {name} ({type(error).__name__}: {reason}).")


@contextmanager
def _quiet_client() -> Iterator[None]:
    """The hub's client with limits on its waiting, and without remarks that our message makes again."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    hooks = get_session().event_hooks["request"]
    if _limited not in hooks:
        hooks.append(_limited)
    for client in ("httpx", "httpx2"):  # a line for each request, with addresses that are signed
        logging.getLogger(client).setLevel(logging.WARNING)
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
        hub_logging.set_verbosity(before)


def _limited(request) -> None:
    """Of each request, the client's own limits where they are narrower, and never none."""
    limits = {"connect": CONNECT_SECONDS, "read": SILENT_SECONDS, "write": SILENT_SECONDS, "pool": SILENT_SECONDS}
    asked = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {what: min(asked.get(what) or most, most) for what, most in limits.items()}

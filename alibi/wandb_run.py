"""A run at wandb, opened and closed: under its own settings, and in bounded time whatever wandb's server does.

Each process of a run records its part on the disk, also where it sends it at once. wandb marks a part that its server
has with a file beside it; a part without that mark can be sent by `wandb sync`. The server appends, so parts must
reach it in order.

A leaf: imports nothing of this project.
"""

import os
import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

START_SECONDS = 30  # for the server to take a run
SYNC_SECONDS = 60  # for it to take what earlier processes recorded
FINISH_SECONDS = 30  # for it to take what is left when a run ends
MARK = ".wandb.synced"
# Of wandb's variables, those that say which run this is: tracking.* says so here, and what another job has in the
# environment does not. Who sends and where to (WANDB_API_KEY, WANDB_ENTITY, WANDB_BASE_URL ...) stays the user's.
OF_A_RUN = (
    "CONFIG_PATHS", "DIR", "FORK_FROM", "JOB_NAME", "JOB_TYPE", "LAUNCH", "LAUNCH_CONFIG_PATH", "MODE", "NAME", "NOTES",
    "PROGRAM", "PROJECT", "REINIT", "RESUME", "RESUME_FROM", "ROOT_DIR", "RUN_GROUP", "RUN_ID", "RUN_JOB_TYPE",
    "RUN_NAME", "RUN_NOTES", "RUN_TAGS", "SERVICE", "SWEEP_ID", "SWEEP_PARAM_PATH", "TAGS",
)  # fmt: skip
OF_AN_AGENT = ("SWEEP_ID", "SWEEP_PARAM_PATH", "RUN_ID", "PROJECT")


class Notes:
    """What wandb would print, kept, for the one thing in it that matters: that the server lacks something."""

    SIGNS = ("recorded offline", "Timed out finishing", "wandb sync")  # wandb says in a warning that a sync is needed

    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, text: str) -> None: ...

    def warning(self, text: str) -> None:
        self.said.append(text.removeprefix("wandb: ").removeprefix("WARNING "))

    error = warning

    def lost(self) -> str | None:
        """The first note so far of something that the server did not take."""
        return next((note for note in self.said if any(sign in note for sign in self.SIGNS)), None)


def open_run(mode: str, folder: Path, run_id: str | None, resend: bool, notes: Notes, **described):
    """A run that goes on, or a new one; offline where the server does not take it, which `notes` then has.

    Args:
        mode: online or offline.
        run_id: None for a new run. A new run that an agent of a wandb sweep starts gets the agent's id and project.
        resend: send first what earlier processes of the run recorded and the server may lack; none may be at work.
        described: project, group and config.
    """
    _forget_other_jobs(keep_agent=run_id is None)
    import wandb

    own_id = run_id or secrets.token_hex(4)

    def begin(mode: str):
        wandb.setup(wandb.Settings(silent=True))
        wandb.termsetup(wandb.Settings(silent=True), notes)
        return wandb.init(
            name=folder.name,
            id=own_id,
            resume="allow",
            dir=folder,
            mode=mode,
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=START_SECONDS, finish_timeout=FINISH_SECONDS
            ),
            **described,
        )

    if mode == "online":
        try:
            if run_id and resend:
                _send_parts(folder, run_id)
            return begin("online")
        except Exception as error:  # of many kinds
            notes.warning(f"{first_line(error)}; recorded offline")
            wandb.teardown()  # else the id counts as in use
    return begin("offline")


def _forget_other_jobs(keep_agent: bool) -> None:
    agent = keep_agent and {"WANDB_SWEEP_ID", "WANDB_RUN_ID"} <= set(os.environ)
    for name in OF_A_RUN:
        if not (agent and name in OF_AN_AGENT):
            os.environ.pop(f"WANDB_{name}", None)
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else the end waits for a server that is gone, once more


def _send_parts(folder: Path, run_id: str) -> None:
    """
    Raises:
        ConnectionError: the server did not take them all in time.
    """
    parts = [path for path in folder.glob(f"wandb/*run-*/run-{run_id}.wandb") if not path.with_suffix(MARK).exists()]
    if not parts:
        return
    # It writes a log into the folder that it runs in; -P: no code of that folder is imported.
    command = [sys.executable, "-P", "-m", "wandb", "sync", "--include-online", *(path.resolve() for path in parts)]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=folder, capture_output=True, timeout=SYNC_SECONDS)
    if not all(path.with_suffix(MARK).exists() for path in parts):
        raise ConnectionError("the server did not take what earlier processes recorded")


def mark_sent(run) -> None:
    """Mark the part of a run that ended with all of it at the server, as `wandb sync` does."""
    (Path(run.dir).parent / f"run-{run.id}.wandb").with_suffix(MARK).touch()


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"

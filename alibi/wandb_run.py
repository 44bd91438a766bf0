"""A wandb run, opened and closed with this project's settings and in bounded time, whatever wandb's server does.

Each process records its part of a run on disk, online as well. wandb marks a part that the server has with a file
beside it; `wandb sync` can send a part without that mark. The server appends, so parts must arrive in order.

A leaf beside `files`.
"""

import os
import re
import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from alibi.files import one_line

START_SECONDS = 30  # for the server to accept a run
SYNC_SECONDS = 60  # to send what earlier processes recorded
FINISH_SECONDS = 30  # to send the rest when a run ends
MARK = ".wandb.synced"
# Prefixes of environment variables that identify a run. Settings of tracking.* say so here, and what another job
# left in the environment must not. The account and the server (WANDB_API_KEY, WANDB_ENTITY, WANDB_BASE_URL ...) stay.
RUN_VARIABLES = re.compile(
    "WANDB_(CONFIG_PATHS|DIR|FORK_FROM|JOB_|LAUNCH|MODE|NAME|NOTES|PROGRAM|PROJECT|REINIT|RESUME|ROOT_DIR|RUN_|SERVICE"
    "|SWEEP_|TAGS)"
)
AGENT_VARIABLES = {"WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID", "WANDB_PROJECT"}
NOT_SENT = re.compile("recorded offline|Timed out finishing|wandb sync")


class Notes:
    """Takes what wandb would print.

    Attributes:
        lost: the first warning about something that the server did not accept.
    """

    lost: str | None = None

    def info(self, text: str) -> None: ...

    def warning(self, text: str) -> None:
        if not self.lost and NOT_SENT.search(text):
            self.lost = text.removeprefix("wandb: ").removeprefix("WARNING ")

    error = warning


def open_run(mode: str, folder: Path, run_id: str | None, resend: bool, notes: Notes, **more):
    """Continue or begin a run; offline if the server does not accept it, with the reason in `notes`.

    Args:
        mode: online or offline.
        run_id: None for a new run, which takes id and project of the agent if one of a wandb sweep starts it.
        resend: first send what earlier processes recorded and the server may lack; none of them may be running.
        more: project, group and config.
    """
    _forget_other_jobs(keep_agent=run_id is None)
    import wandb

    own_id = run_id or secrets.token_hex(4)
    settings = wandb.Settings(silent=True, console="off", init_timeout=START_SECONDS, finish_timeout=FINISH_SECONDS)

    def begin(mode: str):
        wandb.setup(wandb.Settings(silent=True))
        wandb.termsetup(wandb.Settings(silent=True), notes)
        return wandb.init(name=folder.name, id=own_id, resume="allow", dir=folder, mode=mode, settings=settings, **more)

    if mode == "online":
        try:
            if run_id and resend:
                _send_parts(folder, run_id)
            return begin("online")
        except Exception as error:  # of many kinds
            notes.warning(f"{one_line(error)}; recorded offline")
            wandb.teardown()  # otherwise wandb still counts the id as in use
    return begin("offline")


def _forget_other_jobs(keep_agent: bool) -> None:
    keep = AGENT_VARIABLES if keep_agent and {"WANDB_SWEEP_ID", "WANDB_RUN_ID"} <= os.environ.keys() else ()
    for name in [name for name in os.environ if RUN_VARIABLES.match(name) and name not in keep]:
        del os.environ[name]
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # otherwise the end waits once more for a lost server


def _send_parts(folder: Path, run_id: str) -> None:
    """
    Raises:
        ConnectionError: the server did not accept all parts in time.
    """
    parts = [path for path in folder.glob(f"wandb/*run-*/run-{run_id}.wandb") if not path.with_suffix(MARK).exists()]
    if not parts:
        return
    # cwd: it writes a log into its working folder. -P: no code is imported from there.
    command = [sys.executable, "-P", "-m", "wandb", "sync", "--include-online", *(path.resolve() for path in parts)]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=folder, capture_output=True, timeout=SYNC_SECONDS)
    if not all(path.with_suffix(MARK).exists() for path in parts):
        raise ConnectionError("the server did not take what earlier processes recorded")


def mark_sent(run) -> None:
    """Mark the part of a run that ended with everything at the server, as `wandb sync` does."""
    (Path(run.dir).parent / f"run-{run.id}.wandb").with_suffix(MARK).touch()

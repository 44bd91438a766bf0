"""A job of a sweep, in a process of its own. Knows Hydra."""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from alibi.config import plain_errors, run_from
from alibi.runs import all_settings, differences
from alibi.streams import keep_streams
from alibi.sweeps.outcomes import BEGUN, FAILED, SKIPPED, STOPPED, Outcome, Sweep
from alibi.training import train
from alibi.training.resume import LOCK
from alibi.training.stopping import stop_signals

MOST_BYTES = 64  # of TMPDIR, below which a fork server keeps its socket: its whole name may have 107
LOOK_SECONDS = 0.5  # how often a job looks whether the sweep is to stop
LEFTOVER_SECONDS = 60.0  # how long a job waits for the same run's last process to end


def is_sweep() -> bool:
    """Whether this is a job of a sweep. Under torchrun it is not: its processes share jobs, and stay what they are."""
    return HydraConfig.get().mode == RunMode.MULTIRUN and "RANK" not in os.environ


def run_job(composed: DictConfig) -> str:
    """Train the run of a sweep's job in a process of its own; returns what became of it, and raises nothing."""
    hydra = HydraConfig.get()
    sweep = Sweep(Path(hydra.callbacks.summary.folder))
    outcome = Outcome(hydra.job.num, list(hydra.overrides.task))
    if sweep.stopped_by():
        return _stopped_before(sweep, outcome)
    sweep.record(outcome)
    # Never fork: CUDA and OpenMP do not survive it. Set for good, as joblib's own method, which it set in its
    # workers, is told to a child that does not know it.
    method = "spawn" if len(os.fsencode(tempfile.gettempdir())) > MOST_BYTES else "forkserver"
    multiprocessing.set_start_method(method, force=True)
    multiprocessing.set_forkserver_preload([__name__])
    process = multiprocessing.Process(target=_work, args=(composed, sweep, outcome))
    try:
        process.start()
    except (
        EOFError,
        ConnectionError,
    ):  # Ctrl-C ended the server that forks it, which ignores signals only once it is up
        if not sweep.stopped_by():
            raise
        return _stopped_before(sweep, outcome)
    try:
        process.join()
    except BaseException as error:  # Ctrl-C, which reaches a launcher's worker too; or the queue wants the machine
        process.terminate()
        process.join()
        if not isinstance(error, KeyboardInterrupt):
            raise
    outcome = sweep.outcome(outcome.number)
    if outcome.what == BEGUN:
        code = process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        _failed(outcome, f"its process {how}{memory}; the same command goes on from its last checkpoint.")
        sweep.record(outcome)
    return outcome.what


def _stopped_before(sweep: Sweep, outcome: Outcome) -> str:
    outcome.what, outcome.reason = STOPPED, "before it began"
    sweep.record(outcome)
    return outcome.what


def _work(composed: DictConfig, sweep: Sweep, outcome: Outcome) -> None:
    """The job, in its own process."""
    keep_streams()
    # Until training takes the signals over; SIGUSR2 is how SLURM says that a job's time is nearly over.
    stops = stop_signals()
    for number in set(stops) - {signal.SIGINT}:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    signal.signal(signal.SIGUSR2, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    threading.Thread(target=_stop_with, args=(sweep,), daemon=True).start()
    limit = ""
    try:
        with plain_errors("train", outcome.overrides):
            config, run = run_from(composed)
            outcome.run = str(run)
            sweep.record(outcome)
            limit = " or train.max_hours" if config.train.max_hours else ""
            first, theirs = sweep.claim(run, outcome.number, asdict(config))
            if first == outcome.number:
                _wait_for_leftovers(run)
                outcome.what = train(config, run)
            elif conflict := _conflict(theirs, asdict(config)):
                _failed(outcome, f"job {first} trains in {run} too, with other settings: {conflict}")
            else:
                outcome.what, outcome.reason = SKIPPED, f"job {first} has the same settings"
    except SystemExit as end:
        if end.code in [128 + number for number in stops]:
            outcome.what, outcome.reason = STOPPED, f"by {signal.Signals(end.code - 128).name}{limit}"
        else:
            _failed(outcome, f"it ended with exit code {end.code}")
    except CompactHydraException as error:
        _failed(outcome, str(error))
    except BaseException as error:
        traceback.print_exc()
        _failed(outcome, f"{type(error).__name__}: {error}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sweep.record(outcome)


def _conflict(theirs: dict, own: dict) -> str:
    """How two jobs with one run folder differ, and what to do; nothing where they do not."""
    if changed := differences(theirs, own):
        return f"{'; '.join(changed)}. Leave run_dir out: each then has a folder of its own."
    if changed := differences(theirs, own, all_settings):
        return (
            f"{'; '.join(changed)}. They change no weights, so it is one run and one folder: give one job all that it "
            "is to do, or each a run_dir of its own."
        )
    return ""


def _wait_for_leftovers(run: Path) -> None:
    """A killed sweep's job may be at its last step and checkpoint still; what holds the run longer, train() refuses."""
    if (run / LOCK).exists():
        with suppress(Timeout), FileLock(run / LOCK, timeout=LEFTOVER_SECONDS):
            pass


def _failed(outcome: Outcome, reason: str) -> None:
    """Said at once too: it may be days to the end of the sweep."""
    outcome.what, outcome.reason = FAILED, reason
    with suppress(OSError):
        print(f"job {outcome.number} ({' '.join(outcome.overrides)}) failed: {reason}", file=sys.stderr, flush=True)


def _stop_with(sweep: Sweep) -> None:
    """Stop this process, with a checkpoint, when the sweep is told to or the process that waits for it is gone."""
    parent = multiprocessing.parent_process()
    while not wait([parent.sentinel], LOOK_SECONDS) and not sweep.stopped_by():
        pass
    os.kill(os.getpid(), signal.SIGTERM)

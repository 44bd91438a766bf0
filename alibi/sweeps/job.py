"""Jobs of a sweep: each is trained in a process of its own; what became of it is a file in the sweep's folder.

Knows Hydra.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path

from filelock import Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from alibi.config import plain_errors, run_from
from alibi.files import hold, write_atomically
from alibi.processes import stop_signals
from alibi.runs import differences
from alibi.streams import keep_streams
from alibi.training import train
from alibi.training.resume import LOCK

BEGUN, RAN, SKIPPED, FAILED, STOPPED = "begun", "ran", "skipped", "failed", "stopped"
LONGEST_TMPDIR = 64  # bytes: the fork server's socket lies below TMPDIR, and its whole path may have 107
POLL_SECONDS = 0.5  # how often a job checks whether the sweep is to stop
LEFTOVER_SECONDS = 60.0  # how long a job waits for a process that still trains the same run to end


@dataclass
class Outcome:
    """What became of a job: one of the words above, the reason, and its run folder if known."""

    number: int
    overrides: list[str]
    what: str = BEGUN
    reason: str = ""
    run: str = ""


@dataclass(frozen=True)
class Sweep:
    """What the processes of a sweep tell each other, as files in a folder of this sweep alone."""

    folder: Path

    def record(self, outcome: Outcome) -> None:
        write_atomically(self.folder / f"job-{outcome.number}.json", json.dumps(asdict(outcome)))

    def outcomes(self) -> list[Outcome]:
        found = [Outcome(**json.loads(path.read_text())) for path in self.folder.glob("job-*.json")]
        return sorted(found, key=lambda outcome: outcome.number)

    def claim(self, run: Path, number: int, settings: dict) -> tuple[int, dict]:
        """Claim a run folder for a job; returns number and settings of the job that has it, which may be another."""
        claim = self.folder / f"claim-{hashlib.sha256(os.fsencode(os.path.realpath(run))).hexdigest()}.json"
        with hold(self.folder / "claims.lock"):
            if not claim.exists():
                write_atomically(claim, json.dumps([number, settings]))
        return tuple(json.loads(claim.read_text()))

    def stop(self, number: int) -> None:
        write_atomically(self.folder / "stop", str(number))

    def stopped_by(self) -> int:
        """Number of the signal that stops the sweep, SIGTERM's if its leading process is gone; 0 to continue."""
        with suppress(FileNotFoundError):
            return int((self.folder / "stop").read_text())
        try:
            os.kill(int((self.folder / "leader").read_text()), 0)
        except ProcessLookupError:
            return signal.SIGTERM
        except OSError:  # no leader; or its number belongs to another user's process now
            pass
        return 0

    def lead(self) -> None:
        """Make this process the leader of the sweep: its jobs, on the same machine, stop when it is gone."""
        (self.folder / "leader").write_text(str(os.getpid()))


def summary_text(outcomes: list[Outcome]) -> str:
    """How many jobs ran, were skipped, failed or were stopped, and a line for each."""
    count = {what: sum(o.what == what for o in outcomes) for what in (RAN, SKIPPED, FAILED, STOPPED, BEGUN)}
    head = ", ".join(f"{number} {what}" for what, number in count.items() if number)
    common = set.intersection(*(set(o.overrides) for o in outcomes)) if len(outcomes) > 1 else set()
    lines = [f"\nsweep      {len(outcomes)} jobs: {head or 'none begun'}"]
    for o in outcomes:
        own = " ".join(value for value in o.overrides if value not in common)
        reason = o.reason or ("lost: its launcher's process ended before it" if o.what == BEGUN else "")
        lines.append("  ".join(part for part in (f"  {o.what:7}  {o.number:3}", own, o.run, reason) if part))
    if count[FAILED] + count[STOPPED] + count[BEGUN]:
        lines.append("The same command skips what is finished and goes on with the rest.")
    return "\n".join(lines)


def is_sweep() -> bool:
    """Whether this is a job of a sweep. Not under torchrun, whose processes share each job and run it themselves."""
    return HydraConfig.get().mode == RunMode.MULTIRUN and "RANK" not in os.environ


def run_job(composed: DictConfig) -> str:
    """Train the run of a sweep's job in a child process; returns what became of it, and raises nothing."""
    hydra = HydraConfig.get()
    sweep = Sweep(Path(hydra.callbacks.summary.folder))
    outcome = Outcome(hydra.job.num, list(hydra.overrides.task))
    if sweep.stopped_by():
        return _end(sweep, outcome, STOPPED, "before it began")
    sweep.record(outcome)
    # CUDA and OpenMP do not survive a fork. Set globally, because joblib sets a method of its own in its workers.
    method = "spawn" if len(os.fsencode(tempfile.gettempdir())) > LONGEST_TMPDIR else "forkserver"
    multiprocessing.set_start_method(method, force=True)
    multiprocessing.set_forkserver_preload([__name__])
    process = multiprocessing.Process(target=_work, args=(composed, sweep, outcome))
    try:
        with suppress(KeyboardInterrupt, EOFError, ConnectionError):  # Ctrl-C reaches launchers and fork servers too
            process.start()
            process.join()
    finally:  # also if a cluster preempts the job
        if process.pid:
            process.terminate()
            process.join()
    outcome = next(one for one in sweep.outcomes() if one.number == outcome.number)
    if outcome.what != BEGUN:
        return outcome.what
    if not process.pid:
        return _end(sweep, outcome, STOPPED if sweep.stopped_by() else FAILED, "before it began")
    code = process.exitcode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    memory = " (out of memory?)" if code == -signal.SIGKILL else ""
    return _end(sweep, outcome, FAILED, f"its process {how}{memory}; the same command goes on from its checkpoint.")


def _end(sweep: Sweep, outcome: Outcome, what: str, reason: str) -> str:
    """Record what became of a job. A failure is printed at once, as the sweep may go on for days."""
    outcome.what, outcome.reason = what, reason
    sweep.record(outcome)
    if what == FAILED:
        print(f"job {outcome.number} ({' '.join(outcome.overrides)}) failed: {reason}", file=sys.stderr, flush=True)
    return what


def _work(composed: DictConfig, sweep: Sweep, outcome: Outcome) -> None:
    """The job, in its own process."""
    keep_streams()
    for number in set(stop_signals()) - {signal.SIGINT}:  # until training handles them
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    # SLURM sends SIGUSR2 shortly before a job's time is over.
    signal.signal(signal.SIGUSR2, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    threading.Thread(target=_stop_with, args=(sweep,), daemon=True).start()
    try:
        with plain_errors("train", outcome.overrides):
            what, reason = _train(composed, sweep, outcome)
    except SystemExit as end:
        limit = " or train.max_hours" if composed.train.max_hours else ""
        what, reason = STOPPED, f"by {signal.Signals(end.code - 128).name}{limit}"
    except CompactHydraException as error:
        what, reason = FAILED, str(error)
    except BaseException as error:
        traceback.print_exc()
        what, reason = FAILED, f"{type(error).__name__}: {error}"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end(sweep, outcome, what, reason)


def _train(composed: DictConfig, sweep: Sweep, outcome: Outcome) -> tuple[str, str]:
    """Train unless another job of the sweep has the same run; returns what became of the job, and why."""
    config, run = run_from(composed, outcome.overrides)
    outcome.run = str(run)
    sweep.record(outcome)
    first, theirs = sweep.claim(run, outcome.number, asdict(config))
    if first == outcome.number:
        with suppress(Timeout, OSError), hold(run / LOCK, LEFTOVER_SECONDS):
            pass  # a job of a killed sweep may still be writing its checkpoint
        return train(config, run), ""
    if changed := differences(theirs, asdict(config), weights_only=False):
        told = f"job {first} trains in {run} too, with other settings: {'; '.join(changed)}"
        return FAILED, f"{told}. Give each job a run_dir of its own."
    return SKIPPED, f"job {first} has the same settings"


def _stop_with(sweep: Sweep) -> None:
    """Stop this process, with a checkpoint, when the sweep stops or the parent process is gone."""
    parent = multiprocessing.parent_process()
    while not wait([parent.sentinel], POLL_SECONDS) and not sweep.stopped_by():
        pass
    os.kill(os.getpid(), signal.SIGTERM)

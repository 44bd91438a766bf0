"""Sweeps: each job in a process of its own, and at the end the list of what became of all.

Hydra's launchers end a sweep, or lose count, when a job's process is killed or exits: joblib takes all its workers
down with one, submitit stops listening at the first. So a job is trained in a child of whatever process the launcher
gives it, and what a job ends with, the launcher sees as a success; the truth is a small file in the sweep's folder
(hydra.sweep.dir), which all processes share, and which Hydra's callback at the end, `Summary`, reads. Knows Hydra.
"""

import atexit
import hashlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from alibi.config import plain_errors, run_from
from alibi.runs import write_atomically
from alibi.training import train
from alibi.training.resume import LOCK

BEGUN, RAN, SKIPPED, FAILED, STOPPED = "begun", "ran", "skipped", "failed", "stopped"
LOOK_SECONDS = 0.5  # how often a job looks whether the sweep is to stop
LEFTOVER_SECONDS = 60.0  # how long a job waits for the same run's last process to end


@dataclass
class Outcome:
    """What became of a job: one of the words above, why, and its run folder where that is known."""

    number: int
    overrides: list[str]
    what: str = BEGUN
    reason: str = ""
    run: str = ""


@dataclass(frozen=True)
class Sweep:
    """What the processes of a sweep tell each other, by files in its folder."""

    folder: Path

    def record(self, outcome: Outcome) -> None:
        (self.folder / "jobs").mkdir(exist_ok=True)
        write_atomically(self.folder / "jobs" / f"{outcome.number}.json", json.dumps(asdict(outcome)))

    def outcomes(self) -> list[Outcome]:
        found = [Outcome(**json.loads(p.read_text())) for p in (self.folder / "jobs").glob("*.json")]
        return sorted(found, key=lambda outcome: outcome.number)

    def outcome(self, number: int) -> Outcome:
        return Outcome(**json.loads((self.folder / "jobs" / f"{number}.json").read_text()))

    def claim(self, run: Path, number: int) -> int:
        """Number of the job that has the run folder: this one, or one with equal settings that came first."""
        claim = self.folder / f"claim-{hashlib.sha256(str(run.absolute()).encode()).hexdigest()}"
        try:
            with open(claim, "x") as file:
                file.write(str(number))
            return number
        except FileExistsError:
            return int(claim.read_text() or -1)

    def stop(self, number: int) -> None:
        write_atomically(self.folder / "stop", str(number))

    def stopped_by(self) -> int:
        """Number of the signal that the sweep is to stop by; SIGTERM's where its first process is gone, 0 to go on."""
        try:
            return int((self.folder / "stop").read_text())
        except FileNotFoundError:
            return 0 if self._led() else signal.SIGTERM

    def lead(self) -> None:
        """Say which process leads the sweep; the jobs on this machine stop with it."""
        (self.folder / "leader").write_text(f"{socket.gethostname()} {os.getpid()}")

    def _led(self) -> bool:
        if not (self.folder / "leader").exists():
            return True
        host, process = (self.folder / "leader").read_text().split()
        try:
            if host == socket.gethostname():
                os.kill(int(process), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def is_sweep() -> bool:
    """Whether this is a job of a sweep. Under torchrun it is not: its processes share jobs, and stay what they are."""
    return HydraConfig.get().mode == RunMode.MULTIRUN and "RANK" not in os.environ


def run_job(composed: DictConfig) -> str:
    """Train the run of a sweep's job in a process of its own; returns what became of it, and raises nothing."""
    hydra = HydraConfig.get()
    sweep = Sweep(Path(hydra.sweep.dir))
    outcome = Outcome(hydra.job.num, list(hydra.overrides.task))
    if sweep.stopped_by():
        outcome.what, outcome.reason = STOPPED, "before it began"
        sweep.record(outcome)
        return outcome.what
    sweep.record(outcome)
    # Never fork: CUDA and OpenMP do not survive it. Set for good, as joblib's own method, which it set in its
    # workers, is told to a child that does not know it.
    multiprocessing.set_start_method("forkserver", force=True)
    multiprocessing.set_forkserver_preload([__name__])
    process = multiprocessing.Process(target=_work, args=(composed, sweep, outcome))
    process.start()
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


def _work(composed: DictConfig, sweep: Sweep, outcome: Outcome) -> None:
    """The job, in its own process."""
    # Until training takes the signals over; SIGUSR2 is how SLURM says that a job's time is nearly over.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    signal.signal(signal.SIGUSR2, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    threading.Thread(target=_stop_with, args=(sweep,), daemon=True).start()
    limit = ""
    try:
        with plain_errors():
            config, run = run_from(composed)
            outcome.run = str(run)
            limit = " or train.max_hours" if config.train.max_hours else ""
            first = sweep.claim(run, outcome.number)
            if first == outcome.number:
                _wait_for_leftovers(run)
                outcome.what = train(config, run)
            else:
                outcome.what, outcome.reason = SKIPPED, f"job {first} has the same settings"
    except SystemExit as end:
        if end.code in (128 + signal.SIGTERM, 128 + signal.SIGINT):
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


def _wait_for_leftovers(run: Path) -> None:
    """A killed sweep's job may be at its last step and checkpoint still; what holds the run longer, train() refuses."""
    if (run / LOCK).exists():
        with suppress(Timeout), FileLock(run / LOCK, timeout=LEFTOVER_SECONDS):
            pass


def _failed(outcome: Outcome, reason: str) -> None:
    """Said at once too: it may be days to the end of the sweep."""
    outcome.what, outcome.reason = FAILED, reason
    print(f"job {outcome.number} ({' '.join(outcome.overrides)}) failed: {reason}", file=sys.stderr, flush=True)


def _stop_with(sweep: Sweep) -> None:
    """Stop this process, with a checkpoint, when the sweep is told to or the process that waits for it is gone."""
    parent = multiprocessing.parent_process()
    while not wait([parent.sentinel], LOOK_SECONDS) and not sweep.stopped_by():
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class Summary(Callback):
    """Hydra's callback around a sweep: SIGTERM and Ctrl-C stop its jobs, and the list of them is its last word.

    Exit code 1 if a job failed, 128 + the signal's number if the sweep, or else a job, was stopped.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        if "RANK" in os.environ:
            return
        folder = Path(config.hydra.sweep.dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        # The launchers' processes compose the settings anew: one folder for all, and no resolver that they lack.
        with read_write(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={json.dumps(str(folder))}")
        self.sweep, self.told = Sweep(folder), False
        if "Slurm" not in OmegaConf.select(config, "hydra.launcher._target_"):  # whose jobs outlive a login shell
            self.sweep.lead()
        atexit.register(self._tell)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        """Signal handler."""
        if number == signal.SIGINT and (self.sweep.folder / "stop").exists():
            for process in multiprocessing.active_children():
                process.kill()
            raise KeyboardInterrupt
        self.sweep.stop(number)
        again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
        os.write(
            2, f"\n{signal.Signals(number).name}: stopping the sweep after the steps in progress{again}\n".encode()
        )

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        if "RANK" in os.environ:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        found = {outcome.what for outcome in self.sweep.outcomes()}
        self._tell()
        number = self.sweep.stopped_by()
        if not number and found & {FAILED, BEGUN}:
            raise SystemExit(1)
        if number or STOPPED in found:
            raise SystemExit(128 + (number or signal.SIGTERM))

    def _tell(self) -> None:
        """Once; at the end of the process where the launcher itself failed and Hydra calls no on_multirun_end."""
        if not self.told:
            self.told = True
            print(summary_text(self.sweep.outcomes()), flush=True)


def summary_text(outcomes: list[Outcome]) -> str:
    """How many jobs ran, were skipped, failed, were stopped; and a line for each."""
    count = {what: sum(o.what == what for o in outcomes) for what in (RAN, SKIPPED, FAILED, STOPPED, BEGUN)}
    head = ", ".join(f"{number} {what}" for what, number in count.items() if number)
    common = set.intersection(*(set(o.overrides) for o in outcomes)) if len(outcomes) > 1 else set()
    lines = [f"\nsweep      {len(outcomes)} jobs: {head or 'none begun'}"]
    for o in outcomes:
        own = " ".join(value for value in o.overrides if value not in common)
        reason = o.reason or ("no word of its end: its launcher's process was lost" if o.what == BEGUN else "")
        lines.append("  ".join(part for part in (f"  {o.what:7}  {o.number:3}", own, o.run, reason) if part))
    if count[FAILED] + count[STOPPED] + count[BEGUN]:
        lines.append("The same command skips what is finished and goes on with the rest.")
    return "\n".join(lines)

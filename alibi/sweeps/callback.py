"""The callback around a sweep. Knows Hydra."""

import atexit
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from alibi.config import escaped, quoted
from alibi.paths import expanded
from alibi.processes import stop_signals, tell_now
from alibi.sweeps.job import BEGUN, FAILED, STOPPED, Sweep, summary_text


class Summary(Callback):
    """Hydra's callback around a sweep: it passes signals on to the jobs, and prints their list at the end.

    Exit code 1 if a job failed or none began, 128 + the signal's number if the sweep or a job was stopped.

    Args:
        folder: of this sweep, created here; Hydra passes it to the processes of the launchers.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        if "RANK" in os.environ:
            return
        try:
            place = Path(expanded(config.hydra.sweep.dir)).absolute()
            place.mkdir(parents=True, exist_ok=True)
            self.sweep = Sweep(Path(tempfile.mkdtemp(prefix=".sweep-", dir=place)))
        except (OSError, ValueError) as error:  # Hydra would only warn
            raise SystemExit(f"hydra.sweep.dir: {error}") from error
        with read_write(config):
            config.hydra.sweep.dir = escaped(place)
            # The launchers' processes compose the settings again: these overrides give all of them the same folders.
            for name, path in (("sweep.dir", place), ("callbacks.summary.folder", self.sweep.folder)):
                config.hydra.overrides.hydra.append(f"hydra.{name}={quoted(path)}")
        if re.search("Joblib|Local", config.hydra.launcher._target_):  # not of Slurm's jobs: they outlive a login shell
            self.sweep.lead()
        atexit.register(self._end)
        for number in stop_signals():
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        """Signal handler."""
        if not (self.sweep.folder / "stop").exists():
            self.sweep.stop(number)
            again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
            tell_now(f"\n{signal.Signals(number).name}: stopping the sweep after the steps in progress{again}\n")
        elif number == signal.SIGINT:
            for process in multiprocessing.active_children():
                process.kill()
            raise KeyboardInterrupt

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        if "RANK" in os.environ:
            return
        atexit.unregister(self._end)
        outcomes, number = self.sweep.outcomes(), self.sweep.stopped_by()
        found = {outcome.what for outcome in outcomes}
        print(summary_text(outcomes), flush=True)
        shutil.rmtree(self.sweep.folder, ignore_errors=True)
        if not number and (not found or found & {FAILED, BEGUN}):
            raise SystemExit(1)
        if number or STOPPED in found:
            raise SystemExit(128 + (number or signal.SIGTERM))

    def _end(self) -> None:
        """At exit, if the launcher itself failed: Hydra does not call on_multirun_end then."""
        if outcomes := self.sweep.outcomes():
            print(summary_text(outcomes), flush=True)
        else:
            shutil.rmtree(self.sweep.folder, ignore_errors=True)

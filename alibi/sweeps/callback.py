"""The callback around a sweep. Knows Hydra."""

import atexit
import multiprocessing
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from alibi.config import escaped, quoted
from alibi.paths import expanded
from alibi.streams import tell_now
from alibi.sweeps.outcomes import BEGUN, FAILED, STOPPED, Sweep, summary_text
from alibi.training.stopping import stop_signals


class Summary(Callback):
    """Hydra's callback around a sweep: a signal stops its jobs, and the list of them is its last word.

    Exit code 1 if a job failed or none began, 128 + the signal's number if the sweep, or else a job, was stopped.

    Args:
        folder: of this sweep; Hydra gives it to the processes of the launchers, and here it is made.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        if "RANK" in os.environ:
            return
        try:
            place = Path(expanded(config.hydra.sweep.dir)).absolute()
            place.mkdir(parents=True, exist_ok=True)
            self.sweep, self.told = Sweep.begin(place), False
        except (OSError, ValueError) as error:  # of which Hydra would make a warning
            raise SystemExit(f"hydra.sweep.dir: {error}") from error
        with read_write(config):
            config.hydra.sweep.dir = escaped(place)
            # The launchers' processes compose the settings anew: one folder for all, and no resolver that they lack.
            for name, path in (("sweep.dir", place), ("callbacks.summary.folder", self.sweep.folder)):
                config.hydra.overrides.hydra.append(f"hydra.{name}={quoted(path)}")
        if "Slurm" not in OmegaConf.select(config, "hydra.launcher._target_"):  # whose jobs outlive a login shell
            self.sweep.lead()
        atexit.register(self._tell_at_exit)
        for number in stop_signals():
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        """Signal handler."""
        if (self.sweep.folder / "stop").exists():
            if number != signal.SIGINT:
                return
            for process in multiprocessing.active_children():
                process.kill()
            raise KeyboardInterrupt
        self.sweep.stop(number)
        again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
        tell_now(f"\n{signal.Signals(number).name}: stopping the sweep after the steps in progress{again}\n")

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        if "RANK" in os.environ:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        found = {outcome.what for outcome in self.sweep.outcomes()}
        number = self.sweep.stopped_by()
        with suppress(OSError):
            self._tell()
        shutil.rmtree(self.sweep.folder, ignore_errors=True)
        if not number and (not found or found & {FAILED, BEGUN}):
            raise SystemExit(1)
        if number or STOPPED in found:
            raise SystemExit(128 + (number or signal.SIGTERM))

    def _tell_at_exit(self) -> None:
        """Where the launcher itself failed Hydra calls no on_multirun_end; before any job, its message is all."""
        if self.sweep.outcomes():
            self._tell()
        elif not self.told:
            shutil.rmtree(self.sweep.folder, ignore_errors=True)

    def _tell(self) -> None:
        """Once."""
        if not self.told:
            self.told = True
            print(summary_text(self.sweep.outcomes()), flush=True)

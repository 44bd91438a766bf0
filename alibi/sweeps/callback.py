"""The callback around a sweep. Knows Hydra."""

import atexit
import json
import multiprocessing
import os
import signal
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from alibi.sweeps.outcomes import BEGUN, FAILED, STOPPED, Sweep, summary_text


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
        if (self.sweep.folder / "stop").exists():
            if number != signal.SIGINT:
                return
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

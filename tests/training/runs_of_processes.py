"""What torchrun starts in test_processes.py: runs one after the other, in the same processes.

    torchrun runs_of_processes.py FILE [RANK:STEP ...]

FILE is a pickle of [(RunConfig, folder), ...]. In attempt number i, the process of the i-th RANK kills itself in the
middle of the gradient of update STEP, in whichever run gets there first.
"""

import os
import pickle
import signal
import sys
from pathlib import Path

from alibi.processes import one_message
from alibi.training import train
from alibi.training.parallel import average_gradients
from alibi.training.update import Updater

file, *kills = sys.argv[1:]
whole = Updater.update
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
rank, last_step = kills[attempt].split(":") if attempt < len(kills) else (None, None)


def update(self, step, *blocks):
    if str(step) == last_step:
        average_gradients(self.model, self.total_nats, now=False)
        self._practise()
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, step, *blocks)


if os.environ["RANK"] == rank:
    Updater.update = update
with one_message():
    for config, folder in pickle.loads(Path(file).read_bytes()):
        train(config, folder)

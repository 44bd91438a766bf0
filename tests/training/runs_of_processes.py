"""Runs by many processes, as torchrun starts them, but forked from one that has imported everything.

    python runs_of_processes.py FILE

FILE is a pickle of [(number of processes, RunConfig, folder, kills), ...], and `kills` a tuple of (rank, step): in
attempt number i, the process of the i-th rank kills itself in the middle of the gradient of that update, and torchrun
starts all of them again.
"""

import multiprocessing
import os
import pickle
import signal
import sys
from pathlib import Path

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from alibi.processes import one_message
from alibi.training import RunConfig, train
from alibi.training.parallel import average_gradients
from alibi.training.update import Updater

whole = Updater.update


def work(config: RunConfig, folder: Path, kills: tuple) -> None:
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    rank, last_step = kills[attempt] if attempt < len(kills) else (None, None)

    def update(self, step, *blocks):
        if step == last_step and int(os.environ["RANK"]) == rank:
            average_gradients(self.model, self.total_nats, now=False)
            self.trial(blocks[0][:1])
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, step, *blocks)

    Updater.update = update
    with one_message():
        train(config, folder)


if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["alibi.training", "torch.distributed.fsdp"])
    for number, config, folder, kills in pickle.loads(Path(sys.argv[1]).read_bytes()):
        launch = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=number, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
            max_restarts=len(kills), start_method="forkserver",
        )  # fmt: skip
        elastic_launch(launch, work)(config, folder, kills)

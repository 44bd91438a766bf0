"""One process or many: who this one is, what all of them tell each other, and how they end together.

A leaf: imports nothing of this project.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
CPU = torch.device("cpu")
# How long one waits for another that is at work: the longest is a text made ready on another node.
PATIENCE = timedelta(minutes=30)
# torchrun ends all when one has ended: those that are silent let the one that speaks be the first.
SILENT_SECONDS = 5


class FailedElsewhere(Exception):
    """Another process failed, and says why; this one ends without a word."""


class LostProcess(ConnectionError):
    """Another process has ended without a word."""


@dataclass(frozen=True)
class Processes:
    """
    Attributes:
        device: of this process.
    """

    rank: int = 0
    number: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """The process that writes and prints."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        return self.rank, self.number

    def sum(self, values: list[float]) -> list[float]:
        """Each value summed over all processes, in float64."""
        if self.number == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def least(self, value: int) -> int:
        """The smallest value that any process has."""
        if self.number == 1:
            return value
        box = torch.tensor(value, device=self.device)
        dist.all_reduce(box, dist.ReduceOp.MIN)
        return int(box)

    def greatest(self, value: int) -> int:
        """The largest value that any process has."""
        return -self.least(-value)

    def gather(self, value: T) -> list[T]:
        """What every process has, by rank."""
        values = [value] * self.number
        if self.number > 1:
            dist.all_gather_object(values, value)
        return values

    def from_main(self, value: T) -> T:
        """What the main process has."""
        box = [value]
        if self.number > 1:
            dist.broadcast_object_list(box, 0)
        return box[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done inside succeeds in all processes or ends all of them: none waits for one that failed.

        For what each does by itself, or the main process alone; nothing inside may need the others.

        Raises:
            FailedElsewhere: in a process that did not fail itself.
        """
        failure = None
        try:
            yield
        except Exception as error:
            failure = error
        failures = self.sum([float(failure is not None)])[0]
        if failure is not None:
            raise failure
        if failures:
            raise FailedElsewhere


ALONE = Processes()


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be the only one.

    Raises:
        LostProcess: another one has ended, and this one cannot go on.
    """
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number == 1:
        yield Processes(device=device)
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE, device_id=device if on_gpu else None)
    # After an error the group is left to the end of the process: to take it down may need the others.
    try:
        yield Processes(dist.get_rank(), number, device)
    except RuntimeError as error:
        if not _is_of_the_connection(error):
            raise
        raise LostProcess(
            f"process {dist.get_rank()} of {number} cannot go on: another one has ended, and the log of its node says "
            "why. Give the same command again, or torchrun --max-restarts=N, which does so by itself."
        ) from error
    except SystemExit:  # all of them stop, at the same step
        dist.destroy_process_group()
        raise
    else:
        dist.destroy_process_group()


def _is_of_the_connection(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


@contextmanager
def one_message() -> Iterator[None]:
    """Of all processes of a job, the first that fails says why; the others end without a word, with exit code 1."""
    try:
        yield
        return
    except FailedElsewhere:
        pass
    except Exception:
        if _is_first_to_fail():
            raise
    time.sleep(SILENT_SECONDS)
    raise SystemExit(1)


def _is_first_to_fail() -> bool:
    """Whether no other process of this job, in this attempt, has failed before; alone, it is always the first."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=10)))
        return store.add(f"failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", 1) == 1
    except dist.DistError:  # torchrun itself is gone
        return True

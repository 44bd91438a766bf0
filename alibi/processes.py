"""One process or many: who this one is, what all of them tell each other, and how they end together.

A leaf: imports nothing of this project.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

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

    def say(self, text: str) -> None:
        """Print in the main process."""
        if self.is_main:
            print(text)

    def on_main(self, function: Callable[..., T], *args: object, share: bool = True) -> T | None:
        """Call `function` in the main process alone. All processes call this; if the function fails, all fail.

        Args:
            function: must not communicate with the other processes.
            share: give its result, which is pickled, to all processes; otherwise the others get None.

        Raises:
            FailedElsewhere: in the other processes, when the function failed.
        """
        if self.number == 1:
            return function(*args)
        result = failure = None
        if self.is_main:
            try:
                result = function(*args)
            except Exception as error:
                failure = error
        shared, failed = self.from_main((result if share else None, failure is not None))
        if failure is not None:
            raise failure
        if failed:
            raise FailedElsewhere
        return shared if share else result

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run the block in every process; if it fails in one, all fail, so that none waits for a process that ended.

        Nothing in the block may communicate with the other processes.

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
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(device=device)
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    store, rank, number = _meeting_point()
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=number,
        timeout=PATIENCE,
        device_id=device if on_gpu else None,
    )
    # After an error the group is left to the end of the process: to take it down may need the others.
    try:
        yield Processes(rank, number, device)
    except RuntimeError as error:
        if not _is_of_the_connection(error):
            raise
        raise LostProcess(
            f"process {rank} of {number} cannot go on: another one has ended, and the log of its node says "
            "why. Give the same command again, or torchrun --max-restarts=N, which does so by itself."
        ) from error
    except SystemExit:  # all of them stop, at the same step
        dist.destroy_process_group()
        raise
    else:
        dist.destroy_process_group()


def _meeting_point() -> tuple[dist.Store, int, int]:
    """Where processes learn each other's addresses; rank and number of them.

    torchrun's store outlives the processes that it starts again, and with it the addresses of dead ones
    (pytorch issue 135712); its count of restarts is another one on each node. So process 0 names every
    attempt anew, and gives the name to all that ask now: one that is dead never answers to it.
    """
    store, rank, number = next(dist.rendezvous("env://", timeout=PATIENCE))
    name = uuid4().hex
    if rank:
        store.set(f"asks/{rank}", name)
        name = store.get(f"told/{name}").decode()
        store.add(f"{name}/came", 1)
    while rank == 0 and store.add(f"{name}/came", 0) < number - 1:
        for asking in (f"asks/{other}" for other in range(1, number)):
            if store.check([asking]):
                store.set(f"told/{store.get(asking).decode()}", name)
        time.sleep(0.02)
    return dist.PrefixStore(name, store), rank, number


def _is_of_the_connection(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


@contextmanager
def one_message() -> Iterator[None]:
    """Of all processes of a node, the first that fails says why; the others end without a word, with exit code 1."""
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
    """Whether no other process of this node, in this attempt, has failed before; alone, it is always the first."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=10)))
        attempt = f"{socket.gethostname()}/{os.getppid()}/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}"
        return store.add(f"failed/{attempt}", 1) == 1
    except dist.DistError:  # torchrun itself is gone
        return True


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end what is at work as Ctrl-C does, by a KeyboardInterrupt that holds the signal's number."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""One process or several: rank, collective operations, signals that ask for a stop, and how all end together.

A leaf: imports nothing of this project.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from tqdm import tqdm

T = TypeVar("T")
CPU = torch.device("cpu")
TIMEOUT = timedelta(minutes=30)  # the longest wait is for another node that prepares a text
# torchrun ends all processes when the first one ends; the others wait this long, so that the one that prints its
# error ends first.
SILENT_SECONDS = 5


class FailedElsewhere(Exception):
    """Another process failed and prints why; this one ends silently."""


@dataclass(frozen=True)
class Processes:
    """The processes of a command, as seen by one of them.

    Attributes:
        rank: of this process, from 0.
        number: how many there are.
        device: of this process.
    """

    rank: int = 0
    number: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        return self.rank, self.number

    def sum(self, values: list[float]) -> list[float]:
        """Each value summed over all processes, in float64."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def least(self, value: int) -> int:
        """The minimum over all processes."""
        return int(self._reduce([value], dist.ReduceOp.MIN)[0])

    def greatest(self, value: int) -> int:
        """The maximum over all processes."""
        return -self.least(-value)

    def _reduce(self, values: list[float], operation: dist.ReduceOp) -> list[float]:
        if self.number == 1:
            return values
        box = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(box, operation)
        return box.tolist()

    def gather(self, value: T) -> list[T]:
        """The value of every process, by rank."""
        values = [value] * self.number
        if self.number > 1:
            dist.all_gather_object(values, value)
        return values

    def say(self, text: str) -> None:
        """Print in the main process."""
        if self.is_main:
            print(text)

    def progress_bar(self, total: int, unit: str, done: int = 0, title: str | None = None, leave: bool = True) -> tqdm:
        """A bar in the main process: on a terminal, or else a line every half minute, which keeps log files short."""
        seconds = 0.1 if sys.stderr.isatty() else 30.0
        return tqdm(
            total=total, initial=done, unit=unit, unit_scale=total >= 10_000, desc=title, leave=leave,
            disable=not self.is_main, mininterval=seconds, maxinterval=2 * seconds,
        )  # fmt: skip

    def on_main(self, function: Callable[..., T], *args: object, share: bool = True) -> T | None:
        """Call `function` in the main process alone. All processes call this; if the function fails, all fail.

        Args:
            function: must not communicate with the other processes.
            share: return its result, which is pickled, in all processes; otherwise the others get None.

        Raises:
            FailedElsewhere: in the other processes, when the function failed.
        """
        with self.together():
            box = [function(*args) if self.is_main else None]
        if share and self.number > 1:
            dist.broadcast_object_list(box, 0)
        return box[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run the block in every process; if it fails in one, all fail, so that none waits for a process that ended.

        Nothing in the block may communicate with the other processes.

        Raises:
            FailedElsewhere: in a process that did not fail itself.
        """
        try:
            yield
        except Exception:
            self.greatest(1)
            raise
        if self.greatest(0):
            raise FailedElsewhere


def duration(seconds: float) -> str:
    """45 s, 12 min, 53 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


ALONE = Processes()


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be the only one.

    Raises:
        ConnectionError: another process has ended, and this one cannot continue.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(device=device)
        return
    backend, gpu = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    if gpu:
        torch.cuda.set_device(gpu)
    store, rank, number = _meeting_point()
    dist.init_process_group(backend, store=store, rank=rank, world_size=number, timeout=TIMEOUT, device_id=gpu)
    # After an error the group is not destroyed, because that may wait for processes that are gone.
    try:
        yield Processes(rank, number, device)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        why = f"process {rank} of {number} cannot go on: another one has ended, and the log of its node says why"
        raise ConnectionError(f"{why}. Run the same command again, or use torchrun --max-restarts=N.") from error
    except SystemExit:  # all processes stop at the same step
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _meeting_point() -> tuple[dist.Store, int, int]:
    """The store in which processes find each other's addresses, the rank of this process and their number.

    torchrun's store outlives the processes that it restarts, so it still holds addresses of dead ones (pytorch issue
    135712), and each node counts restarts by itself. So process 0 chooses a new name for every attempt and gives it
    to the processes that ask for it now; dead ones do not answer.
    """
    store, rank, number = next(dist.rendezvous("env://", timeout=TIMEOUT))
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


@contextmanager
def one_message() -> Iterator[None]:
    """Only the first process of a node that fails raises its error; the others exit silently with code 1."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, FailedElsewhere) and _is_first_to_fail():
            raise
        time.sleep(SILENT_SECONDS)
        raise SystemExit(1) from None


def _is_first_to_fail() -> bool:
    """Whether no other process of this node has failed in this attempt of torchrun."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=10)))
        attempt = f"{socket.gethostname()}/{os.getppid()}/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}"
        return store.add(f"failed/{attempt}", 1) == 1
    except dist.DistError:  # torchrun itself is gone
        return True


def stop_signals() -> list[int]:
    """The signals that ask for a stop; without SIGHUP if it is ignored already, as under nohup."""
    stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if stays else [signal.SIGHUP])]


@contextmanager
def handling(numbers: Sequence[int], handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle these signals within the block; outside the main thread, which alone receives signals, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        numbers = ()
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def tell_now(text: str) -> None:
    """Write to stderr from a signal handler, which may interrupt a print."""
    with suppress(OSError):
        os.write(2, text.encode())


def interruptible() -> AbstractContextManager[None]:
    """Let SIGTERM interrupt the block as Ctrl-C does: by a KeyboardInterrupt, which holds the signal's number."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    return handling([signal.SIGTERM], interrupt)

"""Signals that ask a process to stop, and what their handlers say. A leaf: imports nothing of this project."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress


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

"""The end of a run before its last step: SIGTERM, SIGINT, SIGHUP of a closed terminal, or the time that it was given.

A request is noted and the run goes on to the end of its step, where it asks for it. A second SIGINT
ends the process at once.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from alibi.streams import tell_now

# torchrun passes a Ctrl-C on that its workers got from the terminal already: so soon, it is the same one.
SAME_SECONDS = 3.0


class StopRequest:
    """
    Args:
        until: of time.monotonic(), a clock that never goes back, whatever is done to the time of day.

    Attributes:
        signal: number of the signal that came; 0 for none.
    """

    def __init__(self, until: float = math.inf) -> None:
        self.signal, self.until, self._noted = 0, until, 0.0

    def wanted(self) -> int:
        """Number of the signal to end with, 0 to go on; when the time is over, SIGTERM's."""
        return self.signal or (signal.SIGTERM if self.time_is_over() else 0)

    def time_is_over(self) -> bool:
        return time.monotonic() >= self.until

    def note(self, number: int, frame: object) -> None:
        """Signal handler."""
        if number == signal.SIGINT and self.signal == signal.SIGINT and not self._passed_on():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        if not self.signal:
            self.signal, self._noted = number, time.monotonic()
            if os.environ.get("RANK", "0") == "0":
                again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
                tell_now(f"\n{name_of(number)}: stopping after this step{again}\n")

    def _passed_on(self) -> bool:
        return "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._noted < SAME_SECONDS


def stop_signals() -> list[int]:
    """The signals that ask a run to stop. Under nohup, which ignores SIGHUP, a closed terminal does not."""
    stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if stays else [signal.SIGHUP])]


def name_of(number: int) -> str:
    return signal.Signals(number).name


@contextmanager
def stop_requests(until: float = math.inf) -> Iterator[StopRequest]:
    """Note signals instead of ending, for as long as the context lasts; in the main thread, which alone gets them."""
    request = StopRequest(until)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.note) for number in stop_signals()}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Stopping a run before its last step: SIGTERM, SIGINT, SIGHUP of a closed terminal, or train.max_hours.

A request is noted, and the run continues to the end of its step, where it checks for one. A second SIGINT
ends the process at once.
"""

import math
import os
import signal
import time

from alibi.processes import tell_now

# torchrun forwards a Ctrl-C that its workers got from the terminal already; within this time it is the same one.
SAME_SECONDS = 3.0


class StopRequest:
    """
    Args:
        until: a time.monotonic() at which to stop; changes of the system clock do not affect it.

    Attributes:
        signal: number of the signal that came; 0 for none.
    """

    def __init__(self, until: float = math.inf) -> None:
        self.signal, self.until, self._noted = 0, until, 0.0

    def wanted(self) -> int:
        """Number of the signal to stop with, SIGTERM's when the time is over; 0 to continue."""
        return self.signal or (signal.SIGTERM if self.time_is_over() else 0)

    def time_is_over(self) -> bool:
        return time.monotonic() >= self.until

    def note(self, number: int, frame: object) -> None:
        """Signal handler."""
        forwarded = "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._noted < SAME_SECONDS
        if number == signal.SIGINT and self.signal == signal.SIGINT and not forwarded:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        if not self.signal:
            self.signal, self._noted = number, time.monotonic()
            if os.environ.get("RANK", "0") == "0":
                again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
                tell_now(f"\n{signal.Signals(number).name}: stopping after this step{again}\n")

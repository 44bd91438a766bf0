"""stdout and stderr whose failures never end the program: what cannot be written is dropped.

Ctrl-C also ends the `tee` behind a pipe, `head` closes its pipe early, a terminal is closed, a log's disk is full, a
daemon has no streams at all: none of these is a reason to lose a run.

A leaf: imports nothing of this project.
"""

import errno
import io
import os
import select
import sys

# Errors of a stream whose reader is gone, such as the pipe of `head` or a terminal.
NO_READER = (errno.EPIPE, errno.EIO)


class KeptStream(io.FileIO):
    """The layer below a text stream, which collects lines itself.

    Attributes:
        lost: the first error that dropped output although its reader was still there.
    """

    lost: OSError | None = None

    def write(self, data) -> int:
        left = memoryview(data)
        try:
            while left:
                written = super().write(left)
                if written is None:  # another program made the terminal non-blocking
                    select.select([], [self], [])
                left = left[written or 0 :]
        except OSError as error:
            if error.errno not in NO_READER:
                self.lost = self.lost or OSError(error.errno, error.strerror, self.name)
        return len(data)


def keep_streams() -> None:
    """From here on, no write to stdout or stderr fails, including the flush at exit.

    Characters that the encoding lacks are escaped. A closed stream becomes /dev/null; otherwise the next file to be
    opened would get its number, and with it what is written to the stream.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for handle, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is not getattr(sys, f"__{name}__"):
            continue  # replaced by a notebook or a test
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raw, when = KeptStream(handle, "w", closefd=False), (stream.line_buffering, stream.write_through)
        raw.name = name
        setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, "backslashreplace", None, *when))

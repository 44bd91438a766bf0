"""stdout and stderr that never end the work: what cannot be written to them is dropped.

Ctrl-C ends the `tee` behind a pipe as well, `head` closes its pipe early, a terminal is closed, a log's disk is full,
a daemon has no streams at all: none of it is a reason to lose a run.

A leaf: imports nothing of this project.
"""

import errno
import io
import os
import select
import sys
from contextlib import suppress

# What a stream says whose reader has gone: the pipe of a `head`, a terminal.
NO_READER = (errno.EPIPE, errno.EIO)


class KeptStream(io.FileIO):
    """The bytes below a text stream.

    Attributes:
        lost: why something was dropped that a reader was still there for.
    """

    lost: OSError | None = None
    stream_name = ""

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
                self.lost = self.lost or OSError(error.errno, error.strerror, self.stream_name)
        return len(data)


def keep_streams() -> None:
    """Let no write to stdout or stderr fail from here on, up to the interpreter's own flush at its end.

    Characters that their encoding lacks are escaped. A stream that was closed becomes /dev/null: else the next file
    that is opened would get its number, and with it what is written to the stream.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for handle, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is not getattr(sys, f"__{name}__"):
            continue  # a notebook's or a test's own
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raw = KeptStream(handle, "w", closefd=False)
        raw.stream_name = name
        kept = io.TextIOWrapper(
            raw if stream.write_through else io.BufferedWriter(raw),
            stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, kept)


def lost_output() -> OSError | None:
    """Why stdout is not whole, where something was to be written to a full disk, say; keep_streams() comes first."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", getattr(sys.stdout, "buffer", None))
    return raw.lost if isinstance(raw, KeptStream) else None


def tell_now(text: str) -> None:
    """To stderr, from a signal handler: the signal may have come in the middle of a print."""
    with suppress(OSError):
        os.write(2, text.encode())

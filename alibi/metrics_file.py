"""metrics.jsonl, the log of a run: written line by line, and read again when the run is resumed."""

import json
import os
from contextlib import suppress
from pathlib import Path

from alibi.files import naming, write_atomically


class MetricsFile:
    """metrics.jsonl, one JSON object per line.

    Args:
        path: of the file.
        last_step: the run continues from this step; later lines, and a line cut short, are dropped.
        source: the file to take earlier lines from, if it is another one.

    Attributes:
        earlier: all lines that were there, the dropped ones too.
    """

    def __init__(self, path: Path, last_step: int, source: Path | None = None) -> None:
        self.earlier = read_metrics(source or path)
        kept = [json.dumps(line) + "\n" for line in self.earlier if line["step"] <= last_step]
        write_atomically(path, "".join(kept))
        self.path, self.file = path, open(path, "ab", buffering=0)  # noqa: SIM115, closed by close()

    def log(self, line: dict) -> None:
        """Append a line; if the disk is full, no part of it stays.

        Raises:
            OSError: naming the file.
        """
        data, size = (json.dumps(line, allow_nan=False) + "\n").encode(), os.fstat(self.file.fileno()).st_size
        try:
            with naming(self.path):
                while data:
                    data = data[self.file.write(data) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.file.fileno(), size)
            raise

    def sync(self) -> None:
        """Flush all lines to the disk."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl, without a last one that was cut short; none if there is no file.

    Raises:
        ValueError: a line is not valid.
    """
    metrics = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1] if path.exists() else (), start=1):
        try:
            metrics.append(json.loads(line))
            if "step" not in metrics[-1]:
                raise ValueError("it has no step")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is not a line of metrics; move the file away.") from error
    return metrics

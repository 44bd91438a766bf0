"""metrics.jsonl, the truth about a run: written line by line, read again where a run goes on.

A leaf: imports nothing of this project.
"""

import json
import os
from contextlib import suppress
from pathlib import Path


class MetricsFile:
    """metrics.jsonl, one object a line.

    Args:
        path: of the file.
        last_step: lines of later steps, and a line cut short, are dropped: the run goes on from there.
        source: of the lines so far, where it is another file.

    Attributes:
        earlier: all lines that were there, the dropped ones too.
    """

    def __init__(self, path: Path, last_step: int, source: Path | None = None) -> None:
        self.earlier = read_metrics(source or path)
        kept = [line for line in self.earlier if line["step"] <= last_step]
        self.path, beside = path, path.with_name(f".{path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        try:
            with open(beside, "x", encoding="utf-8") as file:  # "x": no link is followed
                file.write("".join(json.dumps(line) + "\n" for line in kept))
            os.replace(beside, path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise self._named(error) from error
        self.file = open(path, "ab", buffering=0)  # noqa: SIM115, closed by close()

    def log(self, line: dict) -> None:
        """Append a line, whole or not at all.

        Raises:
            OSError: the disk is full; it names the file.
        """
        data, size = (json.dumps(line, allow_nan=False) + "\n").encode(), os.fstat(self.file.fileno()).st_size
        try:
            while data:
                data = data[self.file.write(data) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self.file.fileno(), size)
            raise self._named(error) from error

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, str(self.path))

    def sync(self) -> None:
        """Bring the lines so far to the disk."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_metrics(path: Path) -> list[dict]:
    """Lines of a metrics.jsonl, a last one cut short left out; none where there is no file.

    Raises:
        ValueError: a line that is no line of metrics.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text ({error}); move the file away.") from error
    metrics = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            continue
        try:
            metrics.append(json.loads(line))
            if type(metrics[-1]["step"]) is not int or type(metrics[-1].get("tokens", 0)) is not int:
                raise ValueError("step and tokens are whole numbers")
            if not all(type(v) in (int, float) for name, v in metrics[-1].items() if name.startswith("val/")):
                raise ValueError("losses are numbers")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}, is no line of metrics; move the file away.") from error
    return metrics

"""What a run of wandb recorded on the disk, offline or online, read back from its own file, for tests.

A `.wandb` file is seven bytes of header and then a LevelDB log: blocks of 32 KiB, filled with chunks of
(checksum of kind and data, length, kind, data); a record is one chunk (kind 1) or first, middle, last
(2, 3, 4). Each record is a protocol buffer that wandb ships.

Source: wandb 0.31.0, core/pkg/leveldb/record.go and core/internal/runmetric/runmetric.go.
"""

import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HEADER, BLOCK = b":W&B\xe1\xbe\x00", 32 * 1024
CHUNK = struct.Struct("<IHB")


@dataclass
class Metric:
    """
    Attributes:
        x_axis: the metric that a chart of this one is drawn over; "" leaves wandb's own step.
        summary: how the summary is made; nothing is the last value.
    """

    x_axis: str
    summary: set[str]
    hidden: bool


@dataclass
class OfflineRun:
    """
    Attributes:
        resume: whether a sync appends to the run of the same id, where there is one.
        config: plain values.
        metrics: by name, or by pattern where that ends in a star.
        history: a dict for each call of log, wandb's own fields (a leading underscore) left out.
        summary: by full name; what wandb nests (an image) is a dict.
        files: all that is to be uploaded, relative to `folder`.
    """

    folder: Path
    id: str = ""
    project: str = ""
    group: str = ""
    name: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    resume: bool = False
    config: dict = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)
    summary: dict = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    exit_code: int | None = None

    def metric(self, name: str) -> Metric:
        """By wandb's rule: its own definition, else a pattern whose part before the star it begins with."""
        if name in self.metrics:
            return self.metrics[name]
        fitting = [m for pattern, m in self.metrics.items() if pattern[-1] == "*" and name.startswith(pattern[:-1])]
        return fitting[0] if fitting else Metric("", set(), False)

    def curve(self, name: str) -> list[tuple]:
        """(x, y) of each point, x None where the row lacks its axis."""
        axis = self.metric(name).x_axis
        return [(row.get(axis) if axis else step, row[name]) for step, row in enumerate(self.history) if name in row]

    def numbers(self) -> list[str]:
        """Names with at least one number in the history, in the order of their first."""
        return list(dict.fromkeys(k for row in self.history for k, v in row.items() if type(v) in (int, float)))

    def media(self, kind: str) -> dict[str, dict]:
        """By name, the last one logged of wandb's type `kind`: table-file, image-file."""
        return {k: v for row in self.history for k, v in row.items() if isinstance(v, dict) and v.get("_type") == kind}

    def table(self, name: str) -> dict:
        """`columns` and `data` of a table."""
        return json.loads((self.folder / "files" / self.media("table-file")[name]["path"]).read_text())


def read_offline_run(path: Path) -> OfflineRun:
    """Parse `run-<id>.wandb`.

    Raises:
        ValueError: a wrong header, a wrong checksum, or a record cut short in the middle of the file.
    """
    from wandb.proto import wandb_internal_pb2

    run = OfflineRun(path.parent)
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if reader := READERS.get(kind):
            reader(run, getattr(record, kind))
    return run


def records(data: bytes) -> Iterator[bytes]:
    """The records of a `.wandb` file; one cut short at the end, by a process killed, is left out."""
    if data[: len(HEADER)] != HEADER:
        raise ValueError(f"a .wandb file begins with {HEADER!r}, not {data[: len(HEADER)]!r}.")
    at, parts = len(HEADER), []
    while at + CHUNK.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < CHUNK.size:
            at += left
            continue
        checksum, length, kind = CHUNK.unpack_from(data, at)
        body = data[at + CHUNK.size : at + CHUNK.size + length]
        if len(body) < length:
            return
        if zlib.crc32(data[at + CHUNK.size - 1 : at + CHUNK.size + length]) != checksum:
            raise ValueError(f"byte {at}: wrong checksum.")
        if (kind in (1, 2)) == bool(parts):
            raise ValueError(f"byte {at}: a chunk of kind {kind} {'inside' if parts else 'outside'} a record.")
        parts.append(body)
        at += CHUNK.size + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def _key(item) -> tuple[str, ...]:
    return tuple(item.nested_key) or (item.key,)


def _set(values: dict, item) -> None:
    """Put a possibly nested value into `values`."""
    *outer, last = _key(item)
    for name in outer:
        inner = values.get(name)
        values[name] = values = inner if isinstance(inner, dict) else {}
    values[last] = json.loads(item.value_json)


def _run(run: OfflineRun, record) -> None:
    run.id, run.project, run.group, run.name = record.run_id, record.project, record.run_group, record.display_name
    run.job_type, run.tags, run.resume = record.job_type, list(record.tags), record.resume
    _config(run, record.config)


def _config(run: OfflineRun, record) -> None:
    for item in record.update:
        if _key(item)[0] != "_wandb":
            _set(run.config, item)


def _metric(run: OfflineRun, record) -> None:
    if name := record.name or record.glob_name:
        summary = {field.name for field, on in record.summary.ListFields() if on}
        run.metrics[name] = Metric(record.step_metric, summary, record.options.hidden)


def _history(run: OfflineRun, record) -> None:
    row = {}
    for item in record.item:
        _set(row, item)
    run.history.append({name: value for name, value in row.items() if not name.startswith("_")})


def _summary(run: OfflineRun, record) -> None:
    for item in record.update:
        if not _key(item)[0].startswith("_"):
            _set(run.summary, item)


def _files(run: OfflineRun, record) -> None:
    run.files += [file.path for file in record.files]


def _exit(run: OfflineRun, record) -> None:
    run.exit_code = record.exit_code


READERS = {
    "run": _run, "config": _config, "metric": _metric, "history": _history, "summary": _summary, "files": _files,
    "exit": _exit,
}  # fmt: skip


def chart_faults(runs: list[OfflineRun]) -> list[str]:
    """What would spoil a chart of one run, given the files of its processes in order.

    A number without an x axis of its own, a point whose row lacks its axis, an axis that goes back or
    stands still, and a value that is no finite number.
    """
    faults, last = [], {}
    for run in runs:
        for name in run.numbers():
            axis = run.metric(name).x_axis
            if run.metric(name).hidden:
                continue
            if not axis:
                faults.append(f"{name} has no x axis")
            for x, y in run.curve(name):
                if x is None:
                    faults.append(f"{name} = {y} lacks {axis}")
                elif axis and x <= last.get(name, float("-inf")):
                    faults.append(f"{name} at {axis} = {x} comes after {last[name]}")
                last[name] = x if x is not None else last.get(name, float("-inf"))
        for row in run.history:
            floats = {name: value for name, value in row.items() if isinstance(value, float)}
            faults += [f"{name} = {value}" for name, value in floats.items() if not math.isfinite(value)]
            faults += [f"{name} is a list" for name, value in row.items() if isinstance(value, list)]
    return faults

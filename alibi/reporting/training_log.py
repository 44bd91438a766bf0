"""metrics.jsonl beside a run, read for its training curves and for what training cost."""

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

LARGEST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Training:
    """Curves of one run, over tokens seen. `train` is smoothed; `val` stands where the run validated.

    Attributes:
        tokens_per_sec: the median over the steps logged, validation apart.
        memory_mib: the peak of the process, or of the GPU.
    """

    train: list[tuple[float, float]]
    val: list[tuple[float, float]]
    tokens_per_sec: float | None = None
    memory_mib: float | None = None


def read_training(folder: Path, points: int = 300) -> Training | None:
    """The curves of a run folder; None where it holds no metrics.jsonl or none that can be read.

    A last line that a kill cut in half is passed over, and so is one that is no object of numbers.

    Args:
        points: at most so many are kept of each curve.
    """
    path = folder / "metrics.jsonl"
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return None
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    # By tokens, so that what a resumed run wrote again replaces what it wrote first.
    train: dict[float, float] = {}
    val: dict[float, float] = {}
    speed: dict[float, float] = {}
    memory: dict[float, float] = {}
    wanted = {"train/loss": train, "val/loss": val, "perf/tokens_per_sec": speed, "perf/max_memory_mib": memory}
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        for name, curve in wanted.items():
            if isinstance(record, dict) and _is_number(record.get("tokens")) and _is_number(record.get(name)):
                curve[record["tokens"]] = record[name]
    if not train and not val:
        return None
    return Training(
        smooth(sorted(train.items()), points),
        thin(sorted(val.items()), points),
        statistics.median(speed.values()) if speed else None,
        max(memory.values(), default=None),
    )


def smooth(curve: list[tuple[float, float]], points: int) -> list[tuple[float, float]]:
    """Means of runs of neighbours, `points` of them at most: what is drawn is what was measured, and no lag."""
    size = max(math.ceil(len(curve) / points), math.ceil(len(curve) / 100)) if curve else 1
    groups = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def thin(curve: list[tuple[float, float]], points: int) -> list[tuple[float, float]]:
    """Every k-th point and the last."""
    step = max(1, math.ceil(len(curve) / points))
    return curve[:-1:step] + curve[-1:]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300

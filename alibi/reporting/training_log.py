"""A run's metrics.jsonl: its training curves, and how fast and in how much memory it trained."""

import json
import math
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NAMES = ("train/loss", "val/loss", "perf/tokens_per_sec", "perf/max_memory_mib")
Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class TrainingLog:
    """Loss over tokens seen. `train` is smoothed; `val` has a point for each validation.

    Attributes:
        tokens_per_sec: the median over the logged steps, without validation.
        memory_mib: the peak of the process, or of the GPU.
    """

    train: Curve
    val: Curve
    tokens_per_sec: float | None
    memory_mib: float | None


def read_training(folder: Path) -> TrainingLog | None:
    """The log of a run folder; None if it has no metrics.jsonl, or no loss in it.

    What is not a line of metrics, such as a last line cut off by a kill, is skipped, and so is what is not finite.
    """
    train, val, speed, memory = _curves(folder, NAMES, by="tokens")
    if not train and not val:
        return None
    median = statistics.median(speed.values()) if speed else None
    return TrainingLog(smooth(sorted(train.items())), sorted(val.items()), median, max(memory.values(), default=None))


def read_learning(folder: Path) -> Curve:
    """(step, exact match) of a task's validations; empty if there are none."""
    [curve] = _curves(folder, ("val/exact_match",), by="step")
    return sorted(curve.items())


def _curves(folder: Path, names: Sequence[str], by: str) -> list[dict[float, float]]:
    """Of each metric its values by step or tokens, so that steps repeated after a resume replace the first ones."""
    path, curves = folder / "metrics.jsonl", [{} for _ in names]
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            record = json.loads(line)
            for name, curve in zip(names, curves, strict=True):
                if (value := record.get(name)) is not None and math.isfinite(value):
                    curve[record[by]] = value
    return curves


def smooth(curve: Curve, points: int = 100) -> Curve:
    """Means of groups of neighbours, which do not lag as a running mean does; at most `points` of them."""
    size = max(1, math.ceil(len(curve) / points))
    groups = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]

"""Results on one task, compared: how many runs of each line learned it, and how those answer at each length.

A run that never learned a task says nothing about lengths, so numbers at a length are of those that did.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from alibi.analysis.labels import unique
from alibi.analysis.line import Run
from alibi.results import Result

TASK_METRICS = {"exact_match": "exact match", "accuracy": "accuracy of answers"}


@dataclass(frozen=True)
class TaskLine:
    """Runs that differ in their seed alone."""

    label: str
    runs: list[Run]

    @property
    def first(self) -> Result:
        return self.runs[0].result

    @property
    def trained_on(self) -> dict[str, Any]:
        """Settings of the task in training that are others than in this test."""
        prefix, tested = "data.task.", self.first.data.task
        own = {
            name.removeprefix(prefix): value
            for name, value in (self.first.checkpoint.settings or {}).items()
            if name.startswith(prefix)
        }
        return {name: own[name] for name in tested if own.get(name, tested[name]) != tested[name]}

    @cached_property
    def learned(self) -> list[Run]:
        return [run for run in self.runs if any(row["learned"] for row in run.result.scored.values())]

    def values(self, length: int, metric: str) -> list[float]:
        """Of the runs that learned the task."""
        rows = [run.result.scored.get(length) for run in self.learned]
        return [row[metric] for row in rows if row]

    def mean(self, length: int, metric: str) -> float | None:
        values = self.values(length, metric)
        return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class TaskSet:
    """
    Attributes:
        title: mqar test: keys 64, layout anywhere, load growing, trained at 32.
        slug: a name for files, no two sets alike.
    """

    title: str
    slug: str
    runs: list[Run]

    @property
    def name(self) -> str:
        """Of the task."""
        return self.runs[0].result.data.name

    @property
    def short(self) -> str:
        """mqar: 64, anywhere, growing."""
        return f"{self.name}: {', '.join(map(str, self.runs[0].result.data.task.values()))}"

    @property
    def lengths(self) -> list[int]:
        return sorted({length for run in self.runs for length in run.result.rows})

    @cached_property
    def lines(self) -> list[TaskLine]:
        members = defaultdict(list)
        for run in self.runs:
            members[run.line].append(run)
        return [TaskLine(label, runs) for label, runs in members.items()]

    @property
    def baseline(self) -> dict[int, float]:
        """Accuracy of the trivial answer, by length."""
        return {n: row["baseline"] for run in self.runs for n, row in run.result.scored.items()}

    def to_dict(self) -> dict:
        about = {"task": self.runs[0].result.data.model_dump(include={"name", "split", "sha256", "task"})}
        lines = [
            {
                "label": line.label,
                "learned": [run.label for run in line.learned],
                "runs": [run.label for run in line.runs],
                "lengths": [
                    {"length": n} | {metric: line.mean(n, metric) for metric in TASK_METRICS} for n in self.lengths
                ],
            }
            for line in self.lines
        ]
        return about | {"title": self.title, "lines": lines, "baseline": list(self.baseline.items())}

    def best(self, method: str) -> list[TaskLine]:
        """Of the lines of a method trained on the same task, say at two learning rates, the one that learned most
        often; then the most exact."""
        own: dict[str, list[TaskLine]] = defaultdict(list)
        for line in self.lines:
            if line.first.method == method:
                own[str(line.trained_on)].append(line)

        def rank(line: TaskLine) -> tuple[float, float]:
            exact = [
                run.result.scored.get(line.first.checkpoint.seq_len, {}).get("exact_match", 0) for run in line.runs
            ]
            return len(line.learned) / len(line.runs), float(np.mean(exact))

        return [max(lines, key=rank) for lines in own.values()]


def task_sets(results: Sequence[Result], labels: Sequence[tuple[str, str, str]]) -> list[TaskSet]:
    """Results with the same strings are compared.

    Args:
        labels: of each result, as `label` gives them.
    """
    members: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for number, (result, names) in enumerate(zip(results, labels, strict=True)):
        if result.is_of_task:
            run = Run(f"r{number}", *names, result.data.name, result)
            members[result.data.sha256, result.content.precision, result.text].append(run)
    titles = unique({key: _title(runs[0].result) for key, runs in members.items()}, ", of other strings ")
    return [TaskSet(titles[key], _slug(key), runs) for key, runs in members.items()]


def _title(result: Result) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in result.data.task.items())
    trained = f", trained at {result.checkpoint.seq_len:,}" if result.checkpoint.seq_len else ""
    precision = "" if result.content.precision == "fp32" else f", {result.content.precision}"
    return f"{result.text}: {settings}{trained}{precision}"


def _slug(key: tuple[str, str, str]) -> str:
    sha256, precision, text = key
    return f"{text.replace(' ', '-')}-{sha256[:8]}" + ("" if precision == "fp32" else f"-{precision}")

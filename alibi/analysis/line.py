"""A run in a set of results, a line of runs that differ in their seed alone, and a pair of runs."""

from dataclasses import dataclass

import numpy as np

from alibi.analysis.statistics import Difference, SeedMean
from alibi.results import Result


@dataclass(frozen=True)
class Run:
    """One result file in a set.

    Attributes:
        key: names it within the set.
        label: names the run for people, in every set alike.
        short: the label in tables that have training length, seed and step in columns.
        line: label of its line.
        tokenizer: a name, the same where numbers per token may be compared.
    """

    key: str
    label: str
    short: str
    line: str
    tokenizer: str
    result: Result


@dataclass(frozen=True)
class Line:
    """Runs that differ by their seed alone. `lengths` has the mean of each metric that may be compared."""

    label: str
    runs: tuple[Run, ...]
    lengths: dict[int, dict[str, SeedMean]]

    @property
    def first(self) -> Result:
        return self.runs[0].result

    def seed_mean(self, length: int, metric: str) -> SeedMean | None:
        return self.lengths.get(length, {}).get(metric)

    def nats(self) -> dict[int, float]:
        """Nats of the whole text by length, the mean over seeds."""
        rows = [run.result.scored for run in self.runs]
        return {n: float(np.mean([row[n]["nll_nats"] for row in rows])) for n in self.lengths}


@dataclass(frozen=True)
class RunPair:
    """`lengths`: the difference of a from b in each metric; None where it is beyond what a float can hold."""

    a: Run
    b: Run
    lengths: dict[int, dict[str, Difference | None]]

    def at(self, length: int, metric: str) -> Difference | None:
        return self.lengths.get(length, {}).get(metric)

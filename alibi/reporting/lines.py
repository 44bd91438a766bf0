"""A line of a chart, and how it looks. The comparison says which runs it is; a method keeps its colour everywhere."""

from dataclasses import dataclass

from alibi.reporting.looks import Look
from alibi.results.result import Result


@dataclass(frozen=True)
class Line:
    """Runs that differ by their seed alone, in one set of results."""

    label: str
    method: str
    seq_len: int | None
    results: tuple[Result, ...]
    look: Look

    def mean(self, metric: str) -> list[tuple[int, float]]:
        """(length, mean over the seeds) where every seed has a number."""
        every = [r.numbers for r in self.results]
        return [
            (length, sum(rows[length][metric] for rows in every) / len(every))
            for length in every[0]
            if all(rows.get(length, {}).get(metric) is not None for rows in every)
        ]

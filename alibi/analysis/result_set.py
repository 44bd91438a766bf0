"""Results that measured the same, and all that follows from comparing them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from alibi.analysis.curves import Crossing, crossings, how_far, rounding_of
from alibi.analysis.line import Line, Run, RunPair
from alibi.analysis.statistics import Difference, PairedDraws, SeedMean, over_seeds
from alibi.results import METRICS, Result
from alibi.results.parts import Change, HowFar

ABOUT_TEXT = {"name", "split", "sha256", "words", "bytes", "form", "documents", "documents_in_text"}


@dataclass(frozen=True)
class ResultSet:
    """
    Attributes:
        title: wikitext2 validation, nonoverlapping.
        slug: a name for files, no two sets alike.
        against: label of the line to which charts are relative; None: each run to itself at its training length.
    """

    title: str
    slug: str
    runs: list[Run]
    against: str | None = None

    @property
    def first(self) -> Result:
        return self.runs[0].result

    @cached_property
    def comparable(self) -> list[str]:
        """The metrics in which the runs count the same: tokens of one tokenizer, words, bytes."""
        counts = {unit: {getattr(run.result.data, unit) for run in self.runs} for unit in ("words", "bytes")}
        counts["tokens"] = {run.tokenizer for run in self.runs}
        return [name for name, metric in METRICS.items() if len(counts[metric.unit]) == 1]

    @property
    def metrics(self) -> list[str]:
        """Those that some row has; where every row is an error the first, since errors are shown under some metric."""
        rows = [row for run in self.runs for row in run.result.rows.values()]
        return [metric for metric in self.comparable if any(metric in row for row in rows)] or self.comparable[:1]

    @property
    def shared_metric(self) -> str:
        """What tokenizers share: words for WikiText, bytes for files such as sources, which have no words."""
        return "bits_per_byte" if any(run.result.data.form == "files" for run in self.runs) else "word_perplexity"

    @property
    def lengths(self) -> list[int]:
        return sorted({length for run in self.runs for length in run.result.rows})

    @cached_property
    def lines(self) -> list[Line]:
        members = defaultdict(list)
        for run in self.runs:
            members[run.line].append(run)
        return [Line(label, tuple(runs), self._means(runs)) for label, runs in members.items()]

    def _means(self, runs: Sequence[Run]) -> dict[int, dict[str, SeedMean]]:
        rows = [run.result.scored for run in runs]
        return {
            n: {
                metric: over_seeds([row[n][metric] for row in rows])
                for metric in self._comparable_of(runs)
                if all(metric in row[n] for row in rows)
            }
            for n in sorted(set.intersection(*map(set, rows)))
        }

    @cached_property
    def draws(self) -> PairedDraws:
        return PairedDraws([run.result for run in self.runs])

    def relative(self, run: Run, metric: str) -> dict[int, tuple[float, list[float] | None]]:
        """By length, a run's metric over its own at the training length, or over that of `against`; paired intervals.

        Of several runs of that line it is the one with the same seed, else the first. Lengths that one of the two
        lacks are left out.
        """
        checkpoint, found = run.result.checkpoint, {}
        line = [other for other in self.runs if other.line == self.against] if self.against else [run]
        base = min(line, key=lambda other: other.result.checkpoint.seed != checkpoint.seed, default=None)
        if base is None or metric not in self._comparable_of([run, base]):
            return {}
        for n, row in run.result.numbers.items():
            at = n if self.against else checkpoint.seq_len
            if metric in row and metric in base.result.numbers.get(at, {}):
                found[n] = self.draws.ratio((run.result, n), (base.result, at), metric)
        return found

    @cached_property
    def pairs(self) -> list[RunPair]:
        """All pairs of runs; an adapted one, of which a run may have many, with those of the same seed alone."""
        return [RunPair(a, b, self._differences(a, b)) for a, b in combinations(self.runs, 2) if _are_paired(a, b)]

    def _differences(self, a: Run, b: Run) -> dict[int, dict[str, Difference | None]]:
        metrics = self._comparable_of([a, b])
        shared = sorted(a.result.scored.keys() & b.result.scored.keys()) if metrics else []
        return {n: {m: self.draws.difference(a.result, b.result, n, m) for m in metrics} for n in shared}

    @property
    def references(self) -> list[Run]:
        """The first run of each line, which others may be set against; of adapted lines none, if there are others."""
        lines = [line for line in self.lines if not line.first.adaptation] or self.lines
        return [line.runs[0] for line in lines]

    @property
    def crossings(self) -> list[tuple[Line, Line, list[Crossing]]]:
        """Where the curves of two lines cross; an adapted one with that of its own method alone."""
        rounding = rounding_of(self.first.content.precision)
        return [
            (a, b, crossings(a.nats(), b.nats(), rounding))
            for a, b in combinations(self.lines, 2)
            if self._comparable_of([*a.runs, *b.runs]) and _may_cross(a.first, b.first)
        ]

    @property
    def how_far(self) -> list[tuple[Run, HowFar]]:
        """From the rows as they are now: what the file states may be of rows that have lost their number since."""
        return [
            (run, how_far(run.result.content, stated.within_percent))
            for run in self.runs
            if (stated := run.result.content.how_far)
        ]

    @property
    def changes(self) -> list[tuple[Run, Change]]:
        """The two-part splits of its runs, without the entry at the training length, which is all zeros."""
        found = []
        for run in (run for line in self.lines for run in line.runs):
            if change := run.result.content.change:
                longer = [entry for entry in change.lengths if entry.length != change.against]
                found += [(run, change.model_copy(update={"lengths": longer}))] if longer else []
        return found

    @property
    def note(self) -> str | None:
        """Why runs, or some of their numbers, are not compared."""
        scored = [run.result.scored for run in self.runs]
        uncovered = ", ".join(_uncovered(self.runs))
        if len(self.runs) == 1:
            return "only one run: there is nothing to compare it with"
        if not any(a.keys() & b.keys() for a, b in combinations(scored, 2)):
            return "no two runs have numbers at the same length: there is nothing to compare"
        if uncovered:
            what = "numbers per word and per byte are not compared with others"
            return f"text not covered by the tokenizer of {uncovered}: {what}"
        different = {"word_perplexity": "words counted differently", "perplexity": "different tokenizers"}
        for metric, what in different.items():
            if metric not in self.comparable:
                return f"the runs have {what}, so {METRICS[metric].label} is not compared"
        return None

    def _comparable_of(self, runs: Sequence[Run]) -> list[str]:
        """The metrics in which these runs may be compared: with uncovered text not by its words and bytes."""
        return [metric for metric in self.comparable if metric == "perplexity" or not _uncovered(runs)]

    def to_dict(self) -> dict:
        measured = self.first.measured
        return {
            "data": self.first.data.model_dump(include=ABOUT_TEXT),
            **{"protocol": measured.protocol, "precision": measured.precision, "scorer": measured.scorer},
            "metrics": self.comparable,
            "note": self.note,
            "runs": [_run_to_dict(run) for run in self.runs],
            "lines": [_line_to_dict(line) for line in self.lines],
            "pairs": [
                {"a": pair.a.key, "b": pair.b.key, "lengths": _by_length(pair.lengths, Difference.to_dict)}
                for pair in self.pairs
            ],
            "crossings": [
                {"a": a.label, "b": b.label, "at": [asdict(place) for place in at]} for a, b, at in self.crossings
            ],
            "how_far": [
                {"run": run.key, "evaluated_to": max(run.result.scored, default=None)}
                | far.model_dump(exclude_unset=True)
                for run, far in self.how_far
            ],
        }


def _may_cross(a: Result, b: Result) -> bool:
    if not (a.adaptation or b.adaptation):
        return True
    return "" in (a.adaptation, b.adaptation) and a.checkpoint.sha256 == b.checkpoint.sha256


def _are_paired(a: Run, b: Run) -> bool:
    adapted = any(run.result.content.adapt for run in (a, b))
    return not adapted or a.result.checkpoint.seed == b.result.checkpoint.seed


def _uncovered(runs: Iterable[Run]) -> list[str]:
    return [run.label for run in runs if run.result.data.uncovered_bytes]


def _run_to_dict(run: Run) -> dict:
    checkpoint = run.result.checkpoint
    about = {"path": str(run.result.path), "method": run.result.method}
    names = {name: value for name, value in vars(run).items() if name != "result"}
    return names | about | checkpoint.model_dump(include={"seq_len", "seed", "step"})


def _line_to_dict(line: Line) -> dict:
    about = {"label": line.label, "method": line.first.method, "seq_len": line.first.checkpoint.seq_len}
    return about | {"runs": [run.key for run in line.runs], "lengths": _by_length(line.lengths, asdict)}


def _by_length(numbers: Mapping[int, Mapping[str, object]], as_dict: Callable[[Any], dict]) -> list[dict]:
    return [
        {"length": length} | {metric: as_dict(one) if one else {} for metric, one in own.items()}
        for length, own in numbers.items()
    ]

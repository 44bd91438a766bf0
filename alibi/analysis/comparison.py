"""Results of several runs set beside each other: which may be, and how sure their differences are.

Two results are compared where they score the same text by the same protocol in the same precision.
Per-token numbers of different tokenizers are not compared; per word and per byte they are, where
tokens cover the whole text. The outcome is one dictionary, which is JSON, and which is all that reporting knows of it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from alibi.analysis.curves import crossings, how_far, measured_perplexities, rounding_of
from alibi.analysis.labels import Names, measured, tokenizers_of
from alibi.analysis.statistics import ABOUT_INTERVALS, interval, over_seeds, resampled_sums

SCHEMA = 2
# What two results must share, in the words of a refusal.
SHARED = ("split", "text or part of it (sha256)", "protocol", "precision", "scorer")
ABOUT_TEXT = ("name", "split", "sha256", "words", "bytes", "form", "documents", "documents_in_text")
LARGEST_EXPONENT = 700  # exp of more is no float
COUNTS = {"perplexity": "tokens", "word_perplexity": "words", "bits_per_byte": "bytes"}


def compare(results: Mapping[Path, dict]) -> dict:
    """Compare result files with each other.

    Args:
        results: contents by path.

    Returns:
        {"schema", "intervals", "sets", "changes", "refused"}: a set holds the results that may be
        compared, a refusal is a reason and the sets (by their place) that it keeps apart.
    """
    sets: dict[tuple, dict[Path, dict]] = {}
    for path, result in results.items():
        sets.setdefault(measured(result), {})[path] = result
    names = Names(results)
    return {
        "schema": SCHEMA,
        "intervals": ABOUT_INTERVALS,
        "sets": [ComparableSet(members, names).to_dict() for members in sets.values()],
        "changes": [
            {"run": names.runs[path], "path": str(path), **result["change"]}
            for path, result in results.items()
            if "change" in result
        ],
        "refused": _refusals(sets),
    }


def _same_runs_otherwise_scored(one: tuple[tuple, dict], other: tuple[tuple, dict]) -> bool:
    """Whether two sets are the same weights on the same text by two protocols: nobody wants them compared."""
    weights = [{result["checkpoint"]["sha256"] for result in files.values()} for _, files in (one, other)]
    return weights[0] == weights[1] and one[0][:2] == other[0][:2]


def _refusals(sets: Mapping[tuple, dict]) -> list[dict]:
    """Each reason once, with every set that it keeps apart from another: pairs of sets would be many lines."""
    every = list(sets.items())
    apart = [
        (a, b) for a, b in combinations(range(len(every)), 2) if not _same_runs_otherwise_scored(every[a], every[b])
    ]
    found = []
    for place, what in enumerate(SHARED):
        value = [shared[place] for shared, _ in every]
        held = sorted({n for a, b in apart if value[a] != value[b] for n in (a, b)})
        if held:
            found.append({"reason": f"other {what}", "sets": [{"set": n, "value": value[n]} for n in held]})
    return found


class ComparableSet:
    """Results on one text by one protocol, and all that follows from setting them beside each other."""

    def __init__(self, members: dict[Path, dict], names: Names) -> None:
        self.results = {f"r{number}": result for number, result in enumerate(members.values())}
        self.paths = {f"r{number}": path for number, path in enumerate(members)}
        self.names = names
        self.lines: dict[str, list[str]] = {}
        for key, path in self.paths.items():
            self.lines.setdefault(names.lines[path], []).append(key)
        self.rows = {
            key: {row["length"]: row for row in result["rows"] if "error" not in row}
            for key, result in self.results.items()
        }
        self.tokenizers = dict(zip(self.results, tokenizers_of(self.results.values()), strict=True))
        counts = {unit: {result["data"][unit] for result in self.results.values()} for unit in ("words", "bytes")}
        alike = counts | {"tokens": set(self.tokenizers.values())}
        self.metrics = [name for name, unit in COUNTS.items() if len(alike[unit]) == 1]
        self.rounding = rounding_of(next(iter(members.values()))["precision"])
        self.draws = self._draws()

    def to_dict(self) -> dict:
        first = next(iter(self.results.values()))
        return {
            "data": {name: first["data"].get(name) for name in ABOUT_TEXT},
            "protocol": first["protocol"]["name"],
            "precision": first["precision"],
            "scorer": first.get("scorer", "full"),
            "metrics": self.metrics,
            "note": self._note(),
            "runs": [self._run(key) for key in self.results],
            "lines": [self._line(label, keys) for label, keys in self.lines.items()],
            "pairs": [{"a": a, "b": b, "lengths": self._pair(a, b)} for a, b in combinations(self.results, 2)],
            "crossings": [
                {"a": a, "b": b, "at": crossings(self._curve(self.lines[a]), self._curve(self.lines[b]), self.rounding)}
                for a, b in combinations(self.lines, 2)
                if self._comparable([*self.lines[a], *self.lines[b]])
            ],
            "how_far": [self._how_far(key) for key, result in self.results.items() if "how_far" in result],
        }

    def _comparable(self, keys: Sequence[str]) -> list[str]:
        """The metrics by which runs may be compared: with uncovered text not by its words and bytes."""
        return [name for name in self.metrics if name == "perplexity" or not self._uncovered(keys)]

    def _uncovered(self, keys: Iterable[str]) -> list[str]:
        return [self.names.runs[self.paths[key]] for key in keys if self.results[key]["data"].get("uncovered_bytes")]

    def _note(self) -> str | None:
        if not any(self.rows.values()):
            return "no row has a number: there is nothing to compare"
        if len(self.results) == 1:
            return "one run only: there is nothing to compare it with"
        if not any(self.rows[a].keys() & self.rows[b].keys() for a, b in combinations(self.results, 2)):
            return "no two runs have a length in common: there is nothing to compare"
        if uncovered := self._uncovered(self.results):
            return (
                f"text not covered by the tokenizer of {', '.join(uncovered)}: numbers per word and per byte are not "
                "compared with others"
            )
        if "word_perplexity" not in self.metrics:
            return (
                "an older version counted a word for the line end that a document may lack, so perplexities per word "
                "are not compared; leave the older result out"
            )
        if "perplexity" not in self.metrics:
            return "the runs have different tokenizers, so perplexities per token are not compared; see words and bytes"
        return None

    def _run(self, key: str) -> dict:
        checkpoint, path = self.results[key]["checkpoint"], self.paths[key]
        return {
            "key": key,
            "label": self.names.runs[path],
            "short": self.names.short[path],
            "path": str(path),
            "line": self.names.lines[path],
            "tokenizer": self.tokenizers[key],
            "method": checkpoint["model"],
            "seq_len": checkpoint.get("seq_len"),
            "seed": checkpoint.get("seed"),
            "step": checkpoint["step"],
        }

    def _line(self, label: str, keys: list[str]) -> dict:
        first = self.results[keys[0]]["checkpoint"]
        shared = sorted(set.intersection(*(set(self.rows[key]) for key in keys)))
        lengths = [
            {"length": n}
            | {
                metric: over_seeds([self.rows[key][n][metric] for key in keys])
                for metric in self._comparable(keys)
                if all(metric in self.rows[key][n] for key in keys)
            }
            for n in shared
        ]
        return {
            "label": label,
            "method": first["model"],
            "seq_len": first.get("seq_len"),
            "runs": keys,
            "lengths": lengths,
        }

    def _curve(self, keys: list[str]) -> dict[int, float]:
        """Nats of the whole text by length, the mean over seeds."""
        shared = set.intersection(*(set(self.rows[key]) for key in keys))
        return {n: float(np.mean([self.rows[key][n]["nll_nats"] for key in keys])) for n in sorted(shared)}

    def _how_far(self, key: str) -> dict:
        """From the rows as they are now: what the file states may be of rows that have no number any more."""
        result = self.results[key]
        reach = how_far(
            measured_perplexities(result["rows"]),
            result["checkpoint"].get("seq_len"),
            result["how_far"]["within_percent"],
        )
        return {"run": key, **reach, "evaluated_to": max(self.rows[key], default=None)}

    def _draws(self) -> dict[tuple[str, object], np.ndarray]:
        """Resampled sums: of the nats of each run and length, and of the counts of each run."""
        columns: dict[tuple[str, object], list[float]] = {}
        first = next((r["groups"] for r in self.results.values() if "groups" in r), None)
        for key, result in self.results.items():
            groups = result.get("groups")
            if groups is None or any(groups[unit] != first[unit] for unit in ("words", "bytes")):
                continue
            columns |= {(key, unit): groups[unit] for unit in ("tokens", "words", "bytes")}
            columns |= {(key, n): row["group_nats"] for n, row in self.rows[key].items() if "group_nats" in row}
        self.num_groups = len(first["words"]) if first else 0
        if not columns:
            return {}
        sums = resampled_sums(np.column_stack([np.array(column, np.float64) for column in columns.values()]))
        return dict(zip(columns, sums.T, strict=True))

    def _pair(self, a: str, b: str) -> list[dict]:
        metrics = self._comparable([a, b])
        return [
            {"length": n} | {metric: self._difference(a, b, n, metric) for metric in metrics}
            for n in sorted(self.rows[a].keys() & self.rows[b].keys())
            if metrics
        ]

    def _difference(self, a: str, b: str, length: int, metric: str) -> dict:
        """Perplexity of a over that of b, or bits per byte of a less those of b, on the same resamples.

        An interval is wider by what rounding may do, so that it tells no run from its own copy. Empty where a ratio
        is beyond what a float can hold.
        """
        unit = COUNTS[metric]

        def mean(key: str) -> float:
            return self.rows[key][length]["nll_nats"] / self.results[key]["data"][unit]

        def drawn(key: str) -> np.ndarray:
            return self.draws[key, length] / self.draws[key, unit]

        sure = (a, length) in self.draws and (b, length) in self.draws
        bounds = interval(drawn(a) - drawn(b), self.num_groups) if sure else None
        if bounds:
            rounding = self.rounding * max(abs(mean(a)), abs(mean(b)))
            bounds = [bounds[0] - rounding, bounds[1] + rounding]
        gap = mean(a) - mean(b)
        if metric == "bits_per_byte":
            return {
                "difference": gap / math.log(2),
                "interval": bounds and [bound / math.log(2) for bound in bounds],
            }
        if max(map(abs, (gap, *(bounds or ())))) > LARGEST_EXPONENT:
            return {}
        return {"ratio": math.exp(gap), "interval": bounds and [math.exp(bound) for bound in bounds]}

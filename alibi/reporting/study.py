"""A comparison joined with its result files: sets of runs that may be compared, each run with its rows."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alibi.reporting import words
from alibi.reporting.lines import Line
from alibi.reporting.looks import Look, looks_of
from alibi.reporting.words import METRICS
from alibi.results.result import Result

SCHEMA = 2


@dataclass(frozen=True)
class Run:
    """One result file in a set.

    Attributes:
        label: names the run for people, in every set alike.
        short: likewise, beside columns with training length, seed and step.
        tokenizer: a name, the same where numbers per token may be compared.
    """

    key: str
    label: str
    short: str
    line: str
    tokenizer: str
    result: Result


@dataclass(frozen=True)
class ResultSet:
    """Results on one text by one protocol: what may stand in one table.

    Attributes:
        slug: a name for files, no two sets alike.
        content: the set as the comparison has it.
        changes: the two-part splits of its runs, the comparison's without the training length itself.
    """

    slug: str
    title: str
    content: Mapping
    runs: list[Run]
    lines: list[Line]
    changes: list[tuple[Run, Mapping]]

    @property
    def metrics(self) -> list[str]:
        """Those that some row has; the first of all where every row is an error, which has to stand somewhere."""
        rows = [row for run in self.runs for row in run.result.rows.values()]
        allowed = [metric for metric in METRICS if metric in self.content["metrics"]]
        return [metric for metric in allowed if any(row.get(metric) is not None for row in rows)] or allowed[:1]

    @property
    def lengths(self) -> list[int]:
        return sorted({n for run in self.runs for n in run.result.rows})

    @property
    def changes_by_line(self) -> dict[str, list[Mapping]]:
        found: dict[str, list[Mapping]] = {}
        for run, change in self.changes:
            found.setdefault(run.line, []).append(change)
        return found

    def mean(self, line: str, length: int, metric: str) -> Mapping:
        """The comparison's {values, mean, interval} of a line; empty where it has none."""
        for told in self.content["lines"]:
            for entry in told["lengths"]:
                if told["label"] == line and entry["length"] == length:
                    return entry.get(metric) or {}
        return {}


@dataclass(frozen=True)
class Study:
    """All that a report is made of."""

    comparison: Mapping
    sets: list[ResultSet]
    looks: dict[str, Look]

    @property
    def refused(self) -> list[tuple[str, list[str]]]:
        """What was not compared: a reason, and a line for each set that it keeps apart from another."""
        return [
            (told["reason"], [f"{self.sets[entry['set']].title}: {entry['value']}" for entry in told["sets"]])
            for told in self.comparison.get("refused") or []
        ]

    @property
    def has_intervals(self) -> bool:
        """Whether any number of any run has an interval over the text."""
        return any(run.result.has_intervals for part in self.sets for run in part.runs)

    @property
    def runs(self) -> list[Run]:
        """Each run once, though it stands in several sets."""
        return list({run.label: run for part in reversed(self.sets) for run in reversed(part.runs)}.values())[::-1]

    @property
    def lines(self) -> list[Line]:
        """Each line once, with all of its runs, though a set may lack some of them."""
        own = {label: [run.result for run in self.runs if run.line == label] for label in self.looks}
        return [
            Line(label, own[label][0].method, own[label][0].seq_len, tuple(own[label]), look)
            for label, look in self.looks.items()
        ]


def join(results: Sequence[Result], comparison: Mapping) -> Study:
    """The comparison's sets with the rows of their files.

    Raises:
        ValueError: the comparison is of another schema, or names a file that `results` lacks.
    """
    if comparison.get("schema") != SCHEMA:
        raise ValueError(f"the comparison has schema {comparison.get('schema')}; this version reads {SCHEMA}.")
    files = {_key(result.path): result for result in results}
    named = [(line["label"], line["method"]) for part in comparison["sets"] for line in part["lines"]]
    by_label = looks_of(named)
    sets: list[ResultSet] = []
    runs_of = [
        [
            Run(*(run[name] for name in ("key", "label", "short", "line", "tokenizer")), _find(files, run["path"]))
            for run in part["runs"]
        ]
        for part in comparison["sets"]
    ]
    titles = _titles(comparison["sets"], runs_of)
    for part, runs, title in zip(comparison["sets"], runs_of, titles, strict=True):
        slug = _free(re.sub(r"[^A-Za-z0-9._-]+", "-", runs[0].result.protocol), [s.slug for s in sets])
        own = {_key(run.result.path): run for run in runs}
        told = [(own.get(_key(c["path"])), _longer(c)) for c in comparison.get("changes") or []]
        changes = [(run, change) for run, change in told if run and change["lengths"]]
        sets.append(ResultSet(slug, title, part, runs, _lines(part, runs, by_label), changes))
    return Study(comparison, sets, by_label)


def _lines(part: Mapping, runs: Sequence[Run], by_label: Mapping[str, Look]) -> list[Line]:
    by_key = {run.key: run.result for run in runs}
    return [
        Line(told["label"], told["method"], told["seq_len"], tuple(by_key[key] for key in told["runs"]), look)
        for told in part["lines"]
        for look in [by_label[told["label"]]]
    ]


def _longer(change: Mapping) -> Mapping:
    """A split without its entry at the training length, which is nothing but zeros."""
    return {**change, "lengths": [entry for entry in change["lengths"] if entry["length"] != change["against"]]}


def _titles(parts: Sequence[Mapping], runs_of: Sequence[Sequence[Run]]) -> list[str]:
    """A title for each set; with its number of tokens where the whole of its text, or another part, is here too."""
    texts = [(part["data"]["name"], part["data"]["split"]) for part in parts]
    hashes = [part["data"]["sha256"] for part in parts]
    titles = []
    for part, text, runs in zip(parts, texts, runs_of, strict=True):
        title = _title(part)
        if len({sha256 for other, sha256 in zip(texts, hashes, strict=True) if other == text}) > 1:
            counts = dict.fromkeys(run.result.content["data"]["tokens"] for run in runs)  # by tokenizer
            title += f", {'/'.join(f'{n:,}' for n in counts)} tokens"
        titles.append(title)
    alike = Counter(titles)  # two texts of one name and size
    return [t if alike[t] == 1 else f"{t}, text {sha[:8]}" for t, sha in zip(titles, hashes, strict=True)]


def _title(part: Mapping) -> str:
    """wikitext2 validation, nonoverlapping; precision and scorer where they are not the usual ones."""
    precision = "" if part["precision"] == "fp32" else f", {part['precision']}"
    return f"{words.text(part['data'])}, {part['protocol']}{precision}{words.scorer(part.get('scorer'))}"


def _key(path: str | Path) -> Path:
    return Path(path).absolute()


def _find(files: Mapping[Path, Result], path: str) -> Result:
    if _key(path) not in files:
        raise ValueError(f"the comparison names {path}, which is not among the result files given; load it too.")
    return files[_key(path)]


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, with a number behind it where another set has it."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free

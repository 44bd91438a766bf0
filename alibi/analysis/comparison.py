"""Results of several runs compared: which may be, and how sure their differences are.

Results that measured the same are compared. Per-token numbers of different tokenizers are not; per word and per byte
they are, where tokens cover the whole text.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from alibi.analysis.labels import label, tokenizers_of
from alibi.analysis.line import Run
from alibi.analysis.result_set import ResultSet
from alibi.analysis.statistics import ABOUT_INTERVALS
from alibi.analysis.tasks import TaskSet, task_sets
from alibi.results import Measured, Result, find_results, load_results

SCHEMA = 2  # of comparison.json


@dataclass(frozen=True)
class Refusal:
    """Why sets are not compared, and which, by number: each with its own value of what they do not share."""

    reason: str
    sets: list[tuple[int, str]]


@dataclass(frozen=True)
class Comparison:
    """
    Attributes:
        results: all that were given, in their order.
        sets: of texts.
        tasks: of tasks.
    """

    results: list[Result]
    sets: list[ResultSet]
    refused: list[Refusal]
    tasks: list[TaskSet] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        """Each run once, though it may be in several sets."""
        return list({run.label: run for part in (*self.sets, *self.tasks) for run in part.runs}.values())

    @property
    def has_intervals(self) -> bool:
        """Whether any number of any run has an interval over the text."""
        return any(run.result.has_intervals for part in self.sets for run in part.runs)

    @property
    def has_origins(self) -> bool:
        """Whether any run started from another's weights."""
        return any(run.result.checkpoint.origin for run in self.runs)

    def refusals(self) -> str:
        """Why which sets were not compared: a line each under each reason."""
        lines = []
        for refusal in self.refused:
            lines.append(f"  {refusal.reason}")
            lines += [f"    {self.sets[number].title}: {value}" for number, value in refusal.sets]
        return "\n".join(lines)

    def to_dict(self) -> dict:
        """The content of comparison.json."""
        labels = {run.result.path: run.label for part in self.sets for run in part.runs}
        return {
            "schema": SCHEMA,
            "intervals": ABOUT_INTERVALS,
            "sets": [part.to_dict() for part in self.sets],
            "tasks": [part.to_dict() for part in self.tasks],
            "changes": [
                {"run": labels[r.path], "path": str(r.path)} | r.content.change.model_dump(exclude_unset=True)
                for r in self.results
                if r.content.change
            ],
            "refused": [
                {"reason": r.reason, "sets": [{"set": number, "value": value} for number, value in r.sets]}
                for r in self.refused
            ],
        }


def compare_files(wanted: Sequence[str], against: str | None = None) -> Comparison:
    """
    Args:
        wanted: result files, run folders, or globs of these.
        against: label of the line, or of a run of it, to which charts are relative; None: each run to itself at its
            training length.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file that is no sound result; several runs, of which no two may be compared; or no line `against`.
    """
    comparison = compare(load_results(find_results(wanted)))
    runs = {result.checkpoint.sha256 for result in comparison.results}
    compared = any(pair.lengths for part in comparison.sets for pair in part.pairs)
    if len(runs) > 1 and not compared and not comparison.tasks:
        notes = [part.note for part in comparison.sets if len(part.runs) > 1]
        files = ", ".join(str(result.path) for result in comparison.results)
        reasons = [f"no two of these {len(runs)} runs may be compared ({files}):", *notes, comparison.refusals()]
        raise ValueError("\n".join(reasons))
    of_texts = [run for part in comparison.sets for run in part.runs]
    lines = {run.line: run.line for run in of_texts} | {run.label: run.line for run in of_texts}
    if against is not None and against not in lines:
        raise ValueError(f"against ({against}) must be a line of the comparison: {', '.join(lines)}.")
    return replace(comparison, sets=[replace(part, against=lines.get(against)) for part in comparison.sets])


def compare(results: Sequence[Result]) -> Comparison:
    """Compare results, each with all others that measured the same."""
    members: dict[Measured, list[Result]] = defaultdict(list)
    for result in results:
        if not result.is_of_task:
            members[result.measured].append(result)
    labels = _labels(results)
    names = dict(zip((result.path for result in results), labels, strict=True))
    titles = _titles(members)
    slugs = _slugs(members)
    sets = []
    # The most text first, since the page opens with it; of one text nonoverlapping first, as results come by name.
    for measured, own in sorted(members.items(), key=lambda item: -item[1][0].data.bytes):
        tokenizers = enumerate(zip(tokenizers_of(own), own, strict=True))
        runs = [Run(f"r{number}", *names[r.path], tokenizer, r) for number, (tokenizer, r) in tokenizers]
        sets.append(ResultSet(titles[measured], slugs[measured], runs))
    return Comparison(list(results), sets, _refusals(sets), task_sets(results, labels))


def _labels(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """Labels as `label` gives them: over all runs on texts, and over those on each task, which then say so."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, result in enumerate(results):
        groups[result.data.name if result.is_of_task else ""].append(place)
    found: dict[int, tuple[str, str, str]] = {}
    for task, places in groups.items():
        on = f" on {task}" if task and len(groups) > 1 else ""
        names = label([results[place] for place in places])
        found |= {place: tuple(name + on for name in own) for place, own in zip(places, names, strict=True)}
    return [found[place] for place in range(len(results))]


def _refusals(sets: Sequence[ResultSet]) -> list[Refusal]:
    """Each reason once, with every set that it keeps apart from another: pairs of sets would be many lines.

    The same weights on the same text by two protocols need no comparison.
    """
    words = [part.first.measured.in_words() for part in sets]
    weights = [{run.result.checkpoint.sha256 for run in part.runs} for part in sets]
    same = [(own, part.first.data.split, part.first.data.sha256) for own, part in zip(weights, sets, strict=True)]
    apart = [(a, b) for a, b in combinations(range(len(sets)), 2) if same[a] != same[b]]
    found = []
    for what in words[0] if words else ():
        held = sorted({n for a, b in apart if words[a][what] != words[b][what] for n in (a, b)})
        if held:
            found.append(Refusal(f"other {what}", [(n, words[n][what]) for n in held]))
    return found


def _slugs(members: dict[Measured, list[Result]]) -> dict[Measured, str]:
    """A name for the files of each set: that of its results; with the text's hash where two sets would share it."""
    names = {
        one: min((result.unadapted_protocol for result in own), key=lambda name: (len(name), name))
        for one, own in members.items()
    }
    alike = Counter(names.values())
    slugs = {one: name if alike[name] == 1 else replace(one, adapt="").slug(None) for one, name in names.items()}
    return {one: re.sub(r"[^A-Za-z0-9._-]+", "-", slug) for one, slug in slugs.items()}


def _titles(members: dict[Measured, list[Result]]) -> dict[Measured, str]:
    """A title for each set; with its number of tokens where the whole of its text, or another part, is here too."""
    parts = Counter((name, split) for name, split, _ in {(one.name, one.split, one.sha256) for one in members})
    titles = {}
    for one, results in members.items():
        titles[one] = results[0].title
        if parts[one.name, one.split] > 1:
            counts = dict.fromkeys(f"{result.data.tokens:,}" for result in results)  # by tokenizer
            titles[one] += f", {'/'.join(counts)} tokens"
    alike = Counter(titles.values())  # two texts of one name and size
    return {one: t if alike[t] == 1 else f"{t}, text {one.sha256[:8]}" for one, t in titles.items()}

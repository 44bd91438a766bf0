"""How the runs of a report were configured and made: what differs, and what they share."""

import json
from collections.abc import Sequence

from alibi.reporting.report_tables import Table
from alibi.reporting.study import Run, Study

MISSING = "–"


def setting_rows(study: Study) -> tuple[Table, list[tuple[str, str]], list[str]]:
    """(table of the settings that differ, the common ones, labels of the runs whose file tells none)."""
    told = {run.label: run.result.content["checkpoint"].get("settings") for run in study.runs}
    silent = [label for label, settings in told.items() if not settings]
    flat = {label: {k: _shown(v) for k, v in settings.items()} for label, settings in told.items() if settings}
    names = sorted({name for settings in flat.values() for name in settings})
    values = {name: {settings.get(name, MISSING) for settings in flat.values()} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    rows = [[(label, ""), *((s.get(name, MISSING), "") for name in differing)] for label, s in flat.items()]
    table = Table("settings", "Settings that differ", ["run", *differing], rows if differing else [])
    common = [(name, values[name].pop()) for name in names if len(values[name]) == 1]
    return table, common, silent


def made_with(study: Study) -> list[tuple[list[str], list[tuple[str, str]]]]:
    """(what was evaluated, with what), one entry for each way: runs, or the rows of one where they are of several."""
    rows = [
        (run.label, part.title, length, run.result.made_with(length))
        for part in study.sets
        for run in part.runs
        for length in run.result.rows
    ]
    ways: dict[str, dict] = {}
    of_run: dict[str, set[str]] = {}
    for label, _, _, told in rows:
        way = json.dumps(told, sort_keys=True)
        ways[way] = told
        of_run.setdefault(label, set()).add(way)
    found = []
    for told in ways.values():
        lengths: dict[str, list[str]] = {}
        for label, title, length, own in rows:
            if own == told:
                lengths.setdefault(label if len(of_run[label]) == 1 else f"{label}, {title}", []).append(str(length))
        labels = [name if name in of_run else f"{name}: {', '.join(numbers)}" for name, numbers in lengths.items()]
        found.append((labels, [(name, _shown(value)) for name, value in told.items()]))
    return found


def what_lacks(study: Study) -> list[str]:
    """What result files do not tell, older ones or those of short texts, a sentence for each kind of gap."""
    runs = [(part.title, run) for part in study.sets for run in part.runs if run.result.numbers]
    without = {run.result.why_no_intervals: [] for _, run in runs}
    for pair in runs:
        without[pair[1].result.why_no_intervals].append(pair)
    gaps = [
        ("have no checksum, so nobody can say whether they were changed", [r for r in runs if not r[1].result.checked]),
        *((f"have no intervals: {reason}", found) for reason, found in without.items() if reason),
        (
            "have no nats by context, so they are missing from that chart",
            [r for r in runs if not any(row.get("context") for row in r[1].result.numbers.values())],
        ),
    ]
    return [f"{_those(found, len(runs))} {what}." for what, found in gaps if found]


def _those(found: Sequence[tuple[str, Run]], total: int) -> str:
    if len(found) == total:
        return "All result files given"
    return f"The files of {'; '.join(f'{run.label} ({title})' for title, run in found)}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)

"""How the runs of a report were configured and made: what differs, and what they share."""

import json
from collections.abc import Sequence

from alibi.reporting.study import Run, Study
from alibi.reporting.tables import Table

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
    """(labels of the runs, what they were evaluated with), one entry for each way."""
    groups: dict[str, tuple[list[str], list[tuple[str, str]]]] = {}
    for run in study.runs:
        told = run.result.content.get("made_with") or {}
        key = json.dumps(told, sort_keys=True)
        groups.setdefault(key, ([], [(name, _shown(value)) for name, value in told.items()]))[0].append(run.label)
    return list(groups.values())


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

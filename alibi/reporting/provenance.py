"""How the runs of a report were configured and evaluated: what differs, what they share, what the files lack."""

import json
from collections import defaultdict
from collections.abc import Sequence

from alibi.analysis import Comparison, Run
from alibi.reporting.report_tables import Table, plain_cells

MISSING = "–"


def setting_rows(comparison: Comparison) -> tuple[Table, list[tuple[str, str]], list[str]]:
    """(table of the settings that differ, the common ones, labels of the runs whose file has none)."""
    stated = {run.label: run.result.checkpoint.settings for run in comparison.runs}
    silent = [label for label, settings in stated.items() if not settings]
    flat = {label: {k: _shown(v) for k, v in settings.items()} for label, settings in stated.items() if settings}
    names = sorted({name for settings in flat.values() for name in settings})
    values = {name: {settings.get(name, MISSING) for settings in flat.values()} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    rows = [plain_cells(label, *(s.get(name, MISSING) for name in differing)) for label, s in flat.items()]
    table = Table("settings", "Settings that differ", ["run", *differing], rows if differing else [])
    common = [(name, values[name].pop()) for name in names if len(values[name]) == 1]
    return table, common, silent


def made_with(comparison: Comparison) -> list[tuple[list[str], list[tuple[str, str]]]]:
    """(what was evaluated, machine and versions) for each way: runs, or single rows where a run's rows differ."""
    rows = [
        (run.label, part.title, length, json.dumps(run.result.made_with(length), sort_keys=True))
        for part in comparison.sets
        for run in part.runs
        for length in run.result.rows
    ]
    ways_of = defaultdict(set)
    for label, _, _, way in rows:
        ways_of[label].add(way)
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for label, title, length, way in rows:
        name = label if len(ways_of[label]) == 1 else f"{label}, {title}"
        found[way].setdefault(name, []).append(str(length))
    return [
        (
            [name if name in ways_of else f"{name}: {', '.join(lengths)}" for name, lengths in names.items()],
            [(name, _shown(value)) for name, value in json.loads(way).items()],
        )
        for way, names in found.items()
    ]


def what_lacks(comparison: Comparison) -> list[str]:
    """What result files do not state, older ones or those of short texts, a sentence for each kind of gap."""
    runs = [(part.title, run) for part in comparison.sets for run in part.runs if run.result.numbers]
    without = defaultdict(list)
    for title, run in runs:
        without[run.result.why_no_intervals].append((title, run))
    gaps = [
        ("have no checksum, so nobody can say whether they were changed", [r for r in runs if not r[1].result.checked]),
        *((f"have no intervals: {reason}", found) for reason, found in without.items() if reason),
        (
            "have no nats by context, so they are missing from that chart",
            [r for r in runs if not any("context" in row for row in r[1].result.numbers.values())],
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

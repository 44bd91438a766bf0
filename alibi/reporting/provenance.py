"""How the runs of a report were configured and evaluated: what differs, what they share, what the files lack."""

import json
from collections import defaultdict

from alibi.analysis import Comparison
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
    """(rows by set and run, machine and versions) for each way in which rows were made."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for part in comparison.sets:
        for run in part.runs:
            for length in run.result.rows:
                way = json.dumps(run.result.made_with(length), sort_keys=True)
                found[way][f"{run.label}, {part.title}"].append(str(length))
    return [
        (
            [f"{name}: {', '.join(lengths)}" for name, lengths in names.items()] if len(found) > 1 else ["every row"],
            [(name, _shown(value)) for name, value in json.loads(way).items()],
        )
        for way, names in found.items()
    ]


def what_lacks(comparison: Comparison) -> list[str]:
    """What result files do not state, older ones or those of short texts, a sentence for each kind of gap."""
    runs = [(part, run) for part in comparison.sets for run in part.runs if run.result.numbers]
    gaps: dict[str, list[str]] = defaultdict(list)
    for part, run in runs:
        name, result = f"{run.label} ({part.title})", run.result
        if result.content.sha256 is None:
            gaps["have no checksum, so a change by hand cannot be detected"].append(name)
        if result.why_no_intervals:
            gaps[f"have no intervals: {result.why_no_intervals}"].append(name)
        if not any("context" in row for row in result.numbers.values()):
            gaps["have no nats by context, so they are missing from that chart"].append(name)
    return [
        f"{'All result files given' if len(names) == len(runs) else 'The files of ' + '; '.join(names)} {gap}."
        for gap, names in gaps.items()
    ]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)

"""A comparison as text for a terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tabulate import tabulate

from alibi.reporting.provenance import what_lacks
from alibi.reporting.published_table import published_table
from alibi.reporting.report_tables import Table, against_rows, change_rows, far_rows, result_rows, run_rows
from alibi.reporting.study import ResultSet, join
from alibi.reporting.words import METRICS
from alibi.results.result import Result
from alibi.results.schema import SAME


def comparison_text(results: Sequence[Result], comparison: Mapping) -> str:
    """Everything that a comparison found, set by set: numbers, differences, how far, crossings, splits, refusals.

    Raises:
        ValueError: the comparison is of another schema, or names a file that `results` lacks.
    """
    study = join(results, comparison)
    parts = [plain(run_rows(study))]
    for part in study.sets:
        for metric in part.metrics:
            parts.append(plain(result_rows(part, metric)))
        if (beside := published_table(part)).rows:
            parts.append(plain(beside))
        if part.content["note"]:
            parts.append(f"Note: {part.content['note']}.")
        if len(part.runs) > 1 and part.metrics and any(pair["lengths"] for pair in part.content["pairs"]):
            parts.append(plain(against_best(part, part.metrics[0])))
    if study.has_intervals:
        told = comparison["intervals"]
        parts.append(
            f"Intervals: {100 * told['level']:g} %, {told['method']}, {told['resamples']:,} resamples. They hold for "
            f"{told['holds_for']}."
        )
    parts += [f"Note: {sentence}" for sentence in what_lacks(study)]
    return "\n\n".join([*parts, findings_text(results, comparison)])


def findings_text(results: Sequence[Result], comparison: Mapping) -> str:
    """What follows from the numbers: how far each run holds, where methods cross, why perplexity changed."""
    study, parts = join(results, comparison), []
    for part in study.sets:
        if part.content["how_far"]:
            parts.append(plain(far_rows(part)))
        if part.content["crossings"]:
            parts.append(f"Where methods cross, {part.title}\n{crossings_text(part)}")
        if part.changes:
            parts.append(plain(change_rows(part)))
    if study.refused:
        parts.append(f"Not compared\n{refusals_text(results, comparison)}")
    return "\n\n".join(parts)


def refusals_text(results: Sequence[Result], comparison: Mapping) -> str:
    """Why which sets were not compared: a line each under each reason."""
    told = join(results, comparison).refused
    return "\n".join(line for reason, sets in told for line in (f"  {reason}", *(f"    {one}" for one in sets)))


def plain(table: Table) -> str:
    rows = [[f"{main}\n{small}" if small else main for main, small in row] for row in table.rows]
    sides = ["left", *["right"] * (len(table.header) - 1)]
    text = tabulate(rows, table.header, "simple", disable_numparse=True, colalign=sides)
    return "\n".join([table.title, text, *([table.note] if table.note else [])])


def against_best(part: ResultSet, metric: str) -> Table:
    """Each run against the one that is best at the longest length that all have."""
    shared = set.intersection(*(set(run.result.numbers) for run in part.runs))
    at = max(shared or part.lengths)
    values = [run.result.numbers.get(at, {}).get(metric, math.inf) for run in part.runs]
    # The first of those that only rounding tells apart.
    best = next(run for run, v in zip(part.runs, values, strict=True) if math.isclose(v, min(values), rel_tol=SAME))
    table = against_rows(part, best, metric)
    note = "Paired, on the same text. Above zero: worse than the best run"
    note += (
        "; an interval that holds zero says nothing." if any(small for row in table.rows for _, small in row) else "."
    )
    title = f"Against {best.label}, the best at {at}: {METRICS[metric]}, {part.title}"
    return replace(table, title=title, note=note)


def crossings_text(part: ResultSet) -> str:
    lines = [
        f"  {pair['a']} and {pair['b']}: "
        + ", ".join(f"about {c['about']:.0f} (between {c['after']} and {c['before']})" for c in pair["at"])
        for pair in part.content["crossings"]
        if pair["at"]
    ]
    return "\n".join(lines) if lines else "  no two of them within the lengths evaluated"

"""A comparison as text for a terminal."""

import math
from dataclasses import replace

from tabulate import tabulate

from alibi.analysis import ABOUT_INTERVALS, Comparison, ResultSet
from alibi.reporting import words
from alibi.reporting.provenance import what_lacks
from alibi.reporting.published_table import published_table
from alibi.reporting.report_tables import Table, against_rows, change_rows, far_rows, result_rows, run_rows
from alibi.reporting.words import METRICS
from alibi.results import TOLERANCE


def comparison_text(comparison: Comparison) -> str:
    """Everything that a comparison found, set by set: numbers, differences, how far, crossings, splits, refusals."""
    parts = [plain(run_rows(comparison))]
    for part in comparison.sets:
        parts += [plain(result_rows(part, metric)) for metric in part.metrics]
        if (beside := published_table(part)).rows:
            parts.append(plain(beside))
        if part.note:
            parts.append(f"Note: {part.note}.")
        if part.metrics and any(pair.lengths for pair in part.pairs):
            parts.append(plain(against_best(part, part.metrics[0])))
    if comparison.has_intervals:
        parts.append(
            f"Intervals: {words.percents(ABOUT_INTERVALS['level'])}, {ABOUT_INTERVALS['method']}, "
            f"{ABOUT_INTERVALS['resamples']:,} resamples. They hold for {ABOUT_INTERVALS['holds_for']}."
        )
    parts += [f"Note: {sentence}" for sentence in what_lacks(comparison)]
    return "\n\n".join([*parts, findings_text(comparison)])


def findings_text(comparison: Comparison) -> str:
    """What follows from the numbers: how far each run holds, where methods cross, why perplexity changed."""
    parts = []
    for part in comparison.sets:
        if part.how_far:
            parts.append(plain(far_rows(part)))
        if part.crossings:
            parts.append(f"Where methods cross, {part.title}\n{_crossings_text(part)}")
        if part.changes:
            parts.append(plain(change_rows(part)))
    if comparison.refused:
        parts.append(f"Not compared\n{refusals_text(comparison)}")
    return "\n\n".join(parts)


def refusals_text(comparison: Comparison) -> str:
    """Why which sets were not compared: a line each under each reason."""
    lines = []
    for refusal in comparison.refused:
        lines.append(f"  {refusal.reason}")
        lines += [f"    {part.title}: {value}" for part, value in refusal.sets]
    return "\n".join(lines)


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
    first = next(i for i, value in enumerate(values) if math.isclose(value, min(values), rel_tol=TOLERANCE))
    best = part.runs[first]
    table = against_rows(part, best, metric)
    has_intervals = any(small for row in table.rows for _, small in row)
    note = "Paired, on the same text. Above zero: worse than the best run"
    note += "; an interval that holds zero says nothing." if has_intervals else "."
    return replace(table, title=f"Against {best.label}, the best at {at}: {METRICS[metric]}, {part.title}", note=note)


def _crossings_text(part: ResultSet) -> str:
    lines = [
        f"  {pair.a} and {pair.b}: "
        + ", ".join(f"about {c.about:.0f} (between {c.after} and {c.before})" for c in pair.at)
        for pair in part.crossings
        if pair.at
    ]
    return "\n".join(lines) if lines else "  no two of them within the lengths evaluated"

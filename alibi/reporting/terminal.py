"""Results and comparisons as text for a terminal: what evaluate.py and scripts/report.py print."""

import math
from collections.abc import Sequence
from dataclasses import replace

from tabulate import tabulate

from alibi.analysis import ABOUT_INTERVALS, Comparison, ResultSet, Run
from alibi.reporting import report_tables as tables
from alibi.reporting import words
from alibi.reporting.provenance import what_lacks
from alibi.reporting.report_tables import Table, plain_cells
from alibi.reporting.words import METRICS
from alibi.results import TOLERANCE, Result


def results_table(part: ResultSet, lengths: Sequence[int]) -> str:
    """What evaluate.py prints of a set: a table for each metric, with what was measured above them.

    Numbers per token of different tokenizers are never in one table.
    """
    results = [run.result for run in part.runs]
    parts = [_measured(results)]
    tokenizers = list(dict.fromkeys(run.tokenizer for run in part.runs))
    for tokenizer in tokenizers:
        which = f" of tokenizer {tokenizer}" if len(tokenizers) > 1 else ""
        same = [run for run in part.runs if run.tokenizer == tokenizer]
        parts.append(_one_metric(same, lengths, "perplexity", which))
    parts.append(_one_metric(part.runs, lengths, part.shared_metric))
    failed = [(r, length) for r in results for length in lengths if "error" in r.rows.get(length, {})]
    reasons = [f"{r.run} at length {length}: {r.rows[length]['error']}" for r, length in failed]
    not_covered = [f"{words.MARK} {r.run}: {r.not_covered}" for r in results if r.not_covered]
    notes = ["\n".join(lines) for lines in (not_covered, _without_intervals(results), reasons) if lines]
    return "\n\n".join([*parts, *notes])


def _measured(results: Sequence[Result]) -> str:
    first = results[0]
    counts = [
        f"{'/'.join(f'{n:,}' for n in dict.fromkeys(getattr(r.data, unit) for r in results))} {unit}"
        for unit in ("tokens", "words", "bytes")
    ]
    what = f"{first.text}, {first.measured.protocol}, {first.measured.precision}{first.scorer_note}"
    return f"{what}: {', '.join(counts)}, every token scored once at every length"


def _one_metric(runs: Sequence[Run], lengths: Sequence[int], metric: str, which: str = "") -> str:
    """One row a run, one column a length, the training length marked."""
    rows = []
    for run in runs:
        about = run.short, words.known(run.result.seq_len), words.known(run.result.seed), str(run.result.step)
        rows.append([*plain_cells(*about), *(tables.row_cell(run, length, metric) for length in lengths)])
    has_interval = any(small for row in rows for _, small in row)
    below = f"; under a number its {words.percents(ABOUT_INTERVALS['level'])} interval" if has_interval else ""
    title = f"{METRICS[metric]}{which}, at length (* is the training length{below})"
    return plain(Table("", title, ["method", "trained at", "seed", "step", *map(str, lengths)], rows))


def _without_intervals(results: Sequence[Result]) -> list[str]:
    """Why there are none, once where it is the same for all."""
    reasons = {r.run: r.why_no_intervals for r in results}
    if len(set(reasons.values())) == 1:
        return [f"no intervals: {reason}" for reason in set(reasons.values()) if reason]
    return [f"{run}: no intervals: {reason}" for run, reason in reasons.items() if reason]


def comparison_text(comparison: Comparison) -> str:
    """Everything that a comparison found, set by set: numbers, differences, how far, crossings, splits, refusals."""
    parts = [plain(tables.run_rows(comparison))]
    for part in comparison.sets:
        parts += [plain(tables.result_rows(part, metric)) for metric in part.metrics]
        if (beside := tables.published_table(part)).rows:
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
            parts.append(plain(tables.far_rows(part)))
        if part.crossings:
            parts.append(f"Where methods cross, {part.title}\n{_crossings_text(part)}")
        if part.changes:
            parts.append(plain(tables.change_rows(part)))
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
    table = tables.against_rows(part, best, metric)
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

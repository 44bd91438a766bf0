"""Results and comparisons as text for a terminal: what evaluate.py and scripts/report.py print."""

from collections.abc import Sequence

from tabulate import tabulate

from alibi.analysis import Comparison, ResultSet, Run
from alibi.analysis.judged import BASELINES
from alibi.reporting import report_tables as tables
from alibi.reporting import words
from alibi.reporting.sentences import sentence_table
from alibi.reporting.table import Table, plain_cells
from alibi.reporting.task_tables import task_tables
from alibi.results import METRICS


def results_table(part: ResultSet, lengths: Sequence[int]) -> str:
    """What evaluate.py prints of a set: a table for each metric, with what was measured above them.

    Numbers per token of different tokenizers are never in one table.
    """
    data = [run.result.data for run in part.runs]
    counts = []
    for unit in ("tokens", "words", "bytes"):
        counts.append("/".join(dict.fromkeys(f"{getattr(text, unit):,}" for text in data)) + f" {unit}")
    parts = [f"{part.first.title}: {', '.join(counts)}, every token scored once at every length"]
    tokenizers = list(dict.fromkeys(run.tokenizer for run in part.runs))
    for tokenizer in tokenizers:
        which = f" of tokenizer {tokenizer}" if len(tokenizers) > 1 else ""
        same = [run for run in part.runs if run.tokenizer == tokenizer]
        parts.append(_one_metric(same, lengths, "perplexity", which))
    parts.append(_one_metric(part.runs, lengths, part.shared_metric))
    parts += ["\n".join(notes)] if (notes := tables.remarks(part.runs, lengths, part.shared_metric)) else []
    return "\n\n".join(parts)


def _one_metric(runs: Sequence[Run], lengths: Sequence[int], metric: str, which: str = "") -> str:
    """One row a run, one column a length, the training length marked."""
    rows = []
    for run in runs:
        weights = run.result.checkpoint
        about = run.short, words.known(weights.seq_len), words.known(weights.seed), str(weights.step)
        rows.append([*plain_cells(*about), *(tables.row_cell(run, length, metric) for length in lengths)])
    has_interval = any(small for row in rows for _, small in row)
    below = f"; under a number its {words.LEVEL} interval" if has_interval else ""
    title = f"{METRICS[metric].label}{which}, at length (* is the training length{below})"
    return plain(Table("", title, ["method", "trained at", "seed", "step", *map(str, lengths)], rows))


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
            metric = part.metrics[0]
            parts.append(plain(tables.against_rows(part, tables.best_run(part, metric), metric)))
    if comparison.has_intervals:
        parts.append(f"Intervals: {words.INTERVALS}")
    return "\n\n".join([*parts, findings_text(comparison)])


def findings_text(comparison: Comparison) -> str:
    """What follows from the numbers: how far each run holds, where methods cross, why perplexity changed."""
    parts = []
    for part in comparison.sets:
        if part.how_far:
            far = tables.far_rows(part)
            parts.append(plain(far) if far.rows else f"{far.title}\n  {far.note}")
        parts += map(plain, tables.measure_tables(part))
        parts += [plain(table) for baseline in BASELINES if (table := tables.adapted_rows(part, baseline)).rows]
        if part.crossings:
            lines = [
                f"  {a.label} and {b.label}: about {place.about:.0f} (between {place.after} and {place.before})"
                for a, b, places in part.crossings
                for place in places
            ]
            lines = lines or ["  no two of them within the lengths evaluated"]
            parts.append("\n".join([f"Where methods cross, {part.title}", *lines]))
        if part.changes:
            parts.append(plain(tables.change_rows(part)))
    parts += map(plain, task_tables(comparison))
    if sentences := sentence_table(comparison).rows:
        parts.append("\n".join(["In a sentence", *(f"  {method}: {text}" for (method, _), (text, _) in sentences)]))
    if comparison.refused:
        parts.append(f"Not compared\n{comparison.refusals()}")
    return "\n\n".join(parts)


def plain(table: Table) -> str:
    rows = [[f"{main}\n{small}" if small else main for main, small in row] for row in table.rows]
    sides = ["left", *["right"] * (len(table.header) - 1)]
    text = tabulate(rows, table.header, "simple", disable_numparse=True, colalign=sides)
    return "\n".join([table.title, text, *([table.note] if table.note else [])])

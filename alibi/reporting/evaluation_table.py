"""What evaluate.py prints of a set: one row a run, one column a length, the training length marked."""

from collections.abc import Sequence

from tabulate import tabulate

from alibi.analysis import ABOUT_INTERVALS, ResultSet, Run
from alibi.reporting import words
from alibi.reporting.report_tables import row_cell
from alibi.reporting.words import METRICS
from alibi.results import Result


def results_table(part: ResultSet, lengths: Sequence[int]) -> str:
    """A table for each metric, with what was measured above them. An interval stands under its number.

    Numbers per token of different tokenizers are never in one table.
    """
    results = [run.result for run in part.runs]
    parts = [_title(results)]
    tokenizers = list(dict.fromkeys(run.tokenizer for run in part.runs))
    for tokenizer in tokenizers:
        which = f" of tokenizer {tokenizer}" if len(tokenizers) > 1 else ""
        same = [run for run in part.runs if run.tokenizer == tokenizer]
        parts.append(_table(same, lengths, "perplexity", which))
    parts.append(_table(part.runs, lengths, second_metric(results), ""))
    reasons = [
        f"{r.run} at length {length}: {r.rows[length]['error']}"
        for r in results
        for length in lengths
        if "error" in r.rows.get(length, {})
    ]
    not_covered = [f"{words.MARK} {r.run}: {r.not_covered}" for r in results if r.not_covered]
    notes = ["\n".join(lines) for lines in (not_covered, _without_intervals(results), reasons) if lines]
    return "\n\n".join([*parts, *notes])


def second_metric(results: Sequence[Result]) -> str:
    """What tokenizers share: words for WikiText, bytes for files such as sources, which have no words."""
    return "bits_per_byte" if "files" in {r.data.form for r in results} else "word_perplexity"


def _table(runs: Sequence[Run], lengths: Sequence[int], metric: str, which: str) -> str:
    header = ["method", "trained at", "seed", "step", *map(str, lengths)]
    rows = []
    for run in runs:
        cells = [row_cell(run, length, metric) for length in lengths]
        values = [f"{main}\n{small}" if small else main for main, small in cells]
        result = run.result
        rows.append([run.short, words.known(result.seq_len), words.known(result.seed), result.step, *values])
    table = tabulate(rows, header, disable_numparse=True, colalign=("left", *["right"] * (len(header) - 1)))
    numbers = [run.result.numbers.get(length, {}) for run in runs for length in lengths]
    has_interval = any(row.get("interval", {}).get(metric) for row in numbers)
    below = f"; under a number its {words.percents(ABOUT_INTERVALS['level'])} interval" if has_interval else ""
    return f"{METRICS[metric]}{which}, at length (* is the training length{below})\n{table}"


def _title(results: Sequence[Result]) -> str:
    first = results[0]
    counts = [
        f"{'/'.join(f'{n:,}' for n in dict.fromkeys(getattr(r.data, unit) for r in results))} {unit}"
        for unit in ("tokens", "words", "bytes")
    ]
    what = f"{first.text}, {first.measured.protocol}, {first.measured.precision}{first.scorer_note}"
    return f"{what}: {', '.join(counts)}, every token scored once at every length"


def _without_intervals(results: Sequence[Result]) -> list[str]:
    """Why there are none, once where it is the same for all."""
    reasons = {r.run: r.why_no_intervals for r in results}
    if len(set(reasons.values())) == 1:
        return [f"no intervals: {reason}" for reason in set(reasons.values()) if reason]
    return [f"{run}: no intervals: {reason}" for run, reason in reasons.items() if reason]

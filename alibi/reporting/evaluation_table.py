"""Results as text tables: one row a run, one column a length, the training length marked."""

from collections.abc import Sequence

from tabulate import tabulate

from alibi.reporting import words
from alibi.reporting.study import ResultSet, Run
from alibi.reporting.words import METRICS
from alibi.results.result import Result


def results_table(part: ResultSet, lengths: Sequence[int], style: str = "simple") -> str:
    """A table for each metric, with what was measured above them. An interval stands under its number.

    Numbers per token of different tokenizers never stand in one table.

    Args:
        style: of the `tabulate` library; `github` gives Markdown.
    """
    results = [run.result for run in part.runs]
    parts = [_title(results)]
    tokenizers = list(dict.fromkeys(run.tokenizer for run in part.runs))
    for tokenizer in tokenizers:
        which = f" of tokenizer {tokenizer}" if len(tokenizers) > 1 else ""
        same = [run for run in part.runs if run.tokenizer == tokenizer]
        parts.append(_table(same, lengths, "perplexity", which, style))
    parts.append(_table(part.runs, lengths, second_metric(results), "", style))
    return "\n\n".join([*parts, *_not_covered(results), *_without_intervals(results), *_reasons(results, lengths)])


def second_metric(results: Sequence[Result]) -> str:
    """What tokenizers share: words for WikiText, bytes for files such as sources, which have no words."""
    forms = {r.content["data"].get("form") for r in results}
    return "bits_per_byte" if "files" in forms else "word_perplexity"


def has_interval(results: Sequence[Result], lengths: Sequence[int], metric: str) -> bool:
    """Whether any of the rows has an interval of the metric."""
    return any(_interval(r.numbers.get(length, {}), metric) for r in results for length in lengths)


def _table(runs: Sequence[Run], lengths: Sequence[int], metric: str, which: str, style: str) -> str:
    header = ["method", "trained at", "seed", "step", *map(str, lengths)]
    # tabulate knows cells of two lines in its plain styles; Markdown has a tag for it.
    new_line = "<br>" if style in ("github", "pipe") else "\n"
    rows = [
        [
            run.short,
            words.known(run.result.seq_len),
            words.known(run.result.seed),
            run.result.step,
            *(_cell(run.result, length, metric, new_line) for length in lengths),
        ]
        for run in runs
    ]
    results = [run.result for run in runs]
    table = tabulate(rows, header, style, disable_numparse=True, colalign=("left", *["right"] * (len(header) - 1)))
    below = (
        f"; under a number its {words.percents(results[0].level)} interval"
        if has_interval(results, lengths, metric)
        else ""
    )
    return f"{METRICS[metric]}{which}, at length (* is the training length{below})\n{table}"


def _title(results: Sequence[Result]) -> str:
    first = results[0].content
    data = first["data"]
    counts = [
        f"{'/'.join(f'{n:,}' for n in dict.fromkeys(r.content['data'][unit] for r in results))} {unit}"
        for unit in ("tokens", "words", "bytes")
    ]
    how = f"{first['protocol']['name']}, {first['precision']}{words.scorer(first.get('scorer'))}"
    what = f"{words.text(data)}, {how}"
    return f"{what}: {', '.join(counts)}, every token scored once at every length"


def _cell(result: Result, length: int, metric: str, new_line: str) -> str:
    row = result.rows.get(length)
    if row is None:
        return ""
    mark = "*" if length == result.seq_len else ""
    if "error" in row:
        return f"{words.short(row['error'])}{mark}"
    marked = result.is_marked(metric)
    if row.get(metric) is None:
        return words.NOT_COVERED if marked else ""
    mark += words.MARK if marked else ""
    pair = _interval(row, metric)
    return f"{words.number(row[metric])}{mark}{new_line + words.interval(*pair) if pair else ''}"


def _interval(row: dict, metric: str) -> list[float] | None:
    return (row.get("interval") or {}).get(metric)


def _not_covered(results: Sequence[Result]) -> list[str]:
    lines = [f"{words.MARK} {r.run}: {r.not_covered}" for r in results if r.not_covered]
    return ["\n".join(lines)] if lines else []


def _without_intervals(results: Sequence[Result]) -> list[str]:
    """Why there are none, once where it is the same for all."""
    reasons = {r.run: r.why_no_intervals for r in results}
    if len(set(reasons.values())) == 1:
        return [f"no intervals: {reason}" for reason in set(reasons.values()) if reason]
    lines = [f"{run}: no intervals: {reason}" for run, reason in reasons.items() if reason]
    return ["\n".join(lines)]


def _reasons(results: Sequence[Result], lengths: Sequence[int]) -> list[str]:
    lines = [
        f"{r.run} at length {length}: {r.rows[length]['error']}"
        for r in results
        for length in lengths
        if "error" in r.rows.get(length, {})
    ]
    return ["\n".join(lines)] if lines else []

"""Results as text tables: one row a run, one column a length, the training length marked."""

from collections.abc import Sequence

from tabulate import tabulate

from alibi.reporting.results import Result, told_apart

METRICS = {
    "perplexity": "perplexity per token",
    "word_perplexity": "perplexity per word",
    "bits_per_byte": "bits per byte",
}


def results_table(results: Sequence[Result], lengths: Sequence[int], style: str = "simple") -> str:
    """A table for each metric, with what was measured above them.

    Args:
        results: of one protocol.
        style: of the `tabulate` library; `github` gives Markdown.
    """
    parts, names = [_title(results)], told_apart(results)
    for metric in ("perplexity", _second_metric(results)):
        header = ["method", "trained at", "seed", "step", *map(str, lengths)]
        rows = [
            [names[r.path], r.seq_len, r.seed, r.step, *(_cell(r, length, metric) for length in lengths)]
            for r in results
        ]
        table = tabulate(rows, header, style, disable_numparse=True, colalign=("left", *["right"] * (len(header) - 1)))
        parts.append(f"{METRICS[metric]}, at length (* is the training length)\n{table}")
    return "\n\n".join([*parts, *_reasons(results, lengths)])


def _second_metric(results: Sequence[Result]) -> str:
    """What tokenizers share: words for WikiText, bytes for files such as sources, which have no words."""
    forms = {r.content["data"].get("form") for r in results}
    return "bits_per_byte" if "files" in forms else "word_perplexity"


def _title(results: Sequence[Result]) -> str:
    first = results[0].content
    data = first["data"]
    counts = [
        f"{'/'.join(f'{n:,}' for n in dict.fromkeys(r.content['data'][unit] for r in results))} {unit}"
        for unit in ("tokens", "words", "bytes")
    ]
    what = f"{data['name']} {data['split']}, {first['protocol']['name']}, {first['precision']}"
    return f"{what}: {', '.join(counts)}, every token scored once at every length"


def _cell(result: Result, length: int, metric: str) -> str:
    row = result.rows.get(length)
    if row is None:
        return ""
    mark = "*" if length == result.seq_len else ""
    return f"{_short(row['error']) if 'error' in row else _number(row[metric])}{mark}"


def _number(value: float) -> str:
    """Four digits or more: 1.234, 41.30, 1.23e+06."""
    if value < 10:
        return f"{value:.3f}"
    return f"{value:.2f}" if value < 10000 else f"{value:.3g}"


def _short(error: str) -> str:
    """`out of memory: tried to allocate ...` as `out of memory`."""
    return error.partition(":")[0]


def _reasons(results: Sequence[Result], lengths: Sequence[int]) -> list[str]:
    lines = [
        f"{r.run} at length {length}: {r.rows[length]['error']}"
        for r in results
        for length in lengths
        if "error" in r.rows.get(length, {})
    ]
    return ["\n".join(lines)] if lines else []

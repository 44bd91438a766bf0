"""What the tables of a report hold; `write` turns each into Markdown and LaTeX, the page into HTML."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from alibi.reporting import words
from alibi.reporting.study import ResultSet, Run, Study
from alibi.reporting.training_log import read_training
from alibi.reporting.words import METRICS
from alibi.results.schema import SAME

# What stands in a cell, and what stands small under it (an interval), or nothing.
Cell = tuple[str, str]


@dataclass(frozen=True)
class Table:
    """One table. `strong` are the places of rows that sum up others."""

    name: str
    title: str
    header: list[str]
    rows: list[list[Cell]]
    note: str = ""
    strong: tuple[int, ...] = ()


def result_rows(part: ResultSet, metric: str) -> Table:
    """A row for each run; under a line's runs their mean, with an interval over the seeds where there is one."""
    header = ["run", "trained at", *map(str, part.lengths)]
    rows, strong, reasons = [], [], []
    for line in part.content["lines"]:
        runs = [run for run in part.runs if run.key in line["runs"]]
        for run in runs:
            cells = [_value(run, length, metric) for length in part.lengths]
            rows.append([(run.label, ""), (words.known(run.result.seq_len), ""), *cells])
            if run.result.is_marked(metric):
                reasons.append(f"{words.MARK} {run.label}: {run.result.not_covered}.")
            errors = [(n, row["error"]) for n, row in run.result.rows.items() if "error" in row]
            reasons += [f"{run.label} at length {n}: {error}." for n, error in errors]
        if len(runs) > 1:
            strong.append(len(rows))
            means = [_mean(part, line["label"], length, metric) for length in part.lengths]
            rows.append(
                [(f"{line['label']}, mean of {len(runs)} seeds", ""), (words.known(line["seq_len"]), ""), *means]
            )
    note = f"Lower is better. * the training length. {' '.join(reasons)}".strip()
    name, title = f"results-{part.slug}-{metric.replace('_', '-')}", f"{METRICS[metric].capitalize()}, {part.title}"
    return Table(name, title, header, rows, note, tuple(strong))


def _value(run: Run, length: int, metric: str) -> Cell:
    row = run.result.rows.get(length)
    if row is None:
        return "", ""
    mark = "*" if length == run.result.seq_len else ""
    if "error" in row:
        return f"{words.short(row['error'])}{mark}", ""
    marked = run.result.is_marked(metric)
    if row.get(metric) is None:
        return words.NOT_COVERED if marked else "", ""
    mark += words.MARK if marked else ""
    pair = (row.get("interval") or {}).get(metric)
    return f"{words.number(row[metric])}{mark}", words.interval(*pair) if pair else ""


def _mean(part: ResultSet, line: str, length: int, metric: str) -> Cell:
    told = part.mean(line, length, metric)
    if told.get("mean") is None:
        return "", ""
    pair = told.get("interval")
    return words.number(told["mean"]), words.interval(*pair) if pair else ""


def order_rows(part: ResultSet, metric: str) -> Table:
    """The lines at each length from best to worst, and whether the text tells each from the next."""
    columns = [_order(part, length, metric) for length in part.lengths]
    depth = max((len(column) for column in columns), default=0)
    rows = [[(str(i + 1), ""), *(c[i] if i < len(c) else ("", "") for c in columns)] for i in range(depth)]
    note = (
        "By the mean over seeds. ≈ stands where the paired interval of some pair of runs does not tell a line from the "
        "next one below it, or only rounding does; ? where there is no interval."
    )
    name = f"order-{part.slug}-{metric.replace('_', '-')}"
    return Table(name, f"Order by {METRICS[metric]}, {part.title}", ["place", *map(str, part.lengths)], rows, note)


def _order(part: ResultSet, length: int, metric: str) -> list[Cell]:
    told = {line.label: part.mean(line.label, length, metric).get("mean") for line in part.lines}
    ranked = sorted((value, label) for label, value in told.items() if value is not None)
    cells = []
    for place, (value, label) in enumerate(ranked):
        mark = ""
        if place + 1 < len(ranked):
            next_value, below = ranked[place + 1]
            same = math.isclose(value, next_value, rel_tol=SAME)
            apart = False if same else is_apart(part, label, below, length, metric)
            mark = {True: "", False: " ≈", None: " ?"}[apart]
        cells.append((label, f"{words.number(value)}{mark}"))
    return cells


def is_apart(part: ResultSet, better: str, worse: str, length: int, metric: str) -> bool | None:
    """Whether every pair of runs of two lines is told apart, `better` below; None where no pair has an interval."""
    line_of = {run.key: run.line for run in part.runs}
    verdicts = []
    for pair in part.content["pairs"]:
        ends = line_of[pair["a"]], line_of[pair["b"]]
        if ends not in ((better, worse), (worse, better)):
            continue
        entry = next((e for e in pair["lengths"] if e["length"] == length), {}).get(metric) or {}
        if entry.get("interval"):
            null = 1.0 if "ratio" in entry else 0.0
            low, high = entry["interval"]
            verdicts.append(high < null if ends[0] == better else low > null)
    return all(verdicts) if verdicts else None


def difference_rows(part: ResultSet, metric: str) -> Table:
    """Every pair of runs on equal text: the first against the second."""
    names = {run.key: run.label for run in part.runs}
    rows = []
    for pair in part.content["pairs"]:
        cells = {entry["length"]: difference(entry.get(metric)) for entry in pair["lengths"]}
        pair_of = f"{names[pair['a']]} against {names[pair['b']]}"
        rows.append([(pair_of, ""), *(cells.get(length, ("", "")) for length in part.lengths)])
    name = f"differences-{part.slug}-{metric.replace('_', '-')}"
    title = f"Differences in {METRICS[metric]}, {part.title}"
    note = "Paired on the same text. Below zero: the first is better."
    return Table(name, title, ["runs", *map(str, part.lengths)], rows, note)


def difference(entry: Mapping | None) -> Cell:
    """A pair's ratio as a change, or its difference, with the interval under it."""
    if not entry:
        return "", ""
    pair = entry.get("interval")
    if "ratio" in entry:
        return words.change(entry["ratio"]), words.change_interval(*pair) if pair else ""
    return words.signed(entry["difference"]), words.interval(*pair, signed=True) if pair else ""


def against_rows(part: ResultSet, reference: Run, metric: str) -> Table:
    """Every other run against one of them, on equal text."""
    others: dict[str, dict[int, Mapping]] = {run.key: {} for run in part.runs if run is not reference}
    for pair in part.content["pairs"]:
        if reference.key in (pair["a"], pair["b"]):
            swap = pair["a"] == reference.key
            entries = {entry["length"]: entry.get(metric) or {} for entry in pair["lengths"]}
            others[pair["b"] if swap else pair["a"]] = {n: _swapped(e) if swap else e for n, e in entries.items()}
    names = {run.key: run.label for run in part.runs}
    rows = [
        [(names[key], ""), *(difference(cells.get(length)) for length in part.lengths)] for key, cells in others.items()
    ]
    title = f"Against {reference.label}: {METRICS[metric]}, {part.title}"
    note = f"Paired on the same text. Below zero: better than {reference.label}."
    return Table("against", title, ["run", *map(str, part.lengths)], rows, note)


def _swapped(entry: Mapping) -> Mapping:
    """A pair's difference with the second run in place of the first."""
    if not entry:
        return entry
    pair = entry["interval"]
    if "ratio" in entry:
        return {"ratio": 1 / entry["ratio"], "interval": pair and [1 / pair[1], 1 / pair[0]]}
    return {"difference": -entry["difference"], "interval": pair and [-pair[1], -pair[0]]}


def far_rows(part: ResultSet) -> Table:
    """How far each run holds."""
    names = {run.key: run.label for run in part.runs}
    rows = []
    for told in part.content["how_far"]:
        length, breaks = told.get("length"), told.get("breaks_at")
        reached = f"{length}" if length else f"not known: {told.get('reason') or 'no reason given'}"
        broken = f"{breaks}" if breaks else (f"not up to {told['evaluated_to']}" if told.get("evaluated_to") else "")
        rows.append([(text, "") for text in (names[told["run"]], f"{told['within_percent']:g} %", reached, broken)])
    header = ["run", "within", "holds to length", "breaks at"]
    return Table(f"how-far-{part.slug}", f"How far each run holds, {part.title}", header, rows)


def change_rows(part: ResultSet) -> Table:
    """The two-part split of each run of a sliding set at each length, in nats per token."""
    rows = []
    for runs in part.changes_by_line.values():
        for run in runs:
            for entry in run["lengths"]:
                pairs = entry.get("interval") or {}
                cells = [
                    (words.signed(entry[name]), words.interval(*pairs[name], signed=True) if pairs.get(name) else "")
                    for name in ("longer_context", "early_tokens", "whole")
                ]
                rows.append([(run["run"], ""), (str(run["against"]), ""), (str(entry["length"]), ""), *cells])
    header = ["run", "from length", "to length", "longer context", "early tokens", "whole change"]
    title = f"Why it changed against nonoverlapping, nats per token, {part.title}"
    return Table(f"two-part-split-{part.slug}", title, header, rows)


def run_rows(study: Study) -> Table:
    """Parameters and compute of each run, and what its training cost where its log is beside it."""
    rows = []
    for run in study.runs:
        told = run.result.content["checkpoint"]
        inside, training = told.get("parameters_in") or {}, told.get("training") or {}
        counts = [told.get("parameters"), *(inside.get(p) for p in ("position", "embedding", "rest"))]
        counts += [run.result.step, training.get("tokens")]
        cells = ["–" if n is None else f"{n:,.0f}" for n in counts]
        log = read_training(run.result.folder)
        cost = [None, None] if log is None else [log.tokens_per_sec, log.memory_mib]
        cells.append(words.flops(training["flops"]) if training.get("flops") else "–")
        cells += ["–" if n is None else f"{n:,.0f}" for n in cost]
        rows.append([(text, "") for text in (run.label, *cells)])
    header = ["run", "parameters", "in position", "in embedding", "rest", "steps", "tokens", "training flops"]
    header += ["training tokens/s", "training MiB"]
    note = "Tokens/s in training is the median of the log, memory its peak, on whatever else the machine was doing."
    return Table("runs", "Parameters and compute", header, rows, note)


def all_tables(study: Study) -> list[Table]:
    """Every table of a report that has a row."""
    tables = [run_rows(study)]
    for part in study.sets:
        tables += [far_rows(part), change_rows(part)]
        for metric in part.metrics:
            tables += [result_rows(part, metric), order_rows(part, metric), difference_rows(part, metric)]
    return [table for table in tables if table.rows]

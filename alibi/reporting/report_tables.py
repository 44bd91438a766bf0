"""The tables of a report; `report_folder` writes each as Markdown and LaTeX, the page as HTML."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, zip_longest

from alibi.analysis import Comparison, ResultSet, Run
from alibi.analysis.judged import BASELINES
from alibi.analysis.published import PAPER, UNIT, differences_in_setup, published_points
from alibi.analysis.statistics import MIN_GROUPS
from alibi.reporting import words
from alibi.reporting.adapted_table import adapted_rows
from alibi.reporting.chart import PARTS
from alibi.reporting.measure_tables import measure_tables
from alibi.reporting.sentences import sentence_table
from alibi.reporting.table import EMPTY, Cell, Table, by_length, difference_cell, number_cell, plain_cells, signed_cell
from alibi.reporting.task_tables import task_tables
from alibi.reporting.training_log import read_training
from alibi.results import METRICS, TOLERANCE


def row_cell(run: Run, length: int, metric: str) -> Cell:
    """A run's number at one length with its interval, or in a word why there is none; * at the training length."""
    row = run.result.rows.get(length)
    if row is None:
        return EMPTY
    mark = "*" if length == run.result.checkpoint.seq_len else ""
    if "error" in row:
        return f"{row['error'].partition(':')[0]}{mark}", ""
    marked = run.result.is_marked(metric)
    if metric not in row:
        return words.NOT_COVERED if marked else "", ""
    return number_cell(row[metric], row.get("interval", {}).get(metric), mark + (words.MARK if marked else ""))


def result_rows(part: ResultSet, metric: str) -> Table:
    """A row for each run; under a line's runs their mean, with an interval over the seeds where there is one."""
    rows, strong = [], []
    for line in part.lines:
        trained_at = words.known(line.first.checkpoint.seq_len)
        for run in line.runs:
            rows.append([*plain_cells(run.label, trained_at), *(row_cell(run, n, metric) for n in part.lengths)])
        if len(line.runs) > 1:
            strong.append(len(rows))
            means = [line.seed_mean(n, metric) for n in part.lengths]
            cells = [number_cell(mean.mean, mean.interval) if mean else EMPTY for mean in means]
            rows.append([*plain_cells(f"{line.label}, mean of {len(line.runs)} seeds", trained_at), *cells])
    note = " ".join(["Lower is better. * the training length.", *remarks(part.runs, part.lengths, metric)])
    title = METRICS[metric].label.capitalize()
    table = by_length("results", title, part, metric, ["run", "trained at"], rows, note)
    return replace(table, strong=tuple(strong))


def remarks(runs: Sequence[Run], lengths: Sequence[int], metric: str) -> list[str]:
    """What a reader must know of the numbers of runs: text not covered, rows that failed, why no intervals."""
    found, reasons = [], []
    for run in runs:
        result, groups = run.result, run.result.content.groups
        if result.is_marked(metric):
            found.append(f"{words.MARK} {run.label}: {result.not_covered}.")
        failed = [n for n in lengths if "error" in result.rows.get(n, {})]
        found += [f"{run.label} at length {n}: {result.rows[n]['error']}." for n in failed]
        number = len(groups.tokens) if groups else 0
        if number < MIN_GROUPS and not result.has_intervals:
            reasons.append(f"No intervals: {number} group{'' if number == 1 else 's'}, {MIN_GROUPS} needed.")
    return [*found, *dict.fromkeys(reasons)]


def order_rows(part: ResultSet, metric: str) -> Table:
    """The lines at each length from best to worst, and whether the text tells each from the next."""
    columns = [_order(part, length, metric) for length in part.lengths]
    rows = [[(str(place), ""), *cells] for place, cells in enumerate(zip_longest(*columns, fillvalue=EMPTY), 1)]
    note = "By the mean over seeds. ≈: paired intervals do not tell it from the next below it; ?: there is no interval."
    return by_length("order", f"Order by {METRICS[metric].label}", part, metric, ["place"], rows, note)


def _order(part: ResultSet, length: int, metric: str) -> list[Cell]:
    means = [(line.seed_mean(length, metric), line.label) for line in part.lines]
    ranked = sorted((mean.mean, label) for mean, label in means if mean)
    marks = []
    for (value, label), (next_value, below) in pairwise(ranked):
        same = math.isclose(value, next_value, rel_tol=TOLERANCE)
        apart = False if same else is_apart(part, label, below, length, metric)
        marks.append({True: "", False: " ≈", None: " ?"}[apart])
    return [(label, words.number(value) + mark) for (value, label), mark in zip_longest(ranked, marks, fillvalue="")]


def is_apart(part: ResultSet, better: str, worse: str, length: int, metric: str) -> bool | None:
    """Whether every pair of runs of two lines is told apart, `better` below; None where no pair has an interval."""
    verdicts = []
    for pair in part.pairs:
        difference = pair.at(length, metric)
        if {pair.a.line, pair.b.line} == {better, worse} and difference and difference.interval:
            (low, high), equal = difference.interval, 1.0 if difference.is_ratio else 0.0
            verdicts.append(high < equal if pair.a.line == better else low > equal)
    return all(verdicts) if verdicts else None


def difference_rows(part: ResultSet, metric: str) -> Table:
    """Every pair of runs on equal text: the first against the second."""
    rows = []
    for pair in part.pairs:
        cells = [difference_cell(pair.at(length, metric)) for length in part.lengths]
        rows.append([(f"{pair.a.label} against {pair.b.label}", ""), *cells])
    note = "Paired on the same text. Below zero: the first is better."
    return by_length("differences", f"Differences in {METRICS[metric].label}", part, metric, ["runs"], rows, note)


def against_rows(part: ResultSet, reference: Run, metric: str) -> Table:
    """Every other run against one of them, on equal text."""
    rows = []
    for pair in part.pairs:
        differences = [pair.at(length, metric) for length in part.lengths]
        if pair.a is reference:
            differences = [difference and difference.reversed() for difference in differences]
        if reference in (pair.a, pair.b):
            other = pair.b if pair.a is reference else pair.a
            rows.append([(other.label, ""), *map(difference_cell, differences)])
    title = f"Against {reference.label}: {METRICS[metric].label}"
    note = f"Paired on the same text. Below zero: better than {reference.label}."
    return by_length("against", title, part, metric, ["run"], rows, note)


def best_run(part: ResultSet, metric: str) -> Run:
    """The run that is best at the longest length that all have; the first of those that only rounding tells apart."""
    shared = set.intersection(*(set(run.result.numbers) for run in part.runs))
    at = max(shared or part.lengths)
    values = [run.result.numbers.get(at, {}).get(metric, math.inf) for run in part.runs]
    return part.runs[next(n for n, value in enumerate(values) if math.isclose(value, min(values), rel_tol=TOLERANCE))]


def published_table(part: ResultSet) -> Table:
    """Each run for which a number was published at one of its lengths, and the paper's row under it."""
    rows, notes = [], [f"{PAPER}. Perplexity per word."]
    # Files of other kinds are compared by the byte, since only WikiText counts words as the paper does.
    for run in part.runs if UNIT in part.metrics and part.shared_metric == UNIT else ():
        numbers, result = run.result.numbers, run.result
        weights, protocol = result.checkpoint, result.measured.protocol
        published = published_points(weights.model, weights.seq_len, protocol, result.data.split)
        if published.keys().isdisjoint(numbers):
            continue
        tables = ", ".join(dict.fromkeys(table for n, (_, table) in published.items() if n in part.lengths))
        ours = [numbers.get(n, {}).get(UNIT) for n in part.lengths]
        theirs = [published.get(n, (None, ""))[0] for n in part.lengths]
        for label, values in ((run.label, ours), (f"published, {tables}", theirs)):
            rows.append(plain_cells(label, *("" if value is None else words.number(value) for value in values)))
        if differences := "; ".join(differences_in_setup(result)):
            notes.append(f"{run.label}: compare the shape of the curve only, not its level: {differences}.")
        else:
            notes.append(f"{run.label}: the same data, vocabulary, budget and shape: the levels may be compared.")
    title, header = f"Next to published numbers, {part.title}", ["run", *map(str, part.lengths)]
    return Table(f"published-{part.slug}", title, header, rows, " ".join(notes))


def far_rows(part: ResultSet) -> Table:
    """How far each run holds, on equal context; the note says of which runs it is not known, and why."""
    rows, unknown = [], defaultdict(list)
    for run, far in part.how_far:
        if far.length is None:
            unknown[far.reason].append(run.label)
            continue
        broken = str(far.breaks_at) if far.breaks_at else f"not up to {far.measured_to}"
        about = run.label, words.tokens([run.result]), f"{far.within_percent:g} %", far.by
        rows.append(plain_cells(*about, str(far.length), broken))
    header = ["run", "on tokens", "within", "by", "holds to length", "breaks at"]
    note = " ".join(f"Not known of {', '.join(runs)}: {reason}." for reason, runs in unknown.items())
    return Table(f"how-far-{part.slug}", f"How far each run holds, {part.title}", header, rows, note)


def change_rows(part: ResultSet) -> Table:
    """The two-part split of each run of a sliding set at each length, in nats per token."""
    rows = []
    for run, change in part.changes:
        for entry in change.lengths:
            cells = [signed_cell(getattr(entry, name), (entry.interval or {}).get(name)) for name in PARTS]
            rows.append([*plain_cells(run.label, str(change.against), str(entry.length)), *cells])
    header = ["run", "from length", "to length", "longer context", "early tokens", "whole change"]
    title = f"Why it changed against nonoverlapping, nats per token, {part.title}"
    return Table(f"two-part-split-{part.slug}", title, header, rows)


def run_rows(comparison: Comparison) -> Table:
    """Parameters and compute of each run, and what its training cost where its log is beside it."""
    rows = []
    plain = {run.result.checkpoint.sha256 for run in comparison.runs if not run.result.adaptation}
    for run in comparison.runs:
        if run.result.adaptation and run.result.checkpoint.sha256 in plain:
            continue  # the same weights
        weights, training = run.result.checkpoint, run.result.checkpoint.training
        inside, log = weights.parameters_in or {}, read_training(run.result.folder)
        counts = [weights.parameters, *(inside.get(part) for part in ("position", "embedding", "rest"))]
        counts += [weights.step, training and training.tokens]
        cost = [log and log.tokens_per_sec, log and log.memory_mib]
        counts, cost = ([words.known(number, ",.0f") for number in numbers] for numbers in (counts, cost))
        rows.append(plain_cells(run.label, *counts, words.known(training and training.flops, ".2e"), *cost))
        if comparison.has_origins:
            of = weights.origin
            rows[-1] += plain_cells(*((of.run, f"{of.step:,}", f"{of.tokens:,}") if of else ("", "", "")))
    header = ["run", "parameters", "in position", "in embedding", "rest", "steps", "tokens", "training flops"]
    header += ["training tokens/s", "training MiB"]
    note = "Tokens/s in training is the median of the log, memory its peak, on whatever else the machine was doing."
    if comparison.has_origins:
        header += ["from", "at step", "tokens before"]
        note += (
            " A run that started from another's weights had seen the tokens before; its other columns leave them out."
        )
    return Table("runs", "Parameters and compute", header, rows, note)


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table of a report that has a row."""
    tables = [run_rows(comparison), sentence_table(comparison)]
    for part in comparison.sets:
        tables += [
            far_rows(part),
            *measure_tables(part),
            change_rows(part),
            *(adapted_rows(part, baseline) for baseline in BASELINES),
        ]
        for metric in part.metrics:
            tables += [result_rows(part, metric), order_rows(part, metric), difference_rows(part, metric)]
        tables.append(published_table(part))
    tables += task_tables(comparison)
    return [table for table in tables if table.rows]

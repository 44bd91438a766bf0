"""The five charts of a study, each described once: perplexity, nats by context, cost, two-part split, training."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from alibi.analysis import Comparison, Line, ResultSet, Run
from alibi.reporting import words
from alibi.reporting.chart import BAR_STEP, PARTS, Axis, Chart, Look, Panel, Point, Series, looks_of
from alibi.reporting.training_log import read_training
from alibi.results import METRICS, Result
from alibi.results.schema import Change

Looks = Mapping[str, Look]
LENGTH, NATS = "length of evaluation (tokens)", "nats per token"
# Beyond this ratio of the largest to the smallest value a linear axis hides the small ones.
LOG_AXIS_FROM = 3.0
# A bin with fewer targets is noise: sliding evaluation sees short contexts only at the beginning of the text.
FEWEST_TARGETS = 100
COSTS = {"tokens_per_sec": "tokens per second", "peak_memory_mib": "peak memory (MiB)"}


def perplexity_chart(part: ResultSet, looks: Looks, metric: str, relative: bool = False) -> Chart:
    """A metric against length. A run without any number of it is left out.

    Args:
        metric: perplexity, word_perplexity or bits_per_byte.
        relative: divide each curve by its own value at the training length; such curves have no intervals.
    """
    series = _line_series(part, looks, metric)
    if relative:
        series = _relative(series, {line.label: line.first.checkpoint.seq_len for line in part.lines})
    intervals = f", {words.LEVEL} intervals" if any(point.interval for one in series for point in one.points) else ""
    values = _values(METRICS[metric].label + (", relative" if relative else ""), series)
    panel = Panel(_lengths(series), values, series, marks=_training_lengths(part.lines, series))
    stem = f"{metric.replace('_', '-')}-{part.slug}"
    return Chart(stem, part.title + intervals, [panel] if series else [])


def context_chart(part: ResultSet, looks: Looks, length: int) -> Chart:
    """The mean nats of a target against the context it had, in the rows of one length; a curve for each run."""
    series = []
    for run in part.runs:
        curve = context_curve(run.result.numbers.get(length, {}))
        if len(curve) > 1:
            series.append(Series(run.line, run.label, (run.label,), curve, looks[run.line], "plain"))
    x, marks = Axis("context of the target (tokens)", log=True), _training_lengths(part.lines, series)
    panels = [Panel(x, Axis(NATS), series, marks=marks)] if series else []
    return Chart(f"context-{part.slug}-{length}", f"{part.title}, length {length}", panels)


def context_curve(row: Mapping) -> list[Point]:
    """Mean nats by context, of bins that hold enough targets; a bin stands at its upper end.

    Neighbours within an octave are joined until they do; those that still hold too few are left out.
    """
    bins = row.get("context") or {"up_to": [], "targets": [], "nll_nats": []}
    curve, low, targets, nats = [], 0, 0, 0.0
    for up_to, more, more_nats in zip(bins["up_to"], bins["targets"], bins["nll_nats"], strict=True):
        if targets == 0 or up_to >= 2 * low:
            low, targets, nats = up_to, 0, 0.0
        targets, nats = targets + more, nats + more_nats
        if targets >= FEWEST_TARGETS:
            curve.append(Point(up_to, nats / targets))
            targets = 0
    return curve


def context_lengths(part: ResultSet) -> list[int]:
    """The lengths at which some run has a curve of its nats by context."""
    numbers = [run.result.numbers for run in part.runs]
    return sorted({n for rows in numbers for n, row in rows.items() if len(context_curve(row)) > 1})


def cost_chart(part: ResultSet, looks: Looks) -> Chart:
    """Speed above, memory below, against length."""
    panels = []
    for name, title in COSTS.items():
        if series := _line_series(part, looks, name):
            panels.append(Panel(_lengths(series), _values(title, series), series))
    return Chart(f"cost-{part.slug}", part.title, panels)


def split_chart(part: ResultSet, metric: str = "perplexity") -> Chart:
    """The two parts and the whole of the change from the training length, a panel a line.

    Args:
        metric: its unit is that of the change: nats per token, nats per word, or bits per byte.
    """
    changes = [(run, change) for run, change in part.changes if not run.result.is_marked(metric)]
    panels = []
    for line in dict.fromkeys(run.line for run, _ in changes):
        own = [(run, change) for run, change in changes if run.line == line]
        panels.append(_split_panel(f"{line}, stride {own[0][1].stride}", own, metric))
    return Chart(f"two-part-split-{part.slug}", "", panels, columns=max(1, min(3, len(panels))))


def sets_with_split(comparison: Comparison, part: ResultSet) -> list[int]:
    """The sets, by number, with which a set's split is shown: itself, and the nonoverlapping one of the same text."""
    nonoverlapping = replace(part.first.measured, protocol="nonoverlapping")
    return [n for n, other in enumerate(comparison.sets) if other is part or other.first.measured == nonoverlapping]


def _split_panel(title: str, changes: Sequence[tuple[Run, Change]], metric: str) -> Panel:
    """A bar is the mean over the runs; each run is a dot on it, with its interval."""
    lengths = sorted({entry.length for _, change in changes for entry in change.lengths})
    labels = tuple(run.label for run, _ in changes)
    bars, dots = [], []
    for place, (part, (name, look)) in enumerate(PARTS.items(), -1):
        at = {length: group + place * BAR_STEP for group, length in enumerate(lengths)}
        values: dict[int, list[float]] = {length: [] for length in lengths}
        for number, (run, change) in enumerate(changes):
            points, beside = [], (number - (len(changes) - 1) / 2) * BAR_STEP * 0.3
            for entry in change.lengths:
                values[entry.length].append(_in_unit(getattr(entry, part), run.result, metric))
                interval = [_in_unit(v, run.result, metric) for v in (entry.interval or {}).get(part) or ()]
                points.append(Point(at[entry.length] + beside, values[entry.length][-1], interval or None))
            dots.append(Series(name, run.label, (run.label,), points, look, "dot"))
        means = [Point(at[length], sum(found) / len(found)) for length, found in values.items()]
        bars.append(Series(name, f"mean of {len(labels)} runs", labels, means, look, "bar"))
    x = Axis(LENGTH, ticks=[(group, str(length)) for group, length in enumerate(lengths)])
    return Panel(x, Axis(METRICS[metric].change), [*bars, *dots], title)


def _in_unit(nats: float, result: Result, metric: str) -> float:
    """Nats per token as nats per word or bits per byte of the same text."""
    value = nats * result.data.tokens / getattr(result.data, METRICS[metric].unit)
    return value / math.log(2) if metric == "bits_per_byte" else value


def training_chart(comparison: Comparison) -> Chart:
    """Training loss, smoothed and thin, and validation loss with markers; each run folder once."""
    series, looks = [], looks_of(comparison)
    for folder, run in {run.result.folder: run for run in comparison.runs}.items():
        log = read_training(folder)
        for curve, kind in ((log.train, "member"), (log.val, "main")) if log else ():
            points = [Point(*pair) for pair in curve]
            series += [Series(run.line, run.label, (run.label,), points, looks[run.line], kind)] if points else []
    panel = Panel(Axis("tokens seen in training"), _values(NATS, series), series)
    title = "training loss (thin) and validation loss (with markers)"
    return Chart("training", title, [panel] if series else [])


def _line_series(part: ResultSet, looks: Looks, name: str) -> list[Series]:
    """The curve of each run, and where a line has several, their mean at the lengths that all of them have.

    Args:
        name: of a row's number.
    """
    series = []
    for line in part.lines:
        curves = {}
        for run in line.runs:
            rows = [(length, row) for length, row in run.result.numbers.items() if row.get(name)]
            if rows:
                curves[run.label] = [Point(n, row[name], row.get("interval", {}).get(name)) for n, row in rows]
        kind = "member" if len(curves) > 1 else "main"
        look = looks[line.label]
        series += [Series(line.label, label, (label,), curve, look, kind) for label, curve in curves.items()]
        if len(curves) > 1:
            values = defaultdict(list)
            for point in (point for curve in curves.values() for point in curve):
                values[point.x].append(point.y)
            mean = [Point(x, sum(ys) / len(ys)) for x, ys in values.items() if len(ys) == len(curves)]
            title = f"{line.label}, mean of {len(curves)} seeds"
            series.append(Series(line.label, title, tuple(curves), mean, look, "main"))
    return series


def _relative(series: Sequence[Series], seq_len: Mapping[str, int | None]) -> list[Series]:
    """Curves divided by their value at the training length of their line; without those that have none there."""
    found = []
    for one in series:
        base = next((point.y for point in one.points if point.x == seq_len[one.label]), None)
        if base:
            found.append(replace(one, points=[Point(point.x, point.y / base) for point in one.points]))
    return found


def _lengths(series: Iterable[Series]) -> Axis:
    """A log axis with a tick at each length evaluated."""
    lengths = sorted({point.x for one in series for point in one.points})
    return Axis(LENGTH, log=True, ticks=[(length, str(length)) for length in lengths])


def _values(label: str, series: Iterable[Series]) -> Axis:
    values = [point.y for one in series for point in one.points]
    spans_much = min(values, default=0) > 0 and max(values) > LOG_AXIS_FROM * min(values)
    return Axis(label, spans_much)


def _training_lengths(lines: Iterable[Line], series: Sequence[Series]) -> tuple[tuple[float, str], ...]:
    drawn = {one.label for one in series}
    lengths = {line.first.checkpoint.seq_len for line in lines if line.label in drawn}
    return tuple((length, f"trained at {length}") for length in sorted(lengths - {None}))

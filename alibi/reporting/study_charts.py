"""The five charts of a study, each described once: perplexity, nats by context, cost, two-part split, training."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

from alibi.analysis import Comparison, Line, ResultSet, Run
from alibi.reporting import words
from alibi.reporting.chart import BAR_STEP, PARTS, Axis, Chart, Look, Panel, Point, Series, looks_of
from alibi.reporting.training_log import read_training
from alibi.results import METRICS, Result
from alibi.results.parts import Change

Looks = Mapping[str, Look]
LENGTH, NATS = "length of evaluation (tokens)", "nats per token"
# Beyond this ratio of the largest to the smallest value a linear axis hides the small ones.
LOG_AXIS_FROM = 3.0
# A bin has no interval. A target's nats have a standard deviation of about 3: with fewer, a curve is mostly noise.
FEWEST_TARGETS = 1000
TOKENS = ("own", "total")  # what a training curve is drawn against: tokens of the run, or of its origin too
COSTS = {"tokens_per_sec": "tokens per second", "peak_memory_mib": "peak memory (MiB)"}


def perplexity_chart(part: ResultSet, looks: Looks, metric: str) -> Chart:
    """A metric against length: relative, and as it is."""
    panels = [panel for relative in (True, False) if (panel := perplexity_panel(part, looks, metric, relative)).series]
    return Chart(f"{metric.replace('_', '-')}-{part.slug}", part.title, panels, columns=max(1, len(panels)))


def perplexity_panel(part: ResultSet, looks: Looks, metric: str, relative: bool) -> Panel:
    """A metric against length; a run without a number that can be drawn is left out.

    Args:
        metric: perplexity, word_perplexity or bits_per_byte.
        relative: divide each curve by its own value at the training length, or by the curve of `part.against`, with
            intervals paired on the same text.
            Intervals of the values themselves are left out where most of them overlap: the text moves all alike.
    """
    if relative:
        series = _line_series(part, looks, partial(_relative_points, part, metric=metric))
    else:
        series = _line_series(part, looks, partial(_row_points, name=metric))
        if _mostly_overlap(series):
            series = [replace(one, points=[Point(point.x, point.y) for point in one.points]) for one in series]
    intervals = f" ({words.LEVEL} intervals)" if any(point.interval for one in series for point in one.points) else ""
    divided = f", over {part.against or 'that at the training length'}" if relative else ""
    label = METRICS[metric].label + divided + intervals
    return Panel(_lengths(series), _values(label, series), series, marks=_training_lengths(part.lines, series))


def _relative_points(part: ResultSet, run: Run, metric: str) -> list[Point]:
    return [Point(length, *ratio) for length, ratio in part.relative(run, metric).items()]


def _row_points(run: Run, name: str) -> list[Point]:
    rows = [(length, row) for length, row in run.result.numbers.items() if row.get(name)]
    return [Point(length, row[name], row.get("interval", {}).get(name)) for length, row in rows]


def _mostly_overlap(series: Sequence[Series]) -> bool:
    """Whether more than half of all pairs of intervals at one length overlap."""
    at: dict[float, list] = defaultdict(list)
    for point in (point for one in series for point in one.points):
        at[point.x] += [point.interval] if point.interval else []
    pairs = [pair for intervals in at.values() for pair in combinations(intervals, 2)]
    return sum(a[0] <= b[1] and b[0] <= a[1] for a, b in pairs) > len(pairs) / 2


def context_chart(part: ResultSet, looks: Looks, length: int) -> Chart:
    """The mean nats of a target against the context it had, in the rows of one length; a curve for each run."""
    series = []
    for run in part.runs:
        curve = context_curve(run.result.numbers.get(length, {}))
        if len(curve) > 1:
            series.append(Series(run.line, run.label, (run.label,), curve, looks[run.line], "plain"))
    contexts = [point.x for one in series for point in one.points] or [1]
    powers = (2**n for n in range(max(contexts).bit_length()))
    ticks = [(n, str(n)) for n in powers if n >= min(contexts)]
    x = Axis("context of the target (tokens)", log=True, ticks=ticks)
    panels = [Panel(x, Axis(NATS), series, marks=_training_lengths(part.lines, series))] if series else []
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
        if series := _line_series(part, looks, partial(_row_points, name=name)):
            panels.append(Panel(_lengths(series), Axis(title, from_zero=True), series))
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
    title = f"{part.title}; each panel has its own scale" if len(panels) > 1 else part.title
    return Chart(f"two-part-split-{part.slug}", title, panels, columns=max(1, min(3, len(panels))))


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


def training_chart(comparison: Comparison, total: bool = False) -> Chart:
    """Training loss, smoothed and thin, and validation loss with markers; each run folder once.

    The first twentieth of the training is left out, where the loss falls so fast that nothing else could be seen.

    Args:
        total: against all tokens that the weights have seen, those of a run's origin included.
    """
    series, looks = [], looks_of(comparison)
    for folder, run in {run.result.folder: run for part in comparison.sets for run in part.runs}.items():
        log, origin = read_training(folder), run.result.checkpoint.origin
        for curve, kind in ((log.train, "member"), (log.val, "main")) if log else ():
            last = max((tokens for tokens, _ in log.train + log.val), default=0)
            before = origin.tokens if total and origin else 0
            points = [Point(before + tokens, loss) for tokens, loss in curve if tokens >= last / 20]
            series += [Series(run.line, run.label, (run.label,), points, looks[run.line], kind)] if points else []
    seen = "tokens seen in training" + (", in the origin's too" if total else "")
    panel = Panel(Axis(seen), _values(NATS, series), series)
    title = "training loss (thin) and validation loss (with markers)"
    return Chart("training", title, [panel] if series else [])


def _line_series(part: ResultSet, looks: Looks, points: Callable[[Run], list[Point]]) -> list[Series]:
    """The curve of each run, and where a line has several, their mean at the lengths that all of them have.

    Args:
        points: of a run; a run without any is left out.
    """
    series = []
    for line in part.lines:
        curves = {run.label: curve for run in line.runs if (curve := points(run))}
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

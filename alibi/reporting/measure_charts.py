"""Charts of what the context is used for: the context sample, copies, repeats, and both against training."""

from collections.abc import Iterable, Mapping

from alibi.analysis import Comparison, Line, ResultSet
from alibi.analysis.measures import Mean, against_training, context_use, copy_gain, repeat_nats
from alibi.reporting.chart import Axis, Chart, Look, Panel, Point, Series, looks_of

Looks = Mapping[str, Look]


def used_chart(part: ResultSet, looks: Looks) -> Chart:
    """The nats of the same targets behind n tokens, and how much of a change the content beyond L makes."""
    uses = context_use(part)
    true = [_series(use.line, use.true, looks) for use in uses]
    content = [_series(use.line, use.content, looks) for use in uses if use.content]
    marks = _marks(use.line for use in uses)
    panels = [
        Panel(_axis("tokens before the target", true), Axis("nats per token, the same targets"), true, marks=marks),
        Panel(_axis("tokens before the target", content), Axis("true minus swapped beyond L, nats per token"), content),
    ]
    panels = [panel for panel in panels if panel.series]
    return Chart(f"context-used-{part.slug}", part.title, panels, columns=max(1, len(panels)))


def copy_chart(part: ResultSet, looks: Looks) -> Chart:
    """The gain of a copy against its distance; of models that copy nothing too, which the table marks."""
    series = [_series(one.line, one.gain, looks) for one in copy_gain(part)]
    marks = _marks(one.line for one in copy_gain(part))
    panel = Panel(_axis("distance of the copy (tokens)", series), Axis("gain, nats per token"), series, marks=marks)
    return Chart(f"copy-{part.slug}", part.title, [panel] if series else [])


def repeat_chart(part: ResultSet, looks: Looks) -> Chart:
    """The nats of repeats against their distance, a bucket at its upper end."""
    series = [_series(one.line, one.nats, looks) for one in repeat_nats(part)]
    marks = _marks(one.line for one in repeat_nats(part))
    panel = Panel(_axis("distance of the repeat (tokens, up to)", series), Axis("nats per token"), series, marks=marks)
    return Chart(f"repeats-{part.slug}", part.title, [panel] if series else [])


def training_effect_chart(comparison: Comparison) -> Chart:
    """How much nats rise from L to the furthest length, against the tokens trained on, of every kept checkpoint."""
    looks, series = looks_of(comparison), []
    for part in comparison.sets:
        for checkpoints in against_training(part).values():
            last, _, _ = checkpoints[-1]
            points = [Point(tokens, gap) for _, tokens, gap in checkpoints]
            labels = tuple(run.label for run, _, _ in checkpoints)
            name = f"{last.label}, {part.title}"
            series.append(Series(last.line, name, labels, points, looks[last.line], "main"))
    label = "nats at the furthest length minus at L, equal context"
    panel = Panel(Axis("tokens trained on; the learning rate has come down at the last alone"), Axis(label), series)
    return Chart("against-training", "extrapolation against training", [panel] if series else [])


def measure_charts(part: ResultSet, looks: Looks) -> dict[str, Chart]:
    """By the name of the figure; without a series a chart has no panel."""
    return {
        "used": used_chart(part, looks),
        "repeats": repeat_chart(part, looks),
        "copy": copy_chart(part, looks),
    }


def _series(line: Line, means: Mapping[int, Mean], looks: Looks) -> Series:
    points = [Point(at, mean.value, mean.interval) for at, mean in means.items()]
    return Series(line.label, line.label, tuple(run.label for run in line.runs), points, looks[line.label], "main")


def _axis(label: str, series: Iterable[Series]) -> Axis:
    places = sorted({point.x for one in series for point in one.points})
    return Axis(label, log=True, ticks=[(place, str(place)) for place in places])


def _marks(lines: Iterable[Line]) -> tuple[tuple[float, str], ...]:
    lengths = {line.first.checkpoint.seq_len for line in lines} - {None}
    return tuple((length, f"trained at {length}") for length in sorted(lengths))

"""The charts of tasks: right answers against length, and how they were learned."""

from alibi.analysis import Comparison
from alibi.analysis.tasks import TASK_METRICS, TaskSet
from alibi.reporting.chart import Axis, Chart, Panel, Point, Series, looks_of
from alibi.reporting.training_log import read_learning


def tasks_chart(comparison: Comparison) -> Chart:
    """Two panels a task: the runs that learned it, thin, and the mean of each line, against length."""
    looks, panels = looks_of(comparison), []
    for part in comparison.tasks:
        for metric, name in TASK_METRICS.items():
            if series := _by_length(part, metric, looks):
                ticks = [(length, f"{length:,}") for length in part.lengths]
                trained = {run.result.checkpoint.seq_len for run in part.runs}
                marks = tuple((length, f"trained at {length}") for length in sorted(trained))
                x = Axis("length (tokens)", log=True, ticks=ticks)
                panels.append(Panel(x, _share(name), series, part.short, marks))
    return Chart("tasks", "answers of the runs that learned the task", panels, columns=2)


def _share(label: str) -> Axis:
    return Axis(label, from_zero=True, ticks=[(quarters / 4, f"{quarters / 4:g}") for quarters in range(5)])


def _by_length(part: TaskSet, metric: str, looks: dict) -> list[Series]:
    series = []
    for line in part.lines:
        look, several = looks[line.label], len(line.learned) > 1
        for run in line.learned:
            rows = run.result.scored.items()
            points = [Point(n, row[metric], row.get("interval", {}).get(metric)) for n, row in rows]
            series.append(Series(line.label, run.label, (run.label,), points, look, "member" if several else "main"))
        if several:
            shared = set.intersection(*(set(run.result.scored) for run in line.learned))
            points = [Point(n, line.mean(n, metric)) for n in sorted(shared)]
            title = f"{line.label}, mean of {len(line.learned)} seeds"
            series.append(Series(line.label, title, tuple(run.label for run in line.learned), points, look, "main"))
    return series


def learning_chart(comparison: Comparison) -> Chart:
    """A panel a task: exact match on the validation strings of training, of every run, learned or not."""
    looks, panels = looks_of(comparison), []
    for part in comparison.tasks:
        series = [
            Series(run.line, run.label, (run.label,), [Point(*one) for one in curve], looks[run.line], "plain")
            for run in part.runs
            if (curve := read_learning(run.result.folder))
        ]
        if series:
            y = _share("exact match in validation")
            panels.append(Panel(Axis("steps", from_zero=True), y, series, part.short))
    return Chart("learning", "exact match while training", panels, columns=2)

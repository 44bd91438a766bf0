"""The tables of tasks: how many runs learned each, and how those answer at each length."""

from alibi.analysis import Comparison
from alibi.analysis.tasks import TASK_METRICS, TaskLine, TaskSet
from alibi.reporting import words
from alibi.reporting.table import EMPTY, Cell, Table, plain_cells

DIGITS = 3


def task_tables(comparison: Comparison) -> list[Table]:
    """A table of each metric of each task."""
    return [task_rows(part, metric) for part in comparison.tasks for metric in TASK_METRICS]


def task_rows(part: TaskSet, metric: str) -> Table:
    """A row for each line; under accuracy, the trivial answer's."""
    rows = []
    for line in part.lines:
        about = line.label, words.tokens(run.result for run in line.runs), f"{len(line.learned)} of {len(line.runs)}"
        rows.append([*plain_cells(*about), *(_cell(line, length, metric) for length in part.lengths)])
    if metric == "accuracy":
        trivial = [f"{part.baseline[n]:.{DIGITS}f}" if n in part.baseline else "" for n in part.lengths]
        rows.append(plain_cells("the trivial answer", "", "", *trivial))
    header = ["line", "on tokens", "learned", *map(str, part.lengths)]
    note = (
        "Learned: exact match of at least 0.99 at the training length (*). Numbers are means of the runs that learned "
        "the task, under them the lowest and the highest, or of one run its interval; empty where none did. Not "
        "annealed: a run ended at its first validation without a mistake, before the learning rate had come down."
    )
    trained = {line.first.checkpoint.seq_len for line in part.lines}
    header = [f"{name}*" if name in map(str, trained) else name for name in header]
    title = f"{TASK_METRICS[metric].capitalize()}, {part.title}"
    return Table(f"task-{part.slug}-{metric.replace('_', '-')}", title, header, rows, note)


def _cell(line: TaskLine, length: int, metric: str) -> Cell:
    if not (values := line.values(length, metric)):
        return EMPTY
    bounds = [min(values), max(values)]
    if len(values) == 1:
        [row] = [run.result.scored[length] for run in line.learned if length in run.result.scored]
        bounds = row.get("interval", {}).get(metric)
    small = f"{bounds[0]:.{DIGITS}f}–{bounds[1]:.{DIGITS}f}" if bounds else ""
    return f"{line.mean(length, metric):.{DIGITS}f}", small

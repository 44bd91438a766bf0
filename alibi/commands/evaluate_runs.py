"""evaluate.py: score every run that it names, print the tables, draw the figures, send all to wandb."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from alibi.analysis import compare
from alibi.analysis.tasks import TASK_METRICS
from alibi.commands.evaluate_command import EvaluateCommand, wanted_models, wanted_texts
from alibi.data import DataConfig
from alibi.environment import pick_device
from alibi.evaluation import evaluate_checkpoint, fitting, open_evaluation_text
from alibi.evaluation.evaluation_text import EvaluationText
from alibi.evaluation.task_results import EvaluationTask, evaluate_task, open_task
from alibi.files import check_writable, explained
from alibi.model import Adaptation
from alibi.processes import FailedElsewhere, Processes, interruptible, processes
from alibi.reporting import draw_perplexity, findings_text, results_table
from alibi.results import METRICS, OpenResult, Result, load_results
from alibi.runs import Checkpoint, Guest, group_name
from alibi.tracking import TrackingConfig, Wandb


@dataclass
class Evaluated:
    """One run of the command.

    Attributes:
        adaptations: those that fit the run.
        wandb_id: read early, since a run in training may remove its checkpoint meanwhile.
        files: its results, unfinished until the whole command is done.
        failure: why it was not evaluated.
    """

    model: Checkpoint | Guest
    text: EvaluationText | EvaluationTask
    adaptations: list[Adaptation | None]
    wandb_id: str | None
    files: list[OpenResult] = field(default_factory=list)
    failure: str | None = None


def evaluate(command: EvaluateCommand) -> None:
    """Evaluate every run that the command names, print the tables, draw the figures.

    If one of several runs cannot be evaluated, say because its training removed the checkpoint, the others still are.

    Raises:
        ValueError: wrong settings or a damaged checkpoint, found before anything is scored; or some run of several
            was not evaluated.
        FileNotFoundError, ConnectionError: no run, or no text.
        KeyboardInterrupt: Ctrl-C, or SIGTERM, whose number it holds. The same command keeps the rows so far.
    """
    with processes(pick_device(command.device)) as procs, interruptible():
        # Resolved once for all processes: a run in training may move its pointers.
        models = procs.on_main(wanted_models, command)
        trained = {model.config["train"]["seq_len"] for model in models if isinstance(model, Checkpoint)}
        with procs.together():
            command = replace(command, eval=command.eval.with_lengths(sorted(trained)))
            check_writable(figure_folder(command, [model.run / "evaluation" for model in models]))
            runs = _opened(command, models, quiet=not procs.is_main)
        for run in runs:
            _evaluate_one(command, run, procs, alone=len(runs) == 1)
        procs.on_main(_conclude, command, runs)


def _opened(command: EvaluateCommand, models: list[Checkpoint | Guest], quiet: bool) -> list[Evaluated]:
    ids, runs = [model.wandb_id for model in models], []
    for model, data, wandb_id in zip(models, wanted_texts(command, models), ids, strict=True):
        text = _open_data(command, model, data, quiet)
        runs.append(Evaluated(model, text, fitting(model, command.eval, len(models) > 1, quiet), wandb_id))
    if not any(run.adaptations for run in runs):
        raise ValueError(f"eval.adapt ({command.eval.adapt}) has nothing that fits any of these runs; add null to it.")
    return runs


def _open_data(
    command: EvaluateCommand, model: Checkpoint | Guest, data: DataConfig, quiet: bool
) -> EvaluationText | EvaluationTask:
    if data.is_task:
        return open_task(model, data, command.eval)
    text = open_evaluation_text(model, data, command.eval, Path(command.paths.cache), quiet)
    asked = any(vars(command.data).values())
    if isinstance(model, Checkpoint) and not asked and text.documents_in_text and text.own_sha256 is None:
        raise ValueError(
            f"{model.run}: the documents of its text are no longer those that it was split from, so the "
            f"{command.eval.split} split may hold some that it was trained on; data={data.name} scores it anyway."
        )
    return text


def _evaluate_one(command: EvaluateCommand, run: Evaluated, procs: Processes, alone: bool) -> None:
    """Score a run; if it is one of several, an error is printed and kept as its failure."""
    procs.say(f"{run.model.path}: {run.text.title}")
    for note in run.text.notes:
        procs.say(note)
    evaluate_data = evaluate_task if isinstance(run.text, EvaluationTask) else evaluate_checkpoint
    try:
        run.files = evaluate_data(run.model, run.text, command.eval, command.precision, procs, run.adaptations)
    except (ValueError, OSError, FailedElsewhere) as error:
        if alone:
            raise
        run.failure = _why(run.model, error)
        if not isinstance(error, FailedElsewhere):
            print(f"{run.model.path} could not be evaluated: {run.failure}", file=sys.stderr, flush=True)


def _why(model: Checkpoint | Guest, error: Exception) -> str:
    if isinstance(error, FailedElsewhere):
        return "another process failed, and says why"
    if isinstance(model, Checkpoint) and not model.path.exists():
        return "it is gone; a run in training removes its checkpoints but for the newest train.keep_last and the best"
    return explained(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _conclude(command: EvaluateCommand, runs: Sequence[Evaluated]) -> None:
    """Show and track what was evaluated, and say what was not."""
    for run in runs:
        if not all(file.path.exists() for file in run.files):
            run.files, run.failure = [], "its results are gone: the run folder was removed meanwhile"
    files = [file for run in runs for file in run.files]
    for file in files:
        file.update()
    results = [load_results(file.path for file in run.files) for run in runs]
    figures = show(command, [result for own in results for result in own])
    tracking = command.tracking
    for run, own in zip(runs, results, strict=True):
        if own and isinstance(run.model, Checkpoint) and tracking.wandb != "disabled":
            tracking = replace(tracking, wandb=track(tracking, run.model, run.wandb_id, own, figures))
    for file in files:
        file.update(finished=True)  # not before: whatever interrupts the command, the same one goes on
    if failed := [f"  {run.model.path}: {run.failure}" for run in runs if run.failure]:
        others = "; the others were, and are kept when the command is given again with eval.reuse=true"
        head = f"{len(failed)} of {len(runs)} runs could not be evaluated{others if len(failed) < len(runs) else ''}:"
        raise ValueError("\n".join([head, *failed]))


def show(command: EvaluateCommand, results: Sequence[Result]) -> list[Path]:
    """One table and one figure for all runs on the same text by the same protocol; returns the figures."""
    if not results:
        return []
    lengths, figures = sorted(set(command.eval.lengths)), []
    comparison = compare(results)
    for part in comparison.sets:
        files = [run.result.path for run in part.runs]
        print(f"\n{results_table(part, lengths)}")
        drawn = draw_perplexity(comparison, part, figure_folder(command, [file.parent for file in files]))
        figures += drawn
        for path in (*files, *drawn):
            print(f"{'figure ' if path in drawn else 'results'}    {path}")
    for part in comparison.tasks:
        print("\n" + "\n".join(f"results    {run.result.path}" for run in part.runs))
    print(f"\n{findings_text(comparison)}")
    return figures


def figure_folder(command: EvaluateCommand, evaluations: Iterable[Path]) -> Path:
    """eval.figure_dir; else the one evaluation folder, or figures/ beside several runs."""
    if command.eval.figure_dir:
        return Path(command.eval.figure_dir)
    folders = set(evaluations)
    if len(folders) == 1:
        return folders.pop()
    parents = {folder.parents[1] for folder in folders}
    return (parents.pop() if len(parents) == 1 else Path(command.paths.outputs)) / "figures"


def track(
    tracking: TrackingConfig, checkpoint: Checkpoint, run_id: str | None, results: list[Result], figures: list[Path]
) -> str:
    """Send the rows of a checkpoint to its wandb run, as curves over the length and as a table, and the figures.

    Args:
        run_id: of the wandb run; None begins one.

    Returns:
        tracking.wandb for the next run: offline if the server did not take this one.
    """
    own = checkpoint.config["tracking"]
    # The run stays where training put it, unless another place is asked for.
    project = own["project"] if tracking.project == TrackingConfig.project else tracking.project
    tracking = replace(tracking, project=project, group=tracking.group or own.get("group"))
    group = group_name(checkpoint.config, checkpoint.texts["train"])
    # No process is writing to a run that has ended.
    wandb = Wandb(tracking, checkpoint.run, run_id, checkpoint.config, group, resend=checkpoint.is_last)
    # An earlier step has its own curve, as a part of a text has.
    step = "" if checkpoint.is_last else f"-step-{checkpoint.step}"
    wandb.log_rows({f"{result.protocol}{step}": list(result.rows.values()) for result in results})
    rows = [_tracked_row(result, row) for result in results for row in result.rows.values()]
    wandb.log_results(rows, [path for path in figures if path.suffix == ".png"])
    wandb.close()
    return wandb.mode


def _tracked_row(result: Result, row: dict) -> dict:
    low, high = row.get("interval", {}).get("perplexity") or (None, None)
    about = {"run": result.folder.name, "method": result.method, "training length": result.checkpoint.seq_len}
    measured = {"protocol": result.measured.protocol, "split": result.measured.split}
    numbers = {name: row.get(name) for name in ("length", *(TASK_METRICS if result.is_of_task else METRICS))}
    return about | measured | numbers | {"perplexity low": low, "perplexity high": high}

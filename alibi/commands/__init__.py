"""What `evaluate.py` and the scripts beside it do, from the parts: checkpoints scored, results compared and shown.

Training is one room and needs no such page; here evaluation, reporting and tracking, which do not
know each other, meet.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alibi.commands.to_wandb import track, wandb_id
from alibi.data import DataConfig
from alibi.environment import pick_device
from alibi.evaluation import (
    EvaluationSettings,
    OpenResult,
    compare_results,
    find_results,
    open_evaluation_text,
    score_checkpoint,
)
from alibi.faults import check_writable, explained
from alibi.interop import HF_PREFIX, open_guest
from alibi.processes import FailedElsewhere, Processes, processes
from alibi.reporting import Result, draw_perplexity, findings_text, join, load_results, refusals_text, results_table
from alibi.runs import Checkpoint, Guest, resolve_runs
from alibi.signals import interruptible
from alibi.tracking import TrackingConfig
from alibi.training.training_settings import PathsConfig


@dataclass
class OtherText:
    """A text in place of the run's own; what is None is taken from the run."""

    name: str | None = None
    path: str | None = None
    pattern: str | None = None

    def over(self, own: DataConfig) -> DataConfig:
        """The run's own text where nothing else was asked for."""
        if self.name is None or self.name == own.name:
            # The run's own pattern chooses among the files of a folder; a file that is named is meant.
            inherited = None if self.path and Path(self.path).is_file() else own.pattern
            return DataConfig(own.name, self.path or own.path, self.pattern or inherited)
        return DataConfig(self.name, self.path, self.pattern)


@dataclass
class EvaluateCommand:
    """
    Attributes:
        runs: latest, a run folder, a checkpoint folder, a glob, hf:PATH_OR_ID for a model of transformers, or a list.
        data: another text, encoded by each run's own tokenizer; what guests (hf:) are scored on.
        precision: fp32 unless told otherwise.
    """

    runs: Any = "latest"
    eval: EvaluationSettings = field(default_factory=EvaluationSettings)
    data: OtherText = field(default_factory=OtherText)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    device: str = "auto"
    precision: str = "fp32"


@dataclass
class Evaluated:
    """What became of one run.

    Attributes:
        files: its results, unfinished until the whole command is done.
        wandb_id: of the run there.
        failure: why it was not evaluated.
    """

    model: Checkpoint | Guest
    files: list[OpenResult] = field(default_factory=list)
    wandb_id: str | None = None
    failure: str | None = None


def evaluate(command: EvaluateCommand) -> None:
    """Evaluate every run that the command names, print the tables, draw the figures.

    Of several runs, one that cannot be evaluated, since its training has removed the checkpoint say, keeps no other.

    Raises:
        ValueError: settings that cannot be, or a damaged checkpoint, found before anything is scored; or some run of
            several was not evaluated.
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
        runs = _evaluate_all(command, models, procs)
        procs.on_main(_conclude, command, runs)


def _conclude(command: EvaluateCommand, runs: Sequence[Evaluated]) -> None:
    """Show and track what was evaluated, and say what was not."""
    for run in runs:
        if not all(file.path.exists() for file in run.files):
            run.files, run.failure = [], "its results are gone: the run folder was removed meanwhile"
    figures = show(command, [file.path for run in runs for file in run.files])
    tracking = command.tracking
    for run in runs:
        if not run.failure:
            mode = track(tracking, run.model, run.wandb_id, [file.path for file in run.files], figures)
            tracking = replace(tracking, wandb=mode)
    for file in (file for run in runs for file in run.files):
        file.end()  # not before: whatever interrupts the command, the same one goes on
    if failed := [f"  {run.model.path}: {run.failure}" for run in runs if run.failure]:
        others = "; the others were, and are kept when the command is given again with eval.reuse=true"
        head = f"{len(failed)} of {len(runs)} runs could not be evaluated{others if len(failed) < len(runs) else ''}:"
        raise ValueError("\n".join([head, *failed]))


def _evaluate_all(command: EvaluateCommand, models: list[Checkpoint | Guest], procs: Processes) -> list[Evaluated]:
    cache, settings, quiet = Path(command.paths.cache), command.eval, not procs.is_main
    with procs.together():
        texts = [
            open_evaluation_text(model, data, settings.split, settings.max_tokens, cache, quiet)
            for model, data in zip(models, wanted_texts(command, models), strict=True)
        ]
    runs = [Evaluated(model) for model in models]
    for run, text in zip(runs, texts, strict=True):
        procs.say(f"{run.model.path}: {len(text.tokens):,} tokens of {text.tokens.text['name']} {text.split}")
        for note in text.notes:
            procs.say(note)
        try:
            run.wandb_id = procs.on_main(wandb_id, command.tracking, run.model)
            run.files = score_checkpoint(run.model, text, settings, procs.device, command.precision, procs=procs)
        except (ValueError, OSError, FailedElsewhere) as error:
            if len(runs) == 1:
                raise
            run.failure = _why(run.model, error)
            if not isinstance(error, FailedElsewhere):
                print(f"{run.model.path} could not be evaluated: {run.failure}", file=sys.stderr, flush=True)
    return runs


def _why(model: Checkpoint | Guest, error: Exception) -> str:
    if isinstance(error, FailedElsewhere):
        return "another process failed, and says why"
    if isinstance(model, Checkpoint) and not model.path.exists():
        return "it is gone; a run in training removes its checkpoints but for the newest train.keep_last and the best"
    return explained(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def wanted_models(command: EvaluateCommand) -> list[Checkpoint | Guest]:
    """What `runs` names: checkpoints of runs, then guests.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as resolve_runs and open_guest.
    """
    outputs = Path(command.paths.outputs)
    wanted = command.runs if isinstance(command.runs, list) else [command.runs]
    guests = [one for one in wanted if isinstance(one, str) and one.startswith(HF_PREFIX)]
    if guests and command.eval.cached:
        raise ValueError(
            f"eval.cached is for this project's own key/value cache, which {guests[0]} does not have; remove it."
        )
    runs = [one for one in wanted if one not in guests] if guests else command.runs
    paths = resolve_runs(runs, outputs) if runs or not guests else []
    return [*(Checkpoint(path) for path in paths), *(open_guest(one, outputs) for one in dict.fromkeys(guests))]


def wanted_texts(command: EvaluateCommand, models: list[Checkpoint | Guest]) -> list[DataConfig]:
    """The text of each: what was asked for over the run's own; a guest has none, and takes that of the runs beside it.

    Raises:
        ValueError: a guest without a text.
    """
    asked = command.data
    runs = [asked.over(model.data_config) for model in models if isinstance(model, Checkpoint)]
    guests = len(models) - len(runs)
    if not guests:
        return runs
    if runs and all(text == runs[0] for text in runs):
        return runs + [runs[0]] * guests
    if asked.name is None:
        raise ValueError(
            "a model of transformers (hf:) has no text of its own, and no one text of runs beside it; say which, "
            "data=wikitext103 or data=wikitext2 data.path=FOLDER."
        )
    return runs + [DataConfig(asked.name, asked.path, asked.pattern)] * guests


def show(command: EvaluateCommand, files: Sequence[Path]) -> list[Path]:
    """One table and one figure for all runs on the same text by the same protocol; returns the figures."""
    if not files:
        return []
    lengths, figures = sorted(set(command.eval.lengths)), []
    results = load_results(files)
    comparison = compare_results({result.path: result.content for result in results})
    study = join(results, comparison)
    for part in study.sets:
        group = [run.result for run in part.runs]
        print(f"\n{results_table(part, lengths)}")
        drawn = draw_perplexity(study, part, figure_folder(command, [result.path.parent for result in group]))
        figures += drawn
        for path in (*(result.path for result in group), *drawn):
            print(f"{'figure ' if path in drawn else 'results'}    {path}")
    print(f"\n{findings_text(results, comparison)}")
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


def compare(wanted: Sequence[str]) -> tuple[list[Result], dict]:
    """Result files set beside each other.

    Args:
        wanted: result files, run folders, or globs of these.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file that is no sound result; or several files, of which no two may be compared.
    """
    results = load_results(find_results(wanted))
    comparison = compare_results({result.path: result.content for result in results})
    runs = {result.content["checkpoint"]["sha256"] for result in results}
    if len(runs) > 1 and not any(pair["lengths"] for part in comparison["sets"] for pair in part["pairs"]):
        notes = [part["note"] for part in comparison["sets"] if len(part["runs"]) > 1]
        reasons = "\n".join([*notes, refusals_text(results, comparison)])
        files = ", ".join(str(result.path) for result in results)
        raise ValueError(f"no two of these {len(runs)} runs may be compared ({files}):\n{reasons}")
    return results, comparison

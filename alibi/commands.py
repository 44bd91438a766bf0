"""What `evaluate.py` and the scripts beside it do, from the parts: checkpoints scored, results compared and shown.

Training is one room and needs no such page; here evaluation, reporting and tracking, which do not
know each other, meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alibi.data import DataConfig
from alibi.environment import pick_device
from alibi.evaluation import (
    EvaluationSettings,
    EvaluationText,
    compare_results,
    evaluate_checkpoint,
    find_results,
    open_evaluation_text,
)
from alibi.interop import HF_PREFIX, open_guest
from alibi.processes import Processes, processes
from alibi.reporting import Result, draw_perplexity, findings_text, join, load_results, refusals_text, results_table
from alibi.runs import Checkpoint, Guest, group_name, resolve_runs
from alibi.tracking import TrackingConfig, Wandb
from alibi.training.settings import PathsConfig


@dataclass
class OtherText:
    """A text in place of the run's own; what is None is taken from the run."""

    name: str | None = None
    path: str | None = None
    pattern: str | None = None

    def over(self, own: DataConfig) -> DataConfig:
        """The run's own text where nothing else was asked for."""
        if self.name is None or self.name == own.name:
            return DataConfig(own.name, self.path or own.path, self.pattern or own.pattern)
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


def evaluate(command: EvaluateCommand) -> None:
    """Evaluate every run that the command names, print the tables, draw the figures.

    Raises:
        ValueError: settings that cannot be, or a damaged checkpoint; found before anything is scored.
        FileNotFoundError, ConnectionError: no run, or no text.
    """
    with processes(pick_device(command.device)) as procs:
        models, texts, files = _evaluate_all(command, procs)
        if procs.is_main:
            figures = show(command, files)
            for model, text in zip(models, texts, strict=True):
                own = [path for path, scored in files.items() if scored is text]
                track(command.tracking, model, text, own, figures)


def _evaluate_all(
    command: EvaluateCommand, procs: Processes
) -> tuple[list[Checkpoint | Guest], list[EvaluationText], dict[Path, EvaluationText]]:
    """Checkpoints and guests, the text of each, and the result files with the text that each is of."""
    with procs.together():
        models = wanted_models(command) if procs.is_main else []
    models = procs.from_main(models)  # a run that goes on may move its pointers
    cache, settings, quiet = Path(command.paths.cache), command.eval, not procs.is_main
    with procs.together():
        texts = [
            open_evaluation_text(model, data, settings.split, settings.max_tokens, cache, quiet)
            for model, data in zip(models, wanted_texts(command, models), strict=True)
        ]
    files: dict[Path, EvaluationText] = {}
    for model, text in zip(models, texts, strict=True):
        if procs.is_main:
            print(f"{model.path}: {len(text.tokens):,} tokens of {text.tokens.text['name']} {settings.split}")
        written = evaluate_checkpoint(model, text, settings, procs.device, command.precision, procs=procs)
        files |= dict.fromkeys(written, text)
    return models, texts, files


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


def show(command: EvaluateCommand, files: dict[Path, EvaluationText]) -> list[Path]:
    """One table and one figure for all runs on the same text by the same protocol; returns the figures.

    Args:
        files: result files, and the text that each is of.
    """
    lengths, figures = sorted(set(command.eval.lengths)), []
    results = load_results(files)
    comparison = compare_results({result.path: result.content for result in results})
    for part in join(results, comparison).sets:
        group = [run.result for run in part.runs]
        print(f"\n{results_table(part, lengths)}")
        name = measured_name(group[0], files[group[0].path])
        drawn = draw_perplexity(part, figure_folder(command, group), name)
        figures += drawn
        for path in (*(result.path for result in group), *drawn):
            print(f"{'figure ' if path in drawn else 'results'}    {path}")
    print(f"\n{findings_text(results, comparison)}")
    return figures


def measured_name(result: Result, text: EvaluationText) -> str:
    """What was measured, for curves and figures: wikitext2-validation-stride-256, and -1893-tokens of a part.

    From the result itself: which of the text's parts has the plain file name depends on which came first.
    """
    data, content = result.content["data"], result.content
    parts = [
        data["name"] if text.own else f"{data['name']}-{data['sha256'][:8]}",
        data["split"],
        content["protocol"]["name"],
        *([content["precision"]] if content["precision"] != "fp32" else []),
        *([content["scorer"]] if content["scorer"] != "full" else []),
        *([] if text.whole else [f"{data['tokens']}-tokens"]),
    ]
    return "-".join(parts)


def figure_folder(command: EvaluateCommand, results: list[Result]) -> Path:
    """eval.figure_dir; else the run's evaluation folder, or figures/ beside several runs."""
    if command.eval.figure_dir:
        return Path(command.eval.figure_dir)
    folders = {result.path.parent for result in results}
    if len(folders) == 1:
        return folders.pop()
    parents = {folder.parents[1] for folder in folders}
    return (parents.pop() if len(parents) == 1 else Path(command.paths.outputs)) / "figures"


def track(
    tracking: TrackingConfig,
    checkpoint: Checkpoint | Guest,
    text: EvaluationText,
    files: list[Path],
    figures: list[Path],
) -> None:
    """The rows of a checkpoint to its wandb run, as curves over the length and as a table, and the figures.

    A guest has no run there.
    """
    if tracking.wandb == "disabled" or isinstance(checkpoint, Guest):
        return
    own = checkpoint.config["tracking"]
    # The run stays where training put it, unless another place is asked for.
    project = own["project"] if tracking.project == TrackingConfig.project else tracking.project
    tracking = replace(tracking, project=project, group=tracking.group or own.get("group"))
    run_id, group = checkpoint.load_state().get("wandb_id"), group_name(checkpoint.config, checkpoint.texts["train"])
    results, last_step = load_results(files), checkpoint.config["train"]["max_steps"]
    wandb = Wandb(tracking, checkpoint.run, run_id, checkpoint.config, group)
    # An earlier step is a curve of its own, as a part of a text is.
    step = "" if checkpoint.step == last_step else f"-step-{checkpoint.step}"
    wandb.log_rows({f"{measured_name(result, text)}{step}": list(result.rows.values()) for result in results})
    rows = [_tracked_row(result, row) for result in results for row in result.rows.values()]
    wandb.log_table("evaluation_table", list(rows[0]), [list(row.values()) for row in rows])
    for path in figures:
        if path.suffix == ".png":
            wandb.log_image(f"figures/{path.stem}", path)
    wandb.close()


def _tracked_row(result: Result, row: dict) -> dict:
    low, high = (row.get("interval") or {}).get("perplexity") or (None, None)
    return {
        "run": result.run,
        "method": result.method,
        "training length": result.seq_len,
        "protocol": result.content["protocol"]["name"],
        "split": result.content["data"]["split"],
        **{name: row.get(name) for name in ("length", "perplexity", "word_perplexity", "bits_per_byte")},
        "perplexity low": low,
        "perplexity high": high,
    }


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

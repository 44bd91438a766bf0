"""What `evaluate.py` does, from the parts: runs resolved, checkpoints scored, results shown.

Training is one room and needs no such page; here evaluation, reporting and tracking, which do not
know each other, meet.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alibi.data import DataConfig
from alibi.environment import pick_device
from alibi.evaluation import EvaluationSettings, evaluate_checkpoint, open_evaluation_text
from alibi.reporting import Result, draw_perplexity, load_results, results_table
from alibi.runs import Checkpoint, resolve_runs
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
        runs: latest, a run folder, a checkpoint folder, a glob, or a list of these.
        data: another text, encoded by each run's own tokenizer.
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
    device = pick_device(command.device)
    checkpoints = [Checkpoint(path) for path in resolve_runs(command.runs, Path(command.paths.outputs))]
    cache, settings = Path(command.paths.cache), command.eval
    texts = [
        open_evaluation_text(c, command.data.over(c.data_config), settings.split, settings.max_tokens, cache)
        for c in checkpoints
    ]
    files: dict[Path, list[Path]] = {}
    for checkpoint, text in zip(checkpoints, texts, strict=True):
        print(f"{checkpoint.path}: {len(text.tokens):,} tokens of {text.tokens.text['name']} {settings.split}")
        files[checkpoint.path] = evaluate_checkpoint(checkpoint, text, settings, device, command.precision)
    figures = show(command, files)
    for checkpoint in checkpoints:
        track(command.tracking, checkpoint, files[checkpoint.path], figures)


def show(command: EvaluateCommand, files: dict[Path, list[Path]]) -> list[Path]:
    """One table and one figure for all runs on the same text by the same protocol; returns the figures.

    Args:
        files: result files by checkpoint, one a stride.
    """
    lengths, figures = sorted(set(command.eval.lengths)), []
    results = load_results([path for of_checkpoint in files.values() for path in of_checkpoint])
    for measured in dict.fromkeys(result.measured for result in results):
        group = [result for result in results if result.measured == measured]
        print(f"\n{results_table(group, lengths)}")
        drawn = draw_perplexity(group, figure_folder(command, group))
        figures += drawn
        for path in (*(result.path for result in group), *drawn):
            print(f"{'figure ' if path in drawn else 'results'}    {path}")
    return figures


def figure_folder(command: EvaluateCommand, results: list[Result]) -> Path:
    """eval.figure_dir; else the run's evaluation folder, or figures/ beside several runs."""
    if command.eval.figure_dir:
        return Path(command.eval.figure_dir)
    folders = {result.path.parent for result in results}
    if len(folders) == 1:
        return folders.pop()
    parents = {folder.parents[1] for folder in folders}
    return (parents.pop() if len(parents) == 1 else Path(command.paths.outputs)) / "figures"


def track(tracking: TrackingConfig, checkpoint: Checkpoint, files: list[Path], figures: list[Path]) -> None:
    """The rows of a checkpoint to its wandb run, with the length as x axis, and the figures."""
    if tracking.wandb == "disabled":
        return
    run_id = checkpoint.load_state()["wandb_id"]
    group = checkpoint.config["model"]["position"]["name"]
    wandb = Wandb(tracking, checkpoint.run, run_id, checkpoint.config, group)
    for result in load_results(files):
        for row in result.rows.values():
            if "error" not in row:
                numbers = {f"eval/{result.protocol}/{name}": value for name, value in row.items() if name != "length"}
                wandb.log({"eval/length": row["length"], **numbers})
    for path in figures:
        if path.suffix == ".png":
            wandb.log_image(f"figures/{path.stem}", path)
    wandb.close()

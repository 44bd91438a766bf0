"""The settings of evaluate.py, and the models and texts that they name."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alibi.data import DataConfig
from alibi.evaluation import EvaluationSettings
from alibi.interop import HF_PREFIX, open_guest
from alibi.paths import PathsConfig
from alibi.runs import Checkpoint, Guest, resolve_runs
from alibi.tracking import TrackingConfig


@dataclass
class OtherText:
    """A text in place of the run's own; what is None is taken from the run."""

    name: str | None = None
    path: str | None = None
    pattern: str | None = None
    task: Any = None

    def over(self, own: DataConfig) -> DataConfig:
        """The run's own text where nothing else was asked for.

        Raises:
            ValueError: a text for a run that was trained on a task, or the other way round.
        """
        if own.is_task:
            if self.name not in (None, own.name):
                raise ValueError(f"data.name ({self.name}) must be {own.name}, the task that the run was trained on.")
            asked = DataConfig(own.name, self.path, self.pattern, self.task)
            return replace(asked, task=own.task | (self.task or {}))
        if self.name is None or self.name == own.name:
            # The run's own pattern chooses among the files of a folder; a file that is named is meant.
            inherited = None if self.path and Path(self.path).is_file() else own.pattern
            return DataConfig(own.name, self.path or own.path, self.pattern or inherited, self.task)
        other = DataConfig(self.name, self.path, self.pattern, self.task)
        if other.is_task:
            raise ValueError(f"data={self.name} is a task, and the run was trained on {own.name}; leave it out.")
        return other


@dataclass
class EvaluateCommand:
    """
    Attributes:
        runs: latest, a run folder, a checkpoint folder, a glob, hf:PATH_OR_ID for a model of transformers, or a list.
        data: another text, encoded by each run's own tokenizer; what guests (hf:) are scored on. Of a run on a task,
            other settings of it.
        precision: fp32 by default.
    """

    runs: Any = "latest"
    eval: EvaluationSettings = field(default_factory=EvaluationSettings)
    data: OtherText = field(default_factory=OtherText)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    device: str = "auto"
    precision: str = "fp32"


def wanted_models(command: EvaluateCommand) -> list[Checkpoint | Guest]:
    """What `runs` names: checkpoints of runs, then guests.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as resolve_runs and open_guest.
    """
    outputs = Path(command.paths.outputs)
    wanted = command.runs if isinstance(command.runs, list) else [command.runs]
    guests = [one for one in wanted if str(one).startswith(HF_PREFIX)]
    if guests and command.eval.cached:
        raise ValueError(f"eval.cached is for this project's own key/value cache, which {guests[0]} lacks; remove it.")
    runs = [one for one in wanted if one not in guests]
    paths = resolve_runs(runs, outputs) if runs or not guests else []
    return [*(Checkpoint(path) for path in paths), *(open_guest(one, outputs) for one in dict.fromkeys(guests))]


def wanted_texts(command: EvaluateCommand, models: list[Checkpoint | Guest]) -> list[DataConfig]:
    """The text of each model: the one asked for, else the run's own; a guest takes that of the runs evaluated with it.

    Raises:
        ValueError: a guest without a text.
    """
    asked = command.data
    runs = [asked.over(model.data_config) for model in models if isinstance(model, Checkpoint)]
    guests = len(models) - len(runs)
    if runs and runs.count(runs[0]) == len(runs):
        return runs + [runs[0]] * guests
    if guests and asked.name is None:
        raise ValueError("a model of transformers (hf:) has no text of its own; say which, as by data=wikitext103.")
    of_guests = [DataConfig(asked.name, asked.path, asked.pattern, asked.task) for _ in range(guests)]
    return runs + of_guests

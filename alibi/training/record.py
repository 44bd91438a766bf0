"""What a run writes: settings, metrics, wandb, checkpoints and the pointers to them; in process 0 only."""

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from alibi.files import write_atomically
from alibi.metrics_file import MetricsFile
from alibi.runs import CONFIG, group_name
from alibi.runs.config_yaml import settings_text
from alibi.tracking import Wandb
from alibi.training.run_parts import RunParts
from alibi.training.summary import run_facts

METRICS = "metrics.jsonl"


class Record:
    """
    Args:
        run: its state receives the id of the wandb run.
    """

    def __init__(self, run: RunParts) -> None:
        settings, folder, state = asdict(run.config), run.folder, run.state
        self.run, self.yaml = run, settings_text(settings)
        folder.path.mkdir(parents=True, exist_ok=True)
        write_atomically(folder.path / CONFIG, self.yaml)
        folder.point_latest(Path(run.config.paths.outputs))
        if state.best_step in folder.saved_steps():
            folder.point_best(state.best_step)  # in case of a kill between checkpoint and pointer
        self.metrics = MetricsFile(folder.path / METRICS, state.step, run.source.path / METRICS)
        group, told = group_name(settings, run.texts.sha256["train"]), settings | {"facts": run_facts(run)}
        self.wandb = Wandb(run.config.tracking, folder.path, state.wandb_id, told, group, self.metrics.earlier)
        state.wandb_id = self.wandb.id

    def log(self, line: dict) -> None:
        """Write a line of metrics."""
        self.metrics.log(line)
        self.wandb.log_step(line)

    def save(self, weights: dict[str, Tensor], moments: dict[str, Tensor], fingerprint: dict) -> None:
        """Save a checkpoint, point to it, and remove the older ones beyond train.keep_last.

        Args:
            weights: all parameters, whole.
            moments: the optimizer's tensors, whole.
            fingerprint: of what the model computes.
        """
        self.metrics.sync()  # first, so that a power failure leaves no checkpoint without its lines
        run, texts, state = self.run, self.run.texts, self.run.state
        about = asdict(state), self.yaml, texts.tokenizer, texts.every_sha256
        more = {"moments": moments, "weights": weights, "fingerprint": fingerprint}
        run.folder.save_checkpoint(state.step, run.model, *about, **more)
        if state.best_step == state.step:
            run.folder.point_best(state.step)
        run.folder.keep(run.config.train.keep_last)

    def close(self) -> None:
        self.wandb.close()
        self.metrics.close()

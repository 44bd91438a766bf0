"""What a run writes: settings, metrics, wandb, checkpoints and the pointers to them; in process 0 only."""

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from alibi.files import write_atomically
from alibi.metrics_file import MetricsFile
from alibi.model import LanguageModel
from alibi.runs import CONFIG, RunFolder, group_name, settings_text
from alibi.tracking import Wandb
from alibi.training.run_texts import RunTexts
from alibi.training.train_state import TrainState
from alibi.training.training_settings import RunConfig

METRICS = "metrics.jsonl"


class Record:
    """
    Args:
        state: of the run so far; the id of the wandb run is stored in it.
        source: the run folder that the state comes from, another one if the run branches off.
        facts: derived from settings and text, for wandb.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, state: TrainState, source: RunFolder, facts: dict) -> None:
        self.config, self.folder, self.state = config, folder, state
        self.yaml = settings_text(asdict(config))
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.remove_leftovers()
        write_atomically(folder.path / CONFIG, self.yaml)
        folder.point_latest(Path(config.paths.outputs))
        if state.best_step in folder.saved_steps():
            folder.point_best(state.best_step)  # in case of a kill between checkpoint and pointer
        self.metrics = MetricsFile(folder.path / METRICS, state.step, source.path / METRICS)
        settings = asdict(config)
        group, told = group_name(settings, facts["text_sha256"]["train"]), settings | {"facts": facts}
        self.wandb = Wandb(config.tracking, folder.path, state.wandb_id, told, group, self.metrics.earlier)
        state.wandb_id = self.wandb.id

    def log(self, line: dict) -> None:
        """Write a line of metrics."""
        self.metrics.log(line)
        self.wandb.log_step(line)

    def save(
        self,
        model: LanguageModel,
        weights: dict[str, Tensor],
        moments: dict[str, Tensor],
        texts: RunTexts,
        fingerprint: dict,
    ) -> None:
        """Save a checkpoint, point to it, and remove the older ones beyond train.keep_last.

        Args:
            weights: all parameters, whole.
            moments: the optimizer's tensors, whole.
            fingerprint: of what the model computes.
        """
        self.metrics.sync()  # first, so that a power failure leaves no checkpoint without its lines
        about = self.yaml, texts.tokenizer, texts.every_sha256
        more = {"moments": moments, "weights": weights, "fingerprint": fingerprint}
        self.folder.save_checkpoint(self.state.step, model, self.state.to_json(), *about, **more)
        if self.state.best_step == self.state.step:
            self.folder.point_best(self.state.step)
        self.folder.keep(self.config.train.keep_last)

    def close(self) -> None:
        self.wandb.close()
        self.metrics.close()

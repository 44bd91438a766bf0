"""What a run leaves behind: settings, metrics, wandb's curves, checkpoints and the pointers to them.

Written by process 0 alone.
"""

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
        state: of the run so far. It gets the id of the wandb run.
        source: the run folder that the state comes from: another one where a run branches off.
        facts: what the settings imply.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, state: TrainState, source: RunFolder, facts: dict) -> None:
        self.config, self.folder, self.state = config, folder, state
        self.yaml = settings_text(asdict(config))
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.remove_leftovers()
        write_atomically(folder.path / CONFIG, self.yaml)
        folder.point_latest(Path(config.paths.outputs))
        if state.best_step in folder.saved_steps():
            folder.point_best(state.best_step)  # a kill may have come between a checkpoint and its pointer
        self.metrics = MetricsFile(folder.path / METRICS, state.step, source.path / METRICS)
        settings = asdict(config)
        group, told = group_name(settings, facts["text_sha256"]["train"]), settings | {"facts": facts}
        self.wandb = Wandb(config.tracking, folder.path, state.wandb_id, told, group, self.metrics.earlier)
        state.wandb_id = self.wandb.id

    def log(self, line: dict) -> None:
        """A line of metrics."""
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
        """A checkpoint of the state as it is, the pointers to it, and no more of the older ones than asked for.

        Args:
            weights: every parameter, whole.
            moments: the optimizer's tensors, whole.
            fingerprint: of what the model computes.
        """
        self.metrics.sync()  # no checkpoint without the lines before it, even if the machine dies now
        about = self.yaml, texts.tokenizer, texts.sha256
        more = {"moments": moments, "weights": weights, "fingerprint": fingerprint}
        self.folder.save_checkpoint(self.state.step, model, self.state.to_json(), *about, **more)
        if self.state.best_step == self.state.step:
            self.folder.point_best(self.state.step)
        self.folder.keep(self.config.train.keep_last)

    def close(self) -> None:
        self.wandb.close()
        self.metrics.close()

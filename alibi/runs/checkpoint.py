"""A checkpoint folder, read: everything that is needed to rebuild model, tokenizer and data, and to resume training.

    step-00001000/model.safetensors, training_state.safetensors, training_state.json, config.yaml, tokenizer.json,
        manifest.json

Nothing is read before its checksum was compared with the manifest's.
"""

import json
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from alibi.data import DataConfig, Tokenizer, tokenizer_from_json
from alibi.files import file_sha256
from alibi.model import LanguageModel, ModelConfig
from alibi.pointers import CONFIG, MANIFEST
from alibi.runs import checkpoint_files as files
from alibi.runs.checkpoint_files import CHOOSE, ChangedModel, DamagedCheckpoint
from alibi.runs.fingerprint import VERSION, difference, fixed_nats, source_sha256
from alibi.runs.run_settings import read_settings


class Checkpoint:
    """One checkpoint whose files all have the checksums that its manifest states.

    Attributes:
        path, run: its folder, and that of its run.
        sha256: of the weights.
        texts: sha256 of the text of each split that the run was trained and validated on.
        fingerprint: of what the model computed; None where it is unknown, or of a version that cannot be compared.
        resumable: False in format 1, whose training state is a pickle, which this version does not read.
        beside: the setting with which the same command trains a new run beside this one.

    Raises:
        DamagedCheckpoint: a file is missing, truncated or altered, or a newer version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, path.parent.parent
        self.manifest = manifest = self._read_manifest()
        for name, stated in manifest["sha256"].items():
            if not (path / name).is_file():
                raise DamagedCheckpoint(f"{path} lacks {name}; {CHOOSE}.")
            if (actual := file_sha256(path / name)) != stated:
                how = f"its sha256 is {actual[:12]}..., the manifest says {stated[:12]}..."
                raise DamagedCheckpoint(f"{path / name} is cut short or altered: {how}; {CHOOSE}.")
        self.step, self.texts, self.sha256 = manifest["step"], manifest["texts"], manifest["sha256"][files.MODEL]
        stored = manifest.get("fingerprint")
        self.fingerprint = stored if stored and stored["version"] == VERSION else None
        self.resumable = manifest["format"] == files.FORMAT
        self.beside = f"run_dir={self.run}-2"

    def _read_manifest(self) -> dict:
        try:
            manifest = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            known = manifest["format"] in files.FILES
            if known and manifest["manifest_sha256"] != files.manifest_sha256(manifest):
                raise ValueError("its own checksum differs")
        except (OSError, ValueError, TypeError, KeyError) as error:
            why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be trusted ({error})"
            raise DamagedCheckpoint(f"{self.path} is not a valid checkpoint: {MANIFEST} {why}; {CHOOSE}.") from error
        if not known:
            raise DamagedCheckpoint(
                f"{self.path} has checkpoint format {manifest['format']}, and this version reads "
                f"{', '.join(map(str, files.FILES))}. If a newer version wrote it, update the code; else {CHOOSE}."
            )
        return manifest

    @cached_property
    def config(self) -> dict:
        return read_settings(self.path / CONFIG)

    @property
    def origin(self) -> dict | None:
        """Of the run: the checkpoint whose weights it started from."""
        return self.config.get("origin")

    @property
    def tokens(self) -> int:
        """All tokens that the weights were trained on, in the run's origin too."""
        return self.step * self.config["train"]["batch_tokens"] + (self.origin or {"tokens": 0})["tokens"]

    @property
    def model_config(self) -> ModelConfig:
        return self._typed(ModelConfig, "model")

    @property
    def data_config(self) -> DataConfig:
        return self._typed(DataConfig, "data")

    def _typed(self, schema: type, part: str):
        """A part of config.yaml as a dataclass; unknown names and wrong types are refused."""
        try:
            return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), self.config[part]))
        except (OmegaConfBaseException, ValueError) as error:
            raise self._of_another_version(CONFIG, f"{part}: {str(error).splitlines()[0]}") from error

    def load_tokenizer(self) -> Tokenizer:
        """
        Raises:
            DamagedCheckpoint: another version wrote it, and this one cannot read it.
        """
        try:
            return tokenizer_from_json((self.path / files.TOKENIZER).read_text(encoding="utf-8"))
        except ValueError as error:
            raise self._of_another_version(files.TOKENIZER, error) from error

    def _of_another_version(self, name: str, error: object) -> DamagedCheckpoint:
        return DamagedCheckpoint(f"{self.path / name}, of another version, cannot be used: {error}; {CHOOSE}.")

    def load_model(self, device: str | torch.device = "cpu") -> LanguageModel:
        """The model, in evaluation mode.

        Raises:
            DamagedCheckpoint: the weights do not fit the configuration.
            ChangedModel: the code was edited, and no longer computes what these weights were trained for.
        """
        model = LanguageModel(self.model_config, self.load_tokenizer().vocab_size, seed=0)
        stored = self.fingerprint
        if stored and (how := files.misfit(self.path, model)):
            raise self._changed(how)
        files.load_weights(model, self.path)
        model = model.to(device).eval()
        if stored and (how := difference(stored, fixed_nats(model, self.config["train"]["seq_len"]))):
            edited = "was edited" if self.source_changed(model) else "is as it was, so other code or a library changed"
            raise self._changed(f"{how}. The source of the position method {edited}")
        return model

    def _changed(self, how: str) -> ChangedModel:
        return ChangedModel(
            f"{self.path} was trained by code that computes something else than it does now: {how}. To train what it "
            f"is now, repeat its command with {self.beside}; to use these weights, restore the code."
        )

    def source_changed(self, model: LanguageModel) -> bool:
        """Whether the position method's source differs from what the run was trained with, as far as both are known."""
        then, now = (self.fingerprint or {}).get("source_sha256"), source_sha256(model)
        return None not in (then, now) and then != now

    @cached_property
    def state(self) -> dict:
        """The training state without its tensors: step, cursor, wandb's run id and the like; not in format 1."""
        return json.loads((self.path / files.STATE).read_text(encoding="utf-8"))

    @property
    def is_last(self) -> bool:
        """Whether its run is finished."""
        train, exact = self.config["train"], self.state.get("last_exact_match") if self.resumable else None
        return self.step >= train["max_steps"] or (exact or 0) >= (train.get("stop_at") or math.inf)

    @property
    def wandb_id(self) -> str | None:
        """Of the run's wandb run; in format 1, by the folders that wandb made for it."""
        if self.resumable:
            return self.state.get("wandb_id")
        parts = sorted((self.run / "wandb").glob("*run-*/run-*.wandb"))
        return parts[-1].stem.removeprefix("run-") if parts else None

    def load_moments(self) -> Iterator[tuple[str, Tensor]]:
        """The optimizer's tensors, one at a time, each with its name `<parameter>.<moment>`."""
        with files.open_tensors(self.path / files.MOMENTS) as tensors:
            yield from ((name, tensors.get_tensor(name)) for name in tensors.keys())  # noqa: SIM118

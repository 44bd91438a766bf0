"""A checkpoint: written by a run, verified and read by everything after it.

    step-00001000/model.safetensors, training_state.pt, config.yaml, tokenizer.json, manifest.json

It holds all that is needed to rebuild model, tokenizer and data, and all that a restart needs. It
is written beside its place and renamed, and read only after its checksums were compared. Loading
runs no code: safetensors, and a state that torch loads weights-only.
"""

import hashlib
import json
import os
import pickle
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from yaml import YAMLError

from alibi.data import DataConfig, Tokenizer, TokenizerConfig, tokenizer_from_json
from alibi.environment import environment
from alibi.model import LanguageModel, ModelConfig
from alibi.runs.files import file_sha256, sync, write_atomically

FORMAT = 1
MODEL, STATE, CONFIG, TOKENIZER, MANIFEST = (
    "model.safetensors",
    "training_state.pt",
    "config.yaml",
    "tokenizer.json",
    "manifest.json",
)
FILES = (MODEL, STATE, CONFIG, TOKENIZER)


class DamagedCheckpoint(ValueError):
    """A checkpoint that is missing, cut short or altered."""


def write_checkpoint(
    target: Path,
    step: int,
    model: LanguageModel,
    state: dict,
    config: str,
    tokenizer: Tokenizer,
    texts: dict[str, str],
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint folder, whole or not at all.

    Args:
        state: all that a restart needs; numbers, strings, tensors and containers of them.
        config: the run's resolved config.yaml.
        texts: sha256 of the text of each split that the run read.
        weights: the model's parameters where it holds only a part of them.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    for leftover in target.parent.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        save_file(_own_tensors(model) if weights is None else weights, beside / MODEL)
        torch.save(state, beside / STATE)
        (beside / CONFIG).write_text(config, encoding="utf-8")
        (beside / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
        sums = {name: file_sha256(beside / name) for name in FILES}
        manifest = {"format": FORMAT, "step": step, "sha256": sums, "texts": texts}
        manifest["parameters"] = model.count_parameters().total
        manifest["made_with"] = environment(model.device)
        manifest["manifest_sha256"] = manifest_sha256(manifest)
        write_atomically(beside / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        for name in sums:
            sync(beside / name)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(beside, target)
        sync(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, verified: every file has the checksum its manifest states.

    Raises:
        DamagedCheckpoint: a file is missing, cut short or altered, or the format is unknown.
    """

    path: Path

    def __post_init__(self) -> None:
        found = self.manifest["format"]
        if found != FORMAT:
            raise DamagedCheckpoint(f"{self.path} has checkpoint format {found}; this version reads format {FORMAT}.")
        for name, stated in self.manifest["sha256"].items():
            if not (self.path / name).is_file():
                raise DamagedCheckpoint(
                    f"{self.path} lacks {name}; choose another checkpoint, by runs= or train.resume=."
                )
            if (actual := file_sha256(self.path / name)) != stated:
                raise DamagedCheckpoint(
                    f"{self.path / name} is cut short or altered: its sha256 is {actual[:12]}..., the manifest says "
                    f"{stated[:12]}...; choose another checkpoint, by runs= or train.resume=."
                )

    @cached_property
    def manifest(self) -> dict:
        try:
            manifest = json.loads((self.path / MANIFEST).read_text())
            if manifest["format"] == FORMAT:
                if manifest["manifest_sha256"] != manifest_sha256(manifest):
                    raise ValueError("its own checksum differs")
                manifest["sha256"] = {name: str(manifest["sha256"][name]) for name in FILES}
                kinds = {"step": int, "texts": dict, "parameters": int}
                manifest |= {name: kind(manifest[name]) for name, kind in kinds.items()}
            return manifest
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedCheckpoint(
                f"{self.path} is no sound checkpoint: {MANIFEST} cannot be trusted ({error}); choose another."
            ) from error

    @property
    def run(self) -> Path:
        return self.path.parent.parent

    @property
    def step(self) -> int:
        return self.manifest["step"]

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return self.manifest["sha256"][MODEL]

    @property
    def texts(self) -> dict[str, str]:
        """sha256 of the text of each split that the run read."""
        return self.manifest["texts"]

    @cached_property
    def config(self) -> dict:
        try:
            return OmegaConf.to_container(OmegaConf.load(self.path / CONFIG))
        except (YAMLError, OSError) as error:
            raise self._foreign(CONFIG, "plain YAML") from error

    @property
    def model_config(self) -> ModelConfig:
        return typed(ModelConfig, self.config["model"], "model")

    @property
    def data_config(self) -> DataConfig:
        return typed(DataConfig, self.config["data"], "data")

    @property
    def tokenizer_config(self) -> TokenizerConfig:
        return typed(TokenizerConfig, self.config["tokenizer"], "tokenizer")

    def load_tokenizer(self) -> Tokenizer:
        return tokenizer_from_json((self.path / TOKENIZER).read_text(encoding="utf-8"))

    def load_model(self, device: str | torch.device = "cpu") -> LanguageModel:
        """The model in evaluation mode.

        Raises:
            DamagedCheckpoint: the weights do not fit the configuration.
        """
        vocab_size = self.load_tokenizer().vocab_size
        model = LanguageModel(self.model_config, vocab_size, seed=0)
        load_weights(model, self.path)
        return model.to(device).eval()

    def load_state(self) -> dict:
        """What the run needs to go on.

        Raises:
            DamagedCheckpoint: it holds more than numbers, strings, tensors and containers of them.
        """
        try:
            return torch.load(self.path / STATE, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise self._foreign(STATE, "a state of numbers, strings and tensors") from error

    def _foreign(self, name: str, wanted: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(
            f"{self.path / name} is not {wanted}, so this project did not write it, and it is not loaded; "
            "choose another checkpoint, by runs= or train.resume=."
        )


def typed(schema: type, values: dict, where: str):
    """Values from YAML as a dataclass, unknown and mistyped ones refused.

    Raises:
        ValueError: naming `where` the value stands.
    """
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}: {str(error).splitlines()[0]}") from error


def manifest_sha256(manifest: dict) -> str:
    """Of all that a manifest says but its own hash."""
    content = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _own_tensors(model: LanguageModel) -> dict[str, torch.Tensor]:
    """Each parameter once, under its first name: tied ones are stored once."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}


def load_weights(model: LanguageModel, checkpoint: Path) -> None:
    """Fill the parameters of `model`; every tensor must be there, fit, and be used.

    Raises:
        DamagedCheckpoint: naming the first tensor that is not so.
    """
    try:
        tensors = load_file(checkpoint / MODEL)
    except SafetensorError as error:
        raise DamagedCheckpoint(f"{checkpoint / MODEL} is no safetensors file ({error}).") from error
    parameters = dict(model.named_parameters())
    for name in sorted(tensors.keys() | parameters.keys()):
        have, want = (tuple(t[name].shape) if name in t else "nothing" for t in (tensors, parameters))
        if have != want:
            raise DamagedCheckpoint(
                f"{checkpoint / MODEL} does not fit its config.yaml and tokenizer: {name} is {have} in the file and "
                f"{want} in the model."
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])

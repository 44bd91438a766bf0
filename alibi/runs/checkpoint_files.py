"""The files of a checkpoint folder, the errors of one that cannot be used, and its weights loaded into a model."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open

from alibi.model import LanguageModel
from alibi.pointers import CONFIG

FORMAT = 2
MODEL, TOKENIZER = "model.safetensors", "tokenizer.json"
STATE, MOMENTS = "training_state.json", "training_state.safetensors"
# The files that a manifest has checksums of, by its format. Format 1 kept the training state as a pickle.
FILES = {1: (MODEL, "training_state.pt", CONFIG, TOKENIZER), FORMAT: (MODEL, MOMENTS, STATE, CONFIG, TOKENIZER)}
CHOOSE = "choose another checkpoint, by runs= or train.resume="


class DamagedCheckpoint(ValueError):
    """A checkpoint that is incomplete, altered, or not readable by this version."""


class ChangedModel(ValueError):
    """The code was edited: with a checkpoint's weights it no longer computes what they were trained for."""


def manifest_sha256(manifest: dict) -> str:
    """sha256 of a manifest's content, its own hash left out."""
    content = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def open_tensors(path: Path) -> Iterator[safe_open]:
    """An open safetensors file. Opened by its descriptor, as safetensors takes paths in UTF-8 only."""
    with open(path, "rb") as file, safe_open(f"/dev/fd/{file.fileno()}", "pt") as tensors:
        yield tensors


def misfit(checkpoint: Path, model: LanguageModel) -> str | None:
    """The first weight that is missing, unused or of another shape, in words; None if all fit."""
    with open_tensors(checkpoint / MODEL) as tensors:
        stored = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name in sorted(stored.keys() | wanted.keys()):
        have, want = stored.get(name, "nothing"), wanted.get(name, "nothing")
        if have != want:
            return f"{name} is {have} in the file and {want} in the model"
    return None


def load_weights(model: LanguageModel, checkpoint: Path) -> None:
    """Fill the parameters of `model` from a checkpoint folder.

    Raises:
        DamagedCheckpoint: a weight is missing, unused or of another shape.
    """
    if how := misfit(checkpoint, model):
        raise DamagedCheckpoint(f"{checkpoint / MODEL} does not fit its config.yaml and tokenizer: {how}; {CHOOSE}.")
    with open_tensors(checkpoint / MODEL) as tensors, torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors.get_tensor(name))

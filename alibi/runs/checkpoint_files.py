"""The files of a checkpoint folder: written as a whole or not at all, checked, and weights loaded from them."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from alibi.data import Tokenizer
from alibi.environment import environment
from alibi.files import disk_error_of, file_sha256, naming, replace_folder, sync, write_atomically
from alibi.model import LanguageModel
from alibi.pointers import CONFIG, MANIFEST

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


def write_checkpoint(
    target: Path,
    step: int,
    model: LanguageModel,
    state: dict,
    config: str,
    tokenizer: Tokenizer,
    texts: dict[str, str],
    *,
    moments: dict[str, Tensor] | None = None,
    weights: dict[str, Tensor] | None = None,
    fingerprint: dict | None = None,
    origin: dict | None = None,
    text_form: str | None = None,
) -> None:
    """Write a checkpoint folder completely or not at all; an older one at `target` stays until the new one is on disk.

    Args:
        state: what a restart needs beside tensors, as JSON can hold it.
        config: the run's resolved config.yaml.
        texts: sha256 of the text of each split that is known.
        moments: the optimizer's tensors; None where nothing is to be resumed.
        weights: all parameters, where the model holds only a part of them.
        fingerprint: of what the model computes; None where the code did not train it.
        origin: the checkpoint whose weights the run started from.
        text_form: raw, tokens or files, of the training text.

    Raises:
        OSError: the disk is full or not writable; it names the file.
        ValueError: a number in `state` that JSON cannot hold (NaN, infinity).
    """
    contents = {CONFIG: config, TOKENIZER: tokenizer.to_json(), STATE: json.dumps(state, indent=1, allow_nan=False)}
    # Tied parameters are stored once, under their first name.
    weights = weights or {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        for name, text in contents.items():
            with naming(target / name):
                (temporary / name).write_text(text, encoding="utf-8")
        for name, tensors in {MODEL: weights, MOMENTS: moments or {}}.items():
            try:
                save_file(tensors, temporary / name)
            except SafetensorError as error:
                raise (disk_error_of(error, target / name) or error) from None
            shutil.copymode(temporary / CONFIG, temporary / name)  # safetensors makes its files private
        for name in FILES[FORMAT]:
            sync(temporary / name)
        about = {"fingerprint": fingerprint, "origin": origin, "text_form": text_form}
        manifest = _manifest(temporary, step, texts, model, {name: value for name, value in about.items() if value})
        # Written last: it marks the checkpoint as complete.
        write_atomically(temporary / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        sync(temporary)
        replace_folder(temporary, target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _manifest(folder: Path, step: int, texts: dict[str, str], model: LanguageModel, about: dict) -> dict:
    """What a checkpoint says about itself, with checksums of the files in `folder` and of its own content."""
    manifest = {
        "format": FORMAT,
        "step": step,
        "sha256": {name: file_sha256(folder / name) for name in FILES[FORMAT]},
        "texts": texts,
        "parameters": model.count_parameters().total,
        "made_with": environment(model.device),
        **about,
    }
    return manifest | {"manifest_sha256": manifest_sha256(manifest)}


@contextmanager
def open_tensors(path: Path) -> Iterator[safe_open]:
    """An open safetensors file. Opened by its descriptor, as safetensors takes paths in UTF-8 only.

    Raises:
        DamagedCheckpoint: it is not one.
    """
    try:
        with open(path, "rb") as file, safe_open(f"/dev/fd/{file.fileno()}", "pt") as tensors:
            yield tensors
    except SafetensorError as error:
        raise DamagedCheckpoint(f"{path} is not a safetensors file ({error}); {CHOOSE}.") from error


def stored_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in the weights of a checkpoint folder."""
    with open_tensors(checkpoint / MODEL) as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def wanted_shapes(model: LanguageModel) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a model."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def misfit(checkpoint: Path, model: LanguageModel) -> str | None:
    """The first weight that is missing, unused or of another shape, in words; None if all fit."""
    stored, wanted = stored_shapes(checkpoint), wanted_shapes(model)
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

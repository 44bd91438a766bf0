"""Writing a checkpoint: under a temporary name, synced to disk, then renamed."""

import json
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from alibi.data import Tokenizer
from alibi.environment import environment
from alibi.faults import disk_error_of, naming
from alibi.files import file_sha256, replace_folder, sync, write_atomically
from alibi.model import LanguageModel
from alibi.pointers import CONFIG, MANIFEST
from alibi.runs.checkpoint_files import FILES, FORMAT, MODEL, MOMENTS, STATE, TOKENIZER, manifest_sha256


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
) -> None:
    """Write a checkpoint folder completely or not at all; an older one at `target` stays until the new one is on disk.

    Args:
        state: what a restart needs beside tensors, as JSON can hold it.
        config: the run's resolved config.yaml.
        texts: sha256 of the text of each split that is known.
        moments: the optimizer's tensors; None where nothing is to be resumed.
        weights: all parameters, where the model holds only a part of them.
        fingerprint: of what the model computes; None where the code did not train it.

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
        manifest = {
            "format": FORMAT,
            "step": step,
            "sha256": {name: file_sha256(temporary / name) for name in FILES[FORMAT]},
            "texts": texts,
            "parameters": model.count_parameters().total,
            "made_with": environment(model.device),
        }
        if fingerprint:
            manifest["fingerprint"] = fingerprint
        manifest["manifest_sha256"] = manifest_sha256(manifest)
        # Written last: it marks the checkpoint as complete.
        write_atomically(temporary / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        sync(temporary)
        replace_folder(temporary, target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

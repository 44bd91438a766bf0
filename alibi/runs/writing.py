"""Writing a checkpoint: beside its place, brought to the disk, then moved there in one step."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from alibi.data import Tokenizer
from alibi.environment import environment
from alibi.faults import naming, os_error_of
from alibi.files import exchange, file_sha256, sync, write_atomically
from alibi.model import LanguageModel
from alibi.runs.layout import CONFIG, FILES, FORMAT, MANIFEST, MODEL, STATE, TOKENIZER, manifest_sha256


def write_checkpoint(
    target: Path,
    step: int,
    model: LanguageModel,
    state: dict,
    config: str,
    tokenizer: Tokenizer,
    texts: dict[str, str],
    weights: dict[str, torch.Tensor] | None = None,
    fingerprint: dict | None = None,
) -> None:
    """Write a checkpoint folder, whole or not at all; one that is there keeps its place until then.

    Args:
        state: all that a restart needs; numbers, strings, tensors and containers of them.
        config: the run's resolved config.yaml.
        texts: sha256 of the text of each split that the run read.
        weights: the model's parameters where it holds only a part of them.
        fingerprint: of what the model computes; None where the code did not train it.

    Raises:
        OSError: the disk is full, or may not be written; it names the file.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    for leftover in target.parent.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        with _disk_errors(target / MODEL):
            save_file(_own_tensors(model) if weights is None else weights, beside / MODEL)
        with _disk_errors(target / STATE), open(beside / STATE, "wb") as file:
            torch.save(_alike(state), file)
        for name, text in ((CONFIG, config), (TOKENIZER, tokenizer.to_json())):
            with naming(target / name):
                (beside / name).write_text(text, encoding="utf-8")
        shutil.copymode(beside / CONFIG, beside / MODEL)  # safetensors shuts its files to everybody else
        sums = {name: file_sha256(beside / name) for name in FILES}
        manifest = {"format": FORMAT, "step": step, "sha256": sums, "texts": texts}
        manifest["parameters"] = model.count_parameters().total
        manifest["made_with"] = environment(model.device)
        manifest |= {"fingerprint": fingerprint} if fingerprint else {}
        manifest["manifest_sha256"] = manifest_sha256(manifest)
        for name in sums:
            sync(beside / name)
        write_atomically(beside / MANIFEST, json.dumps(manifest, indent=2) + "\n")  # last: what has one is whole
        sync(beside)
        _move(beside, target)
        sync(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """What the disk said, as an OSError: safetensors and torch.save hide it in errors of their own."""
    try:
        with naming(path):
            yield
    except (SafetensorError, RuntimeError) as error:
        if told := os_error_of(error, path):
            raise told from error
        raise


def _move(beside: Path, target: Path) -> None:
    """Put `beside` in the place of `target`; what stood there is never gone before the new one stands."""
    if not os.path.lexists(target):
        os.replace(beside, target)
    elif not exchange(beside, target):
        # No system call for it here: for a moment neither has its name, but both are on the disk (see put_back).
        aside = target.with_name(f".{target.name}.before.{os.getpid()}")
        os.replace(target, aside)
        os.replace(beside, target)
        shutil.rmtree(aside, ignore_errors=True)


def _alike(value: object) -> object:
    """Equal states as equal bytes: a pickle notes which of its texts are one object, and a resumed run has others."""
    if isinstance(value, dict):
        return {_alike(name): _alike(inner) for name, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_alike(inner) for inner in value)
    return sys.intern(value) if type(value) is str else value


def _own_tensors(model: LanguageModel) -> dict[str, torch.Tensor]:
    """Each parameter once, under its first name: tied ones are stored once."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}

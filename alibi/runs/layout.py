"""The files of a checkpoint folder, and the errors of one that cannot be used."""

import hashlib
import json

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

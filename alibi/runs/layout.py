"""What a checkpoint folder holds, and the errors of one that cannot be used."""

import hashlib
import json

from alibi.pointers import CONFIG, MANIFEST

FORMAT = 1
MODEL, STATE, TOKENIZER = "model.safetensors", "training_state.pt", "tokenizer.json"
FILES = (MODEL, STATE, CONFIG, TOKENIZER)
# Of the files that are read whole before their content is known. Ours have some KiB; a tokenizer of words a few MiB.
MOST_BYTES = {CONFIG: 2**18, TOKENIZER: 2**26, MANIFEST: 2**20}
CHOOSE = "choose another checkpoint, by runs= or train.resume="


class DamagedCheckpoint(ValueError):
    """A checkpoint that is missing, cut short, altered, or not of this project's making."""


class ChangedModel(ValueError):
    """The code was edited: with a checkpoint's weights it computes what they were not trained for."""


def manifest_sha256(manifest: dict) -> str:
    """Of all that a manifest says but its own hash."""
    content = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

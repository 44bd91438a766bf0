"""What a checkpoint of these tests holds: its files, a state to train on from; and how it is forged."""

import json
from pathlib import Path

import torch

from alibi.files import file_sha256
from alibi.runs.layout import manifest_sha256

FILES = ("model.safetensors", "training_state.pt", "config.yaml", "tokenizer.json")
STATE = {
    "step": 1000,
    "cursor": {"epoch": 3, "index": 17},
    "optimizer": [{"exp_avg": torch.linspace(-1, 1, 7, dtype=torch.float64)}, {"step": torch.tensor(5)}],
    "wandb": None,
    "best": 3.25,
}


def edit_manifest(path: Path, **changes) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= changes
    manifest = {k: v for k, v in manifest.items() if v is not None}
    manifest["manifest_sha256"] = manifest_sha256(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def sign_again(path: Path) -> None:
    """Make the checksums fit what the files now hold, as an attacker would."""
    edit_manifest(path, sha256={name: file_sha256(path / name) for name in FILES})

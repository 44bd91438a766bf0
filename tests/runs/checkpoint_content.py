"""What a checkpoint of these tests holds, and how its manifest is edited."""

import json
from pathlib import Path

import torch

from alibi.files import file_sha256
from alibi.runs.checkpoint_files import manifest_sha256

FILES = (
    "model.safetensors",
    "training_state.safetensors",
    "training_state.json",
    "config.yaml",
    "tokenizer.json",
)
STATE = {
    "step": 1000,
    "cursor": {"epoch": 3, "index": 17},
    "wandb_id": None,
    "best_val_loss": 0.1 + 0.2,
}
MOMENTS = {"a.exp_avg": torch.linspace(-1, 1, 7, dtype=torch.float64), "a.step": torch.tensor(5)}


def edit_manifest(path: Path, **changes) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= changes
    manifest = {k: v for k, v in manifest.items() if v is not None}
    manifest["manifest_sha256"] = manifest_sha256(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def sign_again(path: Path) -> None:
    """Make the checksums fit what the files now hold."""
    edit_manifest(path, sha256={name: file_sha256(path / name) for name in FILES})

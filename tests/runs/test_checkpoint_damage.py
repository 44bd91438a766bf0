"""Damaged checkpoints, and those that do not fit together: one message that names the file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoint_content import FILES, edit_manifest, sign_again
from safetensors.torch import load_file, save_file

from alibi.data.tokenizers import WordTokenizer
from alibi.model import LanguageModel, ModelConfig
from alibi.runs import Checkpoint, DamagedCheckpoint, load_model, load_weights


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(bytes(content))


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("damage", [Path.unlink, truncate, empty, flip_a_bit, lengthen])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(saved: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(saved / name)
    for read in (Checkpoint, load_model):
        with pytest.raises(DamagedCheckpoint, match=name) as caught:
            read(saved)
        assert str(saved) in str(caught.value)
        assert "runs=" in str(caught.value)


@pytest.mark.parametrize("damage", [Path.unlink, truncate, empty])
def test_a_damaged_manifest_is_named(saved: Path, damage: Callable[[Path], None]) -> None:
    content = (saved / "manifest.json").read_text().rstrip()
    (saved / "manifest.json").write_text(content)
    damage(saved / "manifest.json")
    with pytest.raises(
        DamagedCheckpoint, match=r"not a valid checkpoint: manifest\.json (is missing|cannot be trusted)"
    ):
        Checkpoint(saved)


@pytest.mark.parametrize("changes", [{"step": 7}, {"parameters": 1}, {"texts": {"train": "0", "validation": "0"}}])
def test_a_manifest_changed_by_hand_is_refused(saved: Path, changes: dict) -> None:
    """Its own checksum covers every field, not only the checksums of the files."""
    path = saved / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DamagedCheckpoint, match=r"manifest\.json cannot be trusted \(its own checksum differs\)"):
        Checkpoint(saved)


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"[]", b"{}", b"null", b'{"format": 1}', b'{"sha256": []}', b"7", b'{"format": 1, "sha256": []}'],
)
def test_a_garbled_manifest_is_named(saved: Path, content: bytes) -> None:
    (saved / "manifest.json").write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=r"manifest\.json"):
        Checkpoint(saved)


@pytest.mark.parametrize("found", [0, 3, "1"])
def test_another_format_is_refused_with_what_to_do(saved: Path, found: object) -> None:
    edit_manifest(saved, format=found)
    with pytest.raises(DamagedCheckpoint, match=rf"format {found}, and this version reads 1, 2\..*update the code"):
        Checkpoint(saved)


def test_a_folder_that_is_not_there_is_damaged_too(tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match="step-00000001 is not a valid checkpoint"):
        Checkpoint(tmp_path / "checkpoints" / "step-00000001")


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


@pytest.mark.parametrize("change", ["shape", "missing", "extra"])
def test_weights_that_do_not_fit_are_named(saved: Path, change: str) -> None:
    tensors = weights_of(saved)
    name = sorted(tensors)[0]
    if change == "shape":
        tensors[name] = tensors[name][:-1].contiguous()
    elif change == "missing":
        del tensors[name]
    else:
        name = "aaa.foreign"
        tensors[name] = torch.zeros(2)
    save_file(tensors, saved / "model.safetensors")
    sign_again(saved)
    with pytest.raises(DamagedCheckpoint, match=rf"model\.safetensors does not fit.*{name} is"):
        Checkpoint(saved).load_model()


def test_weights_of_another_shape_are_refused(saved: Path, tiny_config: ModelConfig) -> None:
    for changes in ({"d_ff": 32}, {"num_layers": 2}, {"tie_embeddings": False}, {"d_model": 8}):
        with pytest.raises(DamagedCheckpoint, match="does not fit"):
            load_weights(LanguageModel(replace(tiny_config, **changes), 257, seed=0), saved)
    load_weights(LanguageModel(tiny_config, 257, seed=0), saved)


def test_a_tokenizer_of_another_size_is_refused(saved: Path) -> None:
    (saved / "tokenizer.json").write_text(WordTokenizer(["a", "b"]).to_json())
    sign_again(saved)
    with pytest.raises(DamagedCheckpoint, match=r"embedding\.weight is \(257, 16\) in the file and \(6, 16\)"):
        Checkpoint(saved).load_model()


def test_settings_of_another_version_are_named(saved: Path) -> None:
    text = (saved / "config.yaml").read_text()
    (saved / "config.yaml").write_text(text.replace("num_layers: 1", "num_layres: 1"))
    sign_again(saved)
    with pytest.raises(ValueError, match=r"model: .*num_layres"):
        Checkpoint(saved).load_model()

"""Checkpoints: the same bits come back, and a write that fails harms nothing that was there."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoint_content import FILES, MOMENTS, STATE
from safetensors.torch import load_file, safe_open

from alibi.data import DataConfig
from alibi.data.tokenizers import ByteTokenizer
from alibi.files import file_sha256
from alibi.model import LanguageModel, ModelConfig
from alibi.runs import Checkpoint, RunFolder, load_model
from alibi.runs.checkpoint_files import FORMAT, write_checkpoint


@pytest.mark.parametrize("method", ["alibi", "sinusoidal", "rotary", "t5", "none"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_same_bits_come_back(tmp_path: Path, save: Callable, tiny_config: ModelConfig, method: str, tied) -> None:
    config = replace(tiny_config, position={"name": method}, tie_embeddings=tied)
    model = LanguageModel(config, 257, seed=3)
    checkpoint = Checkpoint(save(tmp_path / "run", model))
    loaded = checkpoint.load_model()
    assert loaded.config == model.config
    assert not loaded.training
    for (name, old), (other, new) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(old, new)
        assert old.dtype == new.dtype
    ids = torch.arange(20).view(2, 10)
    assert torch.equal(model.eval()(ids), loaded(ids))
    # Control: the seed that the loaded model was made with before its weights were read gives others.
    assert not torch.equal(LanguageModel(config, 257, seed=0).eval()(ids), loaded(ids))


def test_the_rest_comes_back(tmp_path: Path, save: Callable, tiny_model: LanguageModel) -> None:
    checkpoint = Checkpoint(save(tmp_path / "run", tiny_model, 1000, STATE))
    assert checkpoint.step == 1000
    assert checkpoint.run == tmp_path / "run"
    assert checkpoint.model_config == tiny_model.config
    assert checkpoint.data_config == DataConfig("stdlib")
    assert checkpoint.load_tokenizer().sha256 == ByteTokenizer().sha256
    assert checkpoint.texts == {"train": "0" * 64, "validation": "1" * 64}
    assert checkpoint.sha256 == file_sha256(checkpoint.path / "model.safetensors")
    assert checkpoint.state == STATE
    moments = dict(checkpoint.load_moments())
    assert moments.keys() == MOMENTS.keys()
    assert all(torch.equal(moments[name], MOMENTS[name]) for name in MOMENTS)
    assert moments["a.exp_avg"].dtype == torch.float64


def test_the_files_and_what_the_manifest_says(tmp_path: Path, save: Callable, tiny_model: LanguageModel) -> None:
    path = save(tmp_path / "run", tiny_model)
    assert sorted(p.name for p in path.iterdir()) == sorted([*FILES, "manifest.json"])
    assert sorted(os.listdir(path.parent)) == ["last", "step-00001000"]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["format"] == FORMAT == 2
    assert manifest["sha256"] == {name: file_sha256(path / name) for name in FILES}
    assert manifest["parameters"] == sum(p.numel() for p in tiny_model.parameters())
    made_with = manifest["made_with"]
    assert made_with["packages"]["torch"] == torch.__version__
    assert made_with["threads"] == torch.get_num_threads()
    assert made_with["device"].startswith("cpu: ")
    assert {"git_commit", "git_dirty", "python"} <= set(made_with)


def test_the_same_weights_are_the_same_bytes(tmp_path: Path, save: Callable, tiny_config: ModelConfig) -> None:
    paths = [save(tmp_path / f"run{n}", LanguageModel(tiny_config, 257, seed=1)) for n in range(3)]
    hashes = {file_sha256(path / "model.safetensors") for path in paths}
    assert len(hashes) == 1
    with safe_open(paths[0] / "model.safetensors", "pt") as file:
        assert file.metadata() is None
    other = save(tmp_path / "other", LanguageModel(tiny_config, 257, seed=2))
    assert file_sha256(other / "model.safetensors") not in hashes
    # Read and written once more.
    again = save(tmp_path / "again", load_model(paths[0]))
    assert file_sha256(again / "model.safetensors") in hashes


def test_a_tied_weight_is_stored_once(tmp_path: Path, save: Callable, tiny_config: ModelConfig) -> None:
    sizes = {}
    for tied in (True, False):
        model = LanguageModel(replace(tiny_config, tie_embeddings=tied), 257, seed=1)
        tensors = load_file(save(tmp_path / str(tied), model) / "model.safetensors")
        assert sum(t.numel() for t in tensors.values()) == sum(p.numel() for p in model.parameters())
        sizes[tied] = sum(t.shape == (257, 16) for t in tensors.values())
        loaded = load_model(tmp_path / str(tied))
        assert (loaded.output.weight is loaded.embedding.weight) == tied
    assert sizes == {True: 1, False: 2}


def test_a_failed_write_leaves_the_checkpoint_that_was_there(saved: Path, tiny_model: LanguageModel) -> None:
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    state = {"loss": float("nan")}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_checkpoint(saved, 1000, tiny_model, state, "", ByteTokenizer(), {})
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_checkpoint(saved.parent / "step-00002000", 2000, tiny_model, state, "", ByteTokenizer(), {})
    assert sorted(os.listdir(saved.parent)) == ["last", "step-00001000"]


def test_what_a_killed_write_left_is_no_checkpoint_and_is_cleared(
    saved: Path, save: Callable, tiny_model: LanguageModel
) -> None:
    leftover = saved.parent / ".step-00002000.4711"
    shutil.copytree(saved, leftover)
    run = RunFolder(saved.parent.parent)
    assert run.saved_steps() == [1000]
    run.clear_up()
    save(run.path, tiny_model, 3000)
    assert not leftover.exists()
    assert run.saved_steps() == [1000, 3000]


def test_a_step_saved_twice_is_the_later_one(saved: Path, save: Callable, tiny_config: ModelConfig) -> None:
    other = LanguageModel(tiny_config, 257, seed=9)
    assert save(saved.parent.parent, other, 1000, {"step": 1000, "again": True}) == saved
    assert Checkpoint(saved).state == {"step": 1000, "again": True}
    assert torch.equal(load_model(saved).embedding.weight, other.embedding.weight)

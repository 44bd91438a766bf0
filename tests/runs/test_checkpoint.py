"""Checkpoints: the same bits come back, nothing damaged is read, nothing in them is run."""

import contextlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from alibi.data import DataConfig, TokenizerConfig
from alibi.data.tokenizers import ByteTokenizer, WordTokenizer
from alibi.model import LanguageModel, ModelConfig
from alibi.runs import Checkpoint, DamagedCheckpoint, RunFolder, file_sha256, load_model, load_weights, typed
from alibi.runs.checkpoint import FORMAT, manifest_sha256, write_checkpoint

FILES = ("model.safetensors", "training_state.pt", "config.yaml", "tokenizer.json")
STATE = {
    "step": 1000,
    "cursor": {"epoch": 3, "index": 17},
    "optimizer": [{"exp_avg": torch.linspace(-1, 1, 7, dtype=torch.float64)}, {"step": torch.tensor(5)}],
    "wandb": None,
    "best": 3.25,
}


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
    assert checkpoint.tokenizer_config == TokenizerConfig("byte")
    assert checkpoint.load_tokenizer().sha256 == ByteTokenizer().sha256
    assert checkpoint.texts == {"train": "0" * 64, "validation": "1" * 64}
    assert checkpoint.sha256 == file_sha256(checkpoint.path / "model.safetensors")
    state = checkpoint.load_state()
    moments = state["optimizer"][0].pop("exp_avg")
    assert torch.equal(moments, STATE["optimizer"][0]["exp_avg"])
    assert moments.dtype == torch.float64
    assert state["optimizer"][1]["step"].item() == 5
    assert {k: v for k, v in state.items() if k != "optimizer"} == {k: v for k, v in STATE.items() if k != "optimizer"}


def test_the_files_and_what_the_manifest_says(tmp_path: Path, save: Callable, tiny_model: LanguageModel) -> None:
    path = save(tmp_path / "run", tiny_model)
    assert sorted(p.name for p in path.iterdir()) == sorted([*FILES, "manifest.json"])
    assert sorted(os.listdir(path.parent)) == ["last", "step-00001000"]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["format"] == FORMAT == 1
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


@pytest.fixture
def saved(tmp_path: Path, save: Callable, tiny_model: LanguageModel) -> Path:
    path = save(tmp_path / "run", tiny_model, 1000, STATE)
    assert Checkpoint(path).step == 1000
    return path


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
    with pytest.raises(DamagedCheckpoint, match=r"no sound checkpoint: manifest\.json cannot be trusted"):
        Checkpoint(saved)


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"[]", b"{}", b"null", b'{"format": 1}', b'{"sha256": []}', b"7", b'{"format": 1, "sha256": []}'],
)
def test_a_garbled_manifest_is_named(saved: Path, content: bytes) -> None:
    (saved / "manifest.json").write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=r"manifest\.json"):
        Checkpoint(saved)


def edit_manifest(path: Path, **changes) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= changes
    manifest = {k: v for k, v in manifest.items() if v is not None}
    manifest["manifest_sha256"] = manifest_sha256(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("found", [0, 2, "1"])
def test_another_format_is_refused(saved: Path, found: object) -> None:
    edit_manifest(saved, format=found)
    with pytest.raises(DamagedCheckpoint, match=rf"format {found}; this version reads format 1"):
        Checkpoint(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_manifest_does_not_vouch_for_is_not_read(saved: Path, name: str) -> None:
    sums = json.loads((saved / "manifest.json").read_text())["sha256"]
    del sums[name]
    edit_manifest(saved, sha256=sums)
    with pytest.raises(DamagedCheckpoint, match=name):
        Checkpoint(saved)


@pytest.mark.parametrize("name", ["format", "step", "sha256", "texts", "parameters"])
def test_a_manifest_that_lacks_something_is_refused(saved: Path, name: str) -> None:
    edit_manifest(saved, **{name: None})
    with pytest.raises(DamagedCheckpoint, match=rf"manifest\.json cannot be trusted \('{name}'\)"):
        Checkpoint(saved)


def test_a_folder_that_is_not_there_is_damaged_too(tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match="step-00000001 is no sound checkpoint"):
        Checkpoint(tmp_path / "checkpoints" / "step-00000001")


def sign_again(path: Path) -> None:
    """Make the checksums fit what the files now hold, as an attacker would."""
    edit_manifest(path, sha256={name: file_sha256(path / name) for name in FILES})


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


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_state_with_code_in_it_is_refused_and_not_run(saved: Path, tmp_path: Path, form: str) -> None:
    went_off = tmp_path / "went-off"
    state = {"step": 1, "optimizer": Bomb(went_off)}
    if form == "torch":
        torch.save(state, saved / "training_state.pt")
    else:
        (saved / "training_state.pt").write_bytes(pickle.dumps(state, protocol=2))
    sign_again(saved)
    checkpoint = Checkpoint(saved)
    with pytest.raises(DamagedCheckpoint, match=r"training_state\.pt"):
        checkpoint.load_state()
    checkpoint.load_model()
    assert not went_off.exists()
    # Control: the bomb is live.
    with contextlib.suppress(RuntimeError):  # torch finds out after unpickling that a bare pickle is not its own
        torch.load(saved / "training_state.pt", weights_only=False)
    assert went_off.exists()


def test_weights_with_code_in_them_are_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    (saved / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "went-off")))
    sign_again(saved)
    with pytest.raises(DamagedCheckpoint, match=r"model\.safetensors"):
        Checkpoint(saved).load_model()
    assert not (tmp_path / "went-off").exists()


def test_a_config_with_code_in_it_is_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    went_off = tmp_path / "went-off"
    (saved / "config.yaml").write_text(f"model: !!python/object/apply:os.mkdir ['{went_off}']\n")
    sign_again(saved)
    with pytest.raises(DamagedCheckpoint, match=r"config\.yaml"):
        Checkpoint(saved).load_model()
    assert not went_off.exists()


def test_names_in_the_manifest_do_not_lead_out_of_the_folder(saved: Path) -> None:
    sums = json.loads((saved / "manifest.json").read_text())["sha256"]
    edit_manifest(saved, sha256=sums | {"../../../secret": "0" * 64, "/etc/hostname": "0" * 64})
    assert set(Checkpoint(saved).manifest["sha256"]) == set(FILES)


def test_settings_of_another_version_are_named(saved: Path) -> None:
    text = (saved / "config.yaml").read_text()
    (saved / "config.yaml").write_text(text.replace("num_layers: 1", "num_layres: 1"))
    sign_again(saved)
    with pytest.raises(ValueError, match=r"model: .*num_layres"):
        Checkpoint(saved).load_model()


@pytest.mark.parametrize(
    ("values", "message"),
    [({"num_layers": "many"}, "model: .*many"), ({"depth": 3}, "model: .*depth"), ({"num_heads": 3}, "num_heads")],
)
def test_values_are_made_typed(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        typed(ModelConfig, values, "model")
    made = typed(ModelConfig, {"num_layers": 3, "position": {"name": "rotary", "theta": 500.0}}, "model")
    assert made.num_layers == 3
    assert made.position == {"name": "rotary", "theta": 500.0}


def test_a_failed_write_leaves_the_checkpoint_that_was_there(saved: Path, tiny_model: LanguageModel) -> None:
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_checkpoint(saved, 1000, tiny_model, {"step": lambda: 0}, "", ByteTokenizer(), {})
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_checkpoint(saved.parent / "step-00002000", 2000, tiny_model, {"f": lambda: 0}, "", ByteTokenizer(), {})
    assert sorted(os.listdir(saved.parent)) == ["last", "step-00001000"]


def test_what_a_killed_write_left_is_no_checkpoint_and_is_cleared(
    saved: Path, save: Callable, tiny_model: LanguageModel
) -> None:
    leftover = saved.parent / ".step-00002000.4711"
    shutil.copytree(saved, leftover)
    run = RunFolder(saved.parent.parent)
    assert run.saved_steps() == [1000]
    save(run.path, tiny_model, 3000)
    assert not leftover.exists()
    assert run.saved_steps() == [1000, 3000]


def test_a_step_saved_twice_is_the_later_one(saved: Path, save: Callable, tiny_config: ModelConfig) -> None:
    other = LanguageModel(tiny_config, 257, seed=9)
    assert save(saved.parent.parent, other, 1000, {"step": 1000, "again": True}) == saved
    assert Checkpoint(saved).load_state() == {"step": 1000, "again": True}
    assert torch.equal(load_model(saved).embedding.weight, other.embedding.weight)

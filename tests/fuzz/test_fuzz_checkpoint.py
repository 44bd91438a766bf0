"""Checkpoints with one file changed and all checksums made to fit: read, or refused by the project's own error."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import strategies as st
from mutations import changed_bytes, changed_json, fuzz, refusal

from alibi.files import file_sha256
from alibi.model import LanguageModel
from alibi.runs import Checkpoint, DamagedCheckpoint, read_settings
from alibi.runs.layout import FILES, manifest_sha256
from alibi.training.saved_state import check_saved
from alibi.training.state import TrainState


def sign_again(path: Path, manifest: dict) -> None:
    manifest = manifest | {"sha256": {name: file_sha256(path / name) for name in FILES}}
    manifest["manifest_sha256"] = manifest_sha256(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def read_all(path: Path) -> None:
    """All that evaluation, generation and training read of a checkpoint."""
    refused = refusal(lambda: use(Checkpoint(path)), DamagedCheckpoint)
    assert refused is None or str(path) in refused


def use(checkpoint: Checkpoint) -> None:
    assert checkpoint.step >= 0
    _ = checkpoint.data_config, checkpoint.tokenizer_config, checkpoint.texts["train"]
    tokenizer, model, state = checkpoint.load_tokenizer(), checkpoint.load_model(), checkpoint.load_state()
    for ids in tokenizer.encode(["the naïve lobster\n", "\x00 東\n"]):
        assert all(0 <= i < tokenizer.vocab_size for i in ids)
        model(torch.tensor([ids]))
    optimizer = torch.optim.AdamW(model.parameters())

    def go_on() -> None:
        check_saved(state, TrainState(), optimizer, "the checkpoint")
        TrainState.restore(state, optimizer)

    refused = refusal(go_on)
    assert refused is None or "training state" in refused


@pytest.mark.parametrize("name", ["model.safetensors", "training_state.pt", "config.yaml", "tokenizer.json"])
def test_bytes_of_a_file(sound_checkpoint, copied, name):
    path, content = copied(sound_checkpoint), (sound_checkpoint / name).read_bytes()
    manifest = json.loads((path / "manifest.json").read_text())

    def check(data: bytes) -> None:
        (path / name).write_bytes(data)
        sign_again(path, manifest)
        read_all(path)

    fuzz(f"bytes of {name}", changed_bytes(content), check)


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "tokenizer.json", "manifest.json"])
def test_values_in_a_file(sound_checkpoint, copied, name):
    """The header of the weights, the settings, the tokenizer, the manifest: still JSON or YAML, and other values."""
    path = copied(sound_checkpoint)
    manifest = json.loads((path / "manifest.json").read_text())
    content, rest = (path / name).read_bytes(), b""
    if name == "model.safetensors":
        length = int.from_bytes(content[:8], "little")
        content, rest = content[8 : 8 + length], content[8 + length :]
    values = yaml.safe_load(content)

    def check(changed: object) -> None:
        text = json.dumps(changed).encode()
        if name == "manifest.json":
            if isinstance(changed, dict):
                changed["manifest_sha256"] = manifest_sha256(changed)
            (path / name).write_text(json.dumps(changed))
        else:
            (path / name).write_bytes(len(text).to_bytes(8, "little") + text + rest if rest else text)
            sign_again(path, manifest)
        read_all(path)

    fuzz(f"values in {name}", changed_json(values), check)


def test_values_in_a_training_state(sound_checkpoint, copied):
    path = copied(sound_checkpoint)
    manifest = json.loads((path / "manifest.json").read_text())
    state = Checkpoint(path).load_state()
    plain = {name: value for name, value in state.items() if name != "optimizer"}
    plain["best_val_loss"] = plain["last_val_loss"] = 1.0
    groups = {"state": {}, "param_groups": json.loads(json.dumps(state["optimizer"]["param_groups"]))}

    def check(changed: object) -> None:
        torch.save(changed, path / "training_state.pt")
        sign_again(path, manifest)
        read_all(path)

    fuzz("values in training_state.pt", changed_json(plain | {"optimizer": groups}), check)


def test_settings_of_a_run(sound_checkpoint, tmp_path):
    content = (sound_checkpoint / "config.yaml").read_bytes()
    path = tmp_path / "config.yaml"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        if refusal(lambda: read_settings(path)) is None:
            assert read_settings(path)["seed"] >= 0

    yaml_marks = st.lists(st.sampled_from([b"&a ", b"*a", b"!!set ", b"? ", b"[", b"{", b"${", b"<<: ", b"\t", b": "]))
    mixed = st.tuples(changed_bytes(content), yaml_marks, st.integers(0, len(content)))
    fuzz("settings", mixed.map(lambda m: m[0][: m[2]] + b"".join(m[1]) + m[0][m[2] :]), check)


def test_control_the_sound_one_is_read(sound_checkpoint):
    checkpoint = Checkpoint(sound_checkpoint)
    assert isinstance(checkpoint.load_model(), LanguageModel)
    assert (
        TrainState.restore(checkpoint.load_state(), torch.optim.AdamW(checkpoint.load_model().parameters())).step == 3
    )

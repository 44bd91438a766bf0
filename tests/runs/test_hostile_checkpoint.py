"""Checkpoints from a stranger who can make checksums fit: no code, no way out of the folder, no forged size."""

import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import yaml
from checkpoint_content import STATE, edit_manifest, sign_again

from alibi.model import LanguageModel
from alibi.runs import Checkpoint, DamagedCheckpoint, RunFolder, checkpoint_of
from alibi.runs.state_file import read_state

BILLION = 10**9
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.fixture(autouse=True)
def few_gibibytes():
    """What asks for more memory than this fails at once, and does not take the machine along."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def refused(saved: Path, message: str) -> None:
    """The checkpoint is whole by its checksums, and no part that is unsound is taken."""
    sign_again(saved)
    checkpoint = Checkpoint(saved)
    with pytest.raises(DamagedCheckpoint, match=message) as caught:
        checkpoint.load_model(), checkpoint.load_state(), checkpoint.data_config
    assert str(saved) in str(caught.value)
    assert "choose another" in str(caught.value)


def edit_config(saved: Path, **changes) -> None:
    config = yaml.safe_load((saved / "config.yaml").read_text())
    for name, value in changes.items():
        part = config
        *parts, last = name.split("__")
        for inner in parts:
            part = part[inner]
        part[last] = value
    (saved / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__num_layers": BILLION}, r"config\.yaml.*num_layers is 1000000000, and the .* allow 1 at most"),
        ({"model__d_model": BILLION}, r"config\.yaml.*d_model is 1000000000"),
        ({"model__d_model": BILLION + 7}, r"config\.yaml.*d_model is"),
        ({"model__num_heads": 10**400}, r"config\.yaml.*num_heads is 1000"),
        ({"model__d_ff": BILLION}, r"config\.yaml.*d_ff is 1000000000"),
        ({"model__d_ff": 7000}, r"model\.safetensors does not fit.*\(16, 7000\) in the model"),
        ({"model__num_layers": "9" * 9}, r"config\.yaml.*num_layers is 999999999, and must be a whole number"),
        ({"model__position": {"name": "t5", "num_buckets": 4 * BILLION, "max_distance": 8 * BILLION}}, "does not fit"),
        ({"model__position": {"name": "t5", "num_buckets": 2**62, "max_distance": 2**63}}, r"config\.yaml"),
        ({"model__position": {"name": "other"}}, r"config\.yaml.*not a position method"),
        ({"model__size": "${oc.env:HOME}"}, r"config\.yaml.*model\.size is an interpolation"),
        ({"data__path": "${oc.env:SECRET}"}, r"config\.yaml.*data\.path is an interpolation"),
        ({"data__name": "elsewhere"}, r"config\.yaml.*not a corpus"),
        ({"train": None}, r"config\.yaml.*train\.seq_len is missing"),
        ({"train__seq_len": "8"}, r"config\.yaml.*train\.seq_len is '8', and must be a whole number"),
        ({"train__batch_tokens": 10**400}, r"config\.yaml.*train\.batch_tokens is"),
        ({"seed": True}, r"config\.yaml.*seed is 'True', and must be"),
    ],
)
def test_settings_that_ask_for_more_than_is_there(saved: Path, changes: dict, message: str) -> None:
    edit_config(saved, **changes)
    refused(saved, message)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "[" * 1200,
        "{a: " * 600,
        "a: 0x" + "f" * 9000,
        "a: 2020-01-01",
        "? [a]\n: b",
        "a: !!set {b}",
        "- a",
        "\0",
    ],
    ids=["aliases", "lists", "maps", "digits", "date", "key", "set", "list", "nul"],
)
def test_settings_that_are_none(saved: Path, text: str) -> None:
    (saved / "config.yaml").write_text(text)
    refused(saved, r"config\.yaml cannot be used")


def test_a_file_larger_than_such_a_file_is_not_read(saved: Path) -> None:
    with open(saved / "config.yaml", "ab") as file:
        file.truncate(2**20)
    refused(saved, r"config\.yaml cannot be used: it has 1,048,576 bytes")


def weights(saved: Path, header: object, length: int | None = None, rest: int = 0) -> None:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(data) if length is None else length
    (saved / "model.safetensors").write_bytes(struct.pack("<Q", length) + data + b"\0" * rest)


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ({}, 2**63),
        ({}, 2**30),
        ({}, 3),
        (b"[" * 100_000, None),
        (b'{"a": ' + b"9" * 5000 + b"}", None),
        ([], None),
        ({"a": {"dtype": "F32", "shape": [BILLION, BILLION], "data_offsets": [0, 0]}}, None),
        ({"a": {"dtype": "F32", "shape": [2**47] * 8, "data_offsets": [0, 0]}}, None),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}, None),
        ({"a": {"dtype": "Q9", "shape": [0], "data_offsets": [0, 0]}}, None),
        ({"a": {"dtype": ["F32"], "shape": [0], "data_offsets": [0, 0]}}, None),
        ({"a": None}, None),
        (b"", 0),
    ],
)
def test_weights_with_a_forged_header(saved: Path, header: object, length: int | None) -> None:
    weights(saved, header, length)
    refused(saved, r"model\.safetensors is no safetensors file \(")


def test_a_tensor_of_no_bytes_may_be_stated_by_nobody(saved: Path) -> None:
    weights(saved, {"embedding.weight": {"dtype": "F32", "shape": [0, BILLION], "data_offsets": [0, 0]}})
    refused(saved, r"config\.yaml|model\.safetensors")


def archive(saved: Path, change) -> None:
    """The training state, written anew with each record as `change` makes it: (name, data, compress_type)."""
    path = saved / "training_state.pt"
    with zipfile.ZipFile(path) as old:
        records = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(path, "w") as new:
        for name, data in records:
            new.writestr(name, *change(name, data))


def test_a_compressed_state_is_not_unpacked(saved: Path) -> None:
    torch.save({"x": torch.zeros(10**7)}, saved / "training_state.pt")
    archive(saved, lambda name, data: (data, zipfile.ZIP_DEFLATED))
    assert (saved / "training_state.pt").stat().st_size < 10**5
    refused(saved, r"training_state\.pt cannot be used: its archive is compressed")


@pytest.mark.parametrize("where", ["size", "both"])
def test_a_state_with_forged_sizes_is_not_read(saved: Path, where: str) -> None:
    path = saved / "training_state.pt"
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("s/data.pkl", b"x" * 100)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    for offset in (24,) if where == "size" else (20, 24):
        content[at + offset : at + offset + 4] = struct.pack("<I", 2**31)
    path.write_bytes(content)
    refused(saved, r"training_state\.pt cannot be used: its archive")


def test_a_state_behind_another_archive_is_not_read(saved: Path) -> None:
    path = saved / "training_state.pt"
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    refused(saved, r"training_state\.pt cannot be used")
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes() + b"\0")
    refused(saved, r"training_state\.pt cannot be used: no sound archive")


class Calls:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    "value",
    [
        Calls(bytearray, BILLION * 100),
        Calls(torch.empty, BILLION * 100),
        Calls(os.mkdir, "went-off"),
        Calls(eval, "__import__('os').mkdir('went-off')"),
        Calls(torch.Size, (1, 2)),
        torch.nn.Parameter(torch.zeros(2)),
    ],
    ids=["bytes", "tensor", "mkdir", "eval", "size", "parameter"],
)
def test_a_state_that_calls_anything_is_refused_unread(saved: Path, value: object, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "x": value}, saved / "training_state.pt")
    refused(saved, r"training_state\.pt cannot be used: its pickle asks for")
    assert not (tmp_path / "went-off").exists()


def test_a_state_whose_pickle_only_unpickling_would_show_is_refused(saved: Path) -> None:
    """Protocol 4 names what it calls on a stack."""
    archive(saved, lambda name, data: (pickle.dumps({"a": OrderedDict()}, 4) if "data.pkl" in name else data,))
    refused(saved, r"training_state\.pt cannot be used: its pickle asks for STACK_GLOBAL")


def shared(depth: int) -> list:
    value = ["x"]
    for _ in range(depth):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [torch.zeros(1).expand(BILLION), torch.zeros(1).expand(2**20, 2**20, 2**20), shared(60), [shared(60)]],
    ids=["view", "larger view", "shared", "shared deeper"],
)
def test_a_state_that_shows_one_number_a_billion_times_is_refused(saved: Path, value: object) -> None:
    with open(saved / "training_state.pt", "wb") as file:
        torch.save({"step": 1, "x": value}, file)
    refused(saved, r"training_state\.pt cannot be used: it holds more than its [\d,]+ bytes can")


@pytest.mark.parametrize("state", [[1], 7, {"x": b"bytes"}, {"x": {1, 2}}])
def test_a_state_of_other_kinds_is_refused(saved: Path, state: object) -> None:
    torch.save(state, saved / "training_state.pt")
    refused(saved, r"training_state\.pt cannot be used: ")


def test_an_honest_state_is_read(saved: Path, tmp_path: Path) -> None:
    """Control: what is refused above is not refused for being a state."""
    assert read_state(saved / "training_state.pt").keys() == STATE.keys()
    every = [torch.zeros(3, dtype=t) for t in (torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8)]
    torch.save({"x": every, "y": OrderedDict(a=(1, None))}, tmp_path / "s.pt")
    assert [x.dtype for x in read_state(tmp_path / "s.pt")["x"]] == [x.dtype for x in every]


@pytest.mark.parametrize("content", ['{"kind": "word", "words": "abc"}', '{"kind": "word"}', "[" * 5000, "7", "null"])
def test_a_tokenizer_that_is_none_is_named(saved: Path, content: str) -> None:
    (saved / "tokenizer.json").write_text(content)
    refused(saved, r"tokenizer\.json cannot be used: not a tokenizer file of this project")


@pytest.mark.parametrize(
    "changes", [{"step": 10**20}, {"step": "1"}, {"step": -1}, {"parameters": 1.5}, {"texts": {}}, {"texts": []}]
)
def test_a_manifest_with_other_kinds_is_refused(saved: Path, changes: dict) -> None:
    edit_manifest(saved, **changes)
    with pytest.raises(DamagedCheckpoint, match=r"manifest\.json cannot be trusted"):
        Checkpoint(saved)


@pytest.mark.parametrize("content", ["[" * 10**5, '{"format": ' + "9" * 5000 + "}", '{"format": ' + '{"a":' * 900])
def test_a_manifest_that_is_deep_or_long_is_refused(saved: Path, content: str) -> None:
    (saved / "manifest.json").write_text(content)
    with pytest.raises(DamagedCheckpoint, match=r"manifest\.json cannot be trusted"):
        Checkpoint(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "training_state.pt", "config.yaml", "tokenizer.json"])
def test_a_link_or_a_pipe_in_place_of_a_file_is_not_read(saved: Path, name: str, tmp_path: Path) -> None:
    content = (saved / name).read_bytes()
    (tmp_path / "elsewhere").write_bytes(content)
    (saved / name).unlink()
    (saved / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedCheckpoint, match=rf"{name} is not read: it is a link"):
        Checkpoint(saved)
    (saved / name).unlink()
    os.mkfifo(saved / name)  # reading one waits for ever
    with pytest.raises(DamagedCheckpoint, match=rf"{name} is not read: it is no regular file"):
        Checkpoint(saved)


@pytest.mark.parametrize("name", ["evaluation", "evaluation/step-00001000-x.png", "wandb", "metrics.jsonl"])
def test_a_link_out_of_the_run_folder_is_refused_before_anything_is_written(saved, tiny_model, name: str) -> None:
    run = saved.parent.parent
    outside = run.parent / "outside"
    outside.mkdir()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(outside)
    with pytest.raises(ValueError, match=rf"{name} is a link out of the run folder"):
        Checkpoint(saved)
    with pytest.raises(ValueError, match=rf"{name} is a link out of the run folder"):
        RunFolder(run).save_checkpoint(2000, tiny_model, {}, "", None, {})
    (run / name).unlink()
    (run / "inside").mkdir()
    (run / name).symlink_to(run / "inside")
    assert Checkpoint(saved).step == 1000


def test_checkpoints_that_lie_elsewhere_are_refused(saved: Path, tiny_model: LanguageModel) -> None:
    run, mine = saved.parent.parent, saved.parents[2] / "mine"
    saved.parent.rename(mine)
    (run / "checkpoints").symlink_to(mine)
    with pytest.raises(ValueError, match="checkpoints is a link out of the run folder"):
        RunFolder(run).save_checkpoint(2000, tiny_model, {}, "", None, {})
    assert sorted(p.name for p in mine.iterdir()) == ["last", "step-00001000"]


def test_a_pointer_leads_to_its_own_folder_only(saved: Path) -> None:
    last, elsewhere = saved.parent / "last", saved.parents[2] / "other" / "checkpoints" / "step-00000001"
    elsewhere.mkdir(parents=True)
    for target in ("../../other/checkpoints/step-00000001", str(elsewhere), "last/../last"):
        last.unlink()
        last.symlink_to(target)
        for path in (last, saved.parents[1]):
            if "other" in target:
                with pytest.raises(ValueError, match="out of its folder"):
                    checkpoint_of(path)
            else:  # it leads to itself
                with pytest.raises(DamagedCheckpoint):
                    Checkpoint(checkpoint_of(path))


def test_names_that_look_like_steps_are_no_checkpoints(saved: Path) -> None:
    for name in ("step-²", "step-1", "step-00001000x", "step-" + "9" * 200):
        (saved.parent / name).mkdir()
    assert RunFolder(saved.parent.parent).saved_steps() in ([1000], [1000, int("9" * 200)])

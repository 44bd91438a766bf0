"""Caches, tokenizers, results and logs from a stranger; and what the commands say of a hostile run."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from alibi.data import DataConfig, open_text, prepare_tokens, tokenizer_from_json
from alibi.data.token_file import TokenFileWriter, open_token_file
from alibi.data.tokenizers import BytePairTokenizer, ByteTokenizer
from alibi.files import file_sha256
from alibi.metrics_file import read_metrics
from alibi.reporting import load_results
from alibi.results.open_result import OpenResult
from alibi.results.result_json import content_sha256, read_result, write_result
from alibi.runs.layout import FILES, manifest_sha256

LINES = ["a b\n", "c\n", "é d\n"]


def write_tokens(folder: Path, vocab_size: int = 257) -> dict:
    folder.mkdir(parents=True)
    with TokenFileWriter(folder, vocab_size, 256, True) as writer:
        writer.add(LINES, [True, False, True], [list(line.encode()) for line in LINES])
        writer.close({"name": "x"}, {"name": "byte", "vocab_size": vocab_size})
    assert open_token_file(folder) is not None
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "object"}, {"dtype": "uint8"}, {"dtype": "V1000000000"}, {"dtype": ["uint16"]}, {"dtype": "uint32"},
        {"tokens": 10**12}, {"tokens": -1}, {"tokens": True}, {"tokens": 16.0}, {"lines": 10**12}, {"lines": 2},
        {"documents": 10**12}, {"words": 10**12}, {"bytes": 1}, {"end_of_text": -1}, {"end_of_text": 2**40},
        {"text": []}, {"tokenizer": 3}, {"tokenizer": {"vocab_size": 200}}, {"tokenizer": {"vocab_size": "x"}},
        {"sha256": {}}, {"format": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_of_tokens_that_states_what_is_not_there(tmp_path, changes):
    manifest = write_tokens(tmp_path / "f")
    (tmp_path / "f" / "manifest.json").write_text(json.dumps(manifest | changes))
    assert open_token_file(tmp_path / "f") is None


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("lines", [[9, 2, 4]] * 4), ("documents", [2, 0]), ("documents", [0, 0]), ("documents", [0, 9])],
)
def test_lines_and_documents_that_are_not_those_of_the_tokens(tmp_path, name, numbers):
    manifest = write_tokens(tmp_path / "f")
    content = np.array(numbers, np.uint32).tobytes()
    assert len(content) == (tmp_path / "f" / f"{name}.bin").stat().st_size
    (tmp_path / "f" / f"{name}.bin").write_bytes(content)
    manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
    (tmp_path / "f" / "manifest.json").write_text(json.dumps(manifest))
    assert open_token_file(tmp_path / "f") is None


@pytest.mark.parametrize("name", ["tokens.bin", "manifest.json"])
def test_a_token_file_behind_a_link_is_none(tmp_path, name):
    write_tokens(tmp_path / "f")
    (tmp_path / "f" / name).rename(tmp_path / name)
    (tmp_path / "f" / name).symlink_to(tmp_path / name)
    assert open_token_file(tmp_path / "f") is None


def test_a_sound_token_file_of_another_text_is_not_taken(corpus, cache):
    """A cache is keyed by content, and anything can lie under a key."""
    text = open_text(DataConfig("wikitext2", str(corpus)), "validation", False)
    own = prepare_tokens(text, ByteTokenizer(), cache, quiet=True)
    count, place = len(own), own.path
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    write_tokens(place)
    assert len(prepare_tokens(text, ByteTokenizer(), cache, quiet=True)) == count


@pytest.fixture(scope="module")
def byte_pairs() -> dict:
    return json.loads(BytePairTokenizer.train(LINES, 260).to_json())


def with_ids(content: dict, change) -> dict:
    vocab = dict(content["model"]["vocab"])
    change(vocab)
    return content | {"model": content["model"] | {"vocab": vocab}}


REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
PADDING = {
    "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
    "pad_token": "a",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"padding": PADDING}, "its padding is"),
        (lambda c: c | {"pre_tokenizer": REGEX}, "its pre_tokenizer is"),
        (lambda c: c | {"pre_tokenizer": None}, "its pre_tokenizer is None"),
        (lambda c: c | {"normalizer": {"type": "Prepend", "prepend": "x" * 99}}, "its normalizer is"),
        (lambda c: c | {"post_processor": {"type": "ByteLevel"}}, "its post_processor is"),
        (lambda c: c | {"added_tokens": [{"id": 2**31, "content": "b", "special": True}]}, "its added_tokens is"),
        (lambda c: c | {"model": c["model"] | {"dropout": 0.5}}, "its model.dropout is 0.5"),
        (lambda c: with_ids(c, lambda v: v.update({"!": 2**32 - 1})), "ids must be 0 to 259, each once"),
        (lambda c: with_ids(c, lambda v: v.update({"!": 5})), "ids must be 0 to 259, each once"),
        (lambda c: with_ids(c, lambda v: v.update({"!": -1})), "ids must be 0 to 259, each once"),
        (lambda c: with_ids(c, lambda v: v.update({"!": 1.0})), "ids must be 0 to 259, each once"),
        (lambda c: with_ids(c, lambda v: v.update(wxyz=v.pop("<|endoftext|>"))), r"it has no token <\|endoftext\|>"),
        (lambda c: c | {"model": c["model"] | {"merges": [["not", "there"]]}}, "not a tokenizer file"),
        (lambda c: c | {"model": c["model"] | {"merges": [7]}}, "merges must be pairs of texts"),
    ],
)
def test_a_tokenizer_that_does_more_than_ours(byte_pairs, change, message):
    tokenizer_from_json(json.dumps(byte_pairs))
    with pytest.raises(ValueError, match=message):
        tokenizer_from_json(json.dumps(change(byte_pairs)))


def a_result(**parts) -> dict:
    row = {
        "length": 16, "stride": 16, "nll_nats": 200.0, "perplexity": float(np.exp(2.0)), "scored_tokens": 100,
        "bits_per_byte": float(200 / 400 / np.log(2)),
    }  # fmt: skip
    content = {
        "schema": 1,
        "checkpoint": {"path": "run", "sha256": "ab", "step": 3, "model": "alibi", "seq_len": 16, "seed": 0},
        "data": {"name": "stdlib", "split": "test", "tokens": 100, "words": 80, "bytes": 400, "sha256": "cd"},
        "protocol": {"name": "nonoverlapping"}, "precision": "fp32", "scorer": "full", "groups": None,
        "how_far": {"within_percent": 1.0}, "rows": [row],
    }  # fmt: skip
    for name, value in parts.items():
        *outer, last = name.split("__")
        part = content
        for inner in outer:
            part = part[inner]
        part[last] = value
    return content


@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "..", "a/b", "", "a\nb", 3, None])
@pytest.mark.parametrize("field", ["data__name", "data__split", "data__sha256", "checkpoint__sha256", "scorer",
                                   "precision", "protocol__name"])  # fmt: skip
def test_a_name_in_a_result_is_no_way_out_of_its_folder(tmp_path, field, name):
    folder = tmp_path / "run" / "evaluation"
    folder.mkdir(parents=True)
    path = folder / "step-00000003-stdlib-test-nonoverlapping.json"
    forged = a_result(**{field: name})
    forged["sha256"] = content_sha256(forged)
    path.write_text(json.dumps(forged))
    other = a_result(checkpoint__sha256="ef", data__sha256="gh")
    for use in (
        lambda: opened(folder, other),
        lambda: read_result(path),
    ):
        with pytest.raises(ValueError, match=rf"{path.name} is no result file .*move it away"):
            use()
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != ".evaluation.lock"] == [path]


def opened(folder: Path, head: dict) -> None:
    """As the whole of a run's own text is about to be scored."""
    OpenResult(folder, "step-00000003", head | {"made_with": {}}, True, [16], 1.0, print).open(reuse=True)


def test_a_sound_result_makes_room_in_its_folder(tmp_path):
    """Control."""
    path = tmp_path / "step-00000003-stdlib-test-nonoverlapping.json"
    write_result(path, a_result(), a_result()["rows"], 1.0)
    opened(tmp_path, a_result(checkpoint__sha256="ef"))
    assert [p.name for p in tmp_path.glob("*.json")] == ["step-00000003-stdlib-test-nonoverlapping-weights-ab.json"]


@pytest.mark.parametrize(
    "changes",
    [
        {"made_with": json.loads("[" * 800 + "]" * 800)},
        {"checkpoint__settings": json.loads('{"a":' * 700 + "1" + "}" * 700)},
        {"rows": [None]}, {"rows": [{"length": 10**400}]}, {"how_far": []}, {"how_far": {"within_percent": "x"}},
    ],
    ids=["lists", "settings", "row", "digits", "how far", "margin"],
)  # fmt: skip
def test_a_result_that_is_deep_or_of_other_kinds(tmp_path, changes):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(a_result(**changes)))
    for read in (lambda: load_results([path]), lambda: read_result(path)):
        with pytest.raises(ValueError, match=r"r\.json is no result file.*move"):
            read()


def test_a_pipe_is_no_result(tmp_path):
    os.mkfifo(tmp_path / "r.json")
    for read in (lambda: load_results([tmp_path / "r.json"]), lambda: read_result(tmp_path / "r.json")):
        with pytest.raises(ValueError, match="no regular file"):
            read()


@pytest.mark.parametrize(
    "line", ['{"step": "1"}', '{"step": 1, "tokens": []}', "[" * 3000, '{"step": 1, "val/loss": "low"}', "9" * 5000]
)
def test_a_line_of_other_kinds_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "tokens": 64}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2, is no line of metrics; move the file away"):
        read_metrics(tmp_path / "metrics.jsonl")


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_the_commands_refuse_a_hostile_run_in_one_message(command, corpus, tmp_path):
    run = tmp_path / "run"
    overrides = [
        *("device=cpu", "size=tiny", "model.d_model=16", "model.num_heads=2", "model.num_layers=1", "precision=fp32"),
        *("data=wikitext2", f"data.path={corpus}", "tracking.wandb=disabled", "tokenizer=byte", "train.seq_len=16"),
        *("train.batch_tokens=64", "train.eval_every=1000", f"run_dir={run}", "train.max_steps=9"),
    ]
    assert command("train", *overrides, "train.max_hours=1e-9")[0] > 128
    checkpoint = run / "checkpoints" / "step-00000001"
    honest = {name: (checkpoint / name).read_bytes() for name in (*FILES, "manifest.json")}

    def forge(name: str, content: bytes) -> None:
        for each, kept in honest.items():
            (checkpoint / each).write_bytes(kept)
        (checkpoint / name).write_bytes(content)
        manifest = json.loads(honest["manifest.json"])
        manifest["sha256"] = {each: file_sha256(checkpoint / each) for each in FILES}
        manifest["manifest_sha256"] = manifest_sha256(manifest)
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))

    torch.save({"step": 1, "optimizer": Payload(tmp_path / "went-off")}, tmp_path / "hostile.pt")
    config = honest["config.yaml"]
    evaluation = ("evaluate", f"runs={run}", "eval.lengths=[16]", "device=cpu", "tracking.wandb=offline")
    for name, content, asked in [
        ("training_state.pt", (tmp_path / "hostile.pt").read_bytes(), ("train", *overrides)),
        ("config.yaml", config.replace(b"num_layers: 1", b"num_layers: 1000000000"), evaluation),
        ("config.yaml", config.replace(b"size: tiny", b"size: ${oc.env:HOME}"), evaluation),
        ("config.yaml", config.replace(b"max_steps", b"min_steps"), evaluation),
        ("tokenizer.json", b'{"kind": "word", "words": {}}', evaluation),
        ("model.safetensors", b"\xff" * 100, evaluation),
    ]:
        forge(name, content)
        code, printed = command(*asked)
        assert (code, "Traceback" in printed) == (1, False), printed
        assert str(checkpoint / name) in printed
        assert "choose another checkpoint" in printed
    assert not (tmp_path / "went-off").exists()
    assert not (run / "evaluation").exists()
    # Control: the payload is live.
    torch.load(tmp_path / "hostile.pt", weights_only=False)
    assert (tmp_path / "went-off").exists()

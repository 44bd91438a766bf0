"""Runs from the weights of another: what they begin with, how they go on after a kill, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torture import run_content

from alibi.data import Cursor, TrainingOrder
from alibi.model import LanguageModel
from alibi.runs import ChangedModel, Checkpoint, Origin, RunFolder, load_model
from alibi.training import RunConfig, train
from alibi.training.update import Updater


def started(config: RunConfig, run: Path, **settings) -> RunConfig:
    """The settings of a run from the last checkpoint of `run`."""
    checkpoint = Checkpoint(RunFolder(run).last())
    more = replace(config.train, init_from=str(run), **settings)
    return replace(config, train=more, origin=Origin.of(checkpoint))


@pytest.fixture
def first(monkeypatch):
    """The weights and blocks with which the first update of each run is made, in a list."""
    seen, whole = [], Updater.update

    def update(self, step, blocks):
        if step == 1:
            weights = {name: p.detach().clone() for name, p in self.model.named_parameters()}
            seen.append((weights, blocks.copy(), bool(self.optimizer.state)))
        return whole(self, step, blocks)

    monkeypatch.setattr(Updater, "update", update)
    return seen


def test_the_first_update_begins_with_the_weights_of_the_origin_at_its_next_epoch(small_run, tmp_path, first, capsys):
    train(small_run("t5"), tmp_path / "origin")
    origin = Checkpoint(RunFolder(tmp_path / "origin").last())
    config = started(small_run("t5", seq_len=32), tmp_path / "origin")
    train(config, tmp_path / "run")
    (fresh, _, _), (weights, blocks, has_moments) = first
    stored = load_file(origin.path / "model.safetensors")
    assert weights.keys() == stored.keys()
    assert all(torch.equal(weights[name], stored[name]) for name in stored)
    assert not all(torch.equal(fresh[name], stored[name]) for name in stored), "control"
    assert not has_moments
    count = len(Whole(origin.path)) // 32
    orders = [np.random.Generator(np.random.PCG64(np.random.SeedSequence([0, n]))).permutation(count) for n in (0, 1)]
    assert blocks.tolist() == orders[1][:2].tolist() != orders[0][:2].tolist()
    last = Checkpoint(RunFolder(tmp_path / "run").last())
    assert last.state["cursor"] == {"epoch": 1, "index": 6 * 2}
    told = capsys.readouterr().out
    assert "origin     origin: step 6, 384 tokens" in told
    assert "optimizer and schedule start anew, no warm-up; the order starts at epoch 1" in told
    assert (last.manifest["origin"], last.tokens) == (last.config["origin"], 384 * 2)
    assert last.config["origin"] == {"run": "origin", "sha256": origin.sha256, "step": 6, "tokens": 384}


def test_another_method_keeps_the_rest_and_draws_its_own_from_the_new_seed(small_run, tmp_path, first, capsys):
    train(small_run("t5"), tmp_path / "origin")
    config = started(small_run("kerple_log", seed=3), tmp_path / "origin")
    train(config, tmp_path / "run")
    (_, _, _), (weights, _, _) = first
    stored = load_file(RunFolder(tmp_path / "origin").last() / "model.safetensors")
    drawn = dict(LanguageModel(config.model, 257, seed=3).named_parameters())
    own = {name for name in weights if ".position." in name}
    assert own
    assert all(torch.equal(weights[name], drawn[name] if name in own else stored[name]) for name in weights)
    told = capsys.readouterr().out
    assert "from seed 3 start anew: transformer.blocks.0.position" in told
    assert "and leaves behind: transformer.position" in told


def test_moments_and_place_are_taken_on_request_and_the_next_epoch_where_the_order_differs(
    small_run, tmp_path, first, capsys
):
    train(small_run(), tmp_path / "origin")
    origin = Checkpoint(RunFolder(tmp_path / "origin").last())
    assert origin.state["cursor"] == {"epoch": 0, "index": 24}
    train(started(small_run(max_steps=1), tmp_path / "origin", init_optimizer=True), tmp_path / "run")
    assert first[-1][2]
    assert Checkpoint(RunFolder(tmp_path / "run").last()).state["cursor"] == {"epoch": 0, "index": 28}
    told = (
        "moments are the origin's, and the schedule starts anew, no warm-up; the order goes on at epoch 0, sequence 24"
    )
    assert told in capsys.readouterr().out
    other = small_run(seq_len=32, seed=1, max_steps=1)
    train(started(other, tmp_path / "origin", init_optimizer=True), tmp_path / "other")
    assert Checkpoint(RunFolder(tmp_path / "other").last()).state["cursor"] == {"epoch": 1, "index": 2}
    assert "the order starts at epoch 1, since train.seq_len and seed changed" in capsys.readouterr().out


def test_a_finished_epoch_is_not_followed_by_a_gap(small_run, tmp_path):
    """The cursor of a run that ended with its epoch stands at the start of the next."""
    train(small_run(max_steps=1), tmp_path / "origin")
    folder = RunFolder(tmp_path / "origin").last()
    blocks = TrainingOrder(Whole(folder), 16, 0).num_blocks
    config = small_run(max_steps=1, batch_tokens=16 * blocks, micro_batch_tokens=None, eval_every=1)
    train(config, tmp_path / "epoch")
    assert Checkpoint(RunFolder(tmp_path / "epoch").last()).state["cursor"] == {"epoch": 1, "index": 0}
    train(started(small_run(max_steps=1), tmp_path / "epoch"), tmp_path / "run")
    assert Checkpoint(RunFolder(tmp_path / "run").last()).state["cursor"] == {"epoch": 1, "index": 4}


class Whole:
    """The length of the training text of a checkpoint, by the bytes of its text."""

    def __init__(self, checkpoint: Path) -> None:
        data = Checkpoint(checkpoint).data_config
        self.length = len((Path(data.path) / "wiki.train.raw").read_bytes())

    def __len__(self) -> int:
        return self.length


def test_a_killed_run_ends_bit_for_bit_as_one_that_never_was_and_needs_no_origin(small_run, tmp_path, monkeypatch):
    train(small_run("t5"), tmp_path / "origin")
    config = started(small_run("t5", seq_len=32), tmp_path / "origin", init_optimizer=True)
    train(config, tmp_path / "whole")
    for number, step in enumerate((1, 4)):
        folder, whole = tmp_path / f"killed-{number}", Updater.update

        def update(self, current, blocks, whole=whole, step=step):
            if current == step:
                raise KeyboardInterrupt
            return whole(self, current, blocks)

        with monkeypatch.context() as patch:
            patch.setattr(Updater, "update", update)
            with pytest.raises(KeyboardInterrupt):
                train(config, folder)
        if step > 2:  # it has a checkpoint of its own
            shutil.move(tmp_path / "origin", tmp_path / "gone")
        train(config, folder)
        assert run_content(folder) == run_content(tmp_path / "whole")


def test_an_origin_that_moved_on_or_has_no_optimizer_is_refused(small_run, tmp_path):
    train(small_run(), tmp_path / "origin")
    config = started(small_run(), tmp_path / "origin", init_optimizer=True)
    moved = replace(config, origin=replace(config.origin, sha256="0" * 64))
    with pytest.raises(ValueError, match=r"has other weights now .* than when this command began"):
        train(moved, tmp_path / "run")
    nag = replace(config, optimizer=replace(config.optimizer, name="nag", beta1=None, beta2=None, eps=None,
                                            weight_decay=None))  # fmt: skip
    with pytest.raises(ValueError, match=r"optimizer.name is nag here and adamw in .*leave train.init_optimizer out"):
        train(nag, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(replace(nag, train=replace(nag.train, init_optimizer=False)), tmp_path / "run")


def test_an_origin_whose_method_was_edited_is_refused(small_run, tmp_path, monkeypatch):
    train(small_run(), tmp_path / "origin")
    config = started(small_run(), tmp_path / "origin")
    monkeypatch.setattr("alibi.positions.alibi.alibi_slopes", lambda heads: [0.3] * heads)
    with pytest.raises(ChangedModel, match="was trained by code that computes something else"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_origins_tokenizer_serves_another_text_and_another_form_is_refused(small_run, tmp_path, corpus):
    """A byte-pair tokenizer, trained anew on the other text, would have other ids."""
    train(small_run(tokenizer="bpe"), tmp_path / "origin")
    other = tmp_path / "other"
    shutil.copytree(corpus, other)
    text = (corpus / "wiki.train.raw").read_text()
    (other / "wiki.train.raw").write_text(text[: len(text) // 2].replace("lobster", "crayfish"))
    config = started(small_run(tokenizer="bpe"), tmp_path / "origin")
    train(replace(config, data=replace(config.data, path=str(other))), tmp_path / "run")
    tokenizers = [Checkpoint(RunFolder(tmp_path / name).last()).load_tokenizer().sha256 for name in ("origin", "run")]
    assert tokenizers[0] == tokenizers[1]
    fresh = small_run(tokenizer="bpe", max_steps=1)
    train(replace(fresh, data=replace(fresh.data, path=str(other))), tmp_path / "fresh")
    assert Checkpoint(RunFolder(tmp_path / "fresh").last()).load_tokenizer().sha256 != tokenizers[0], "control"
    for split in ("train", "valid", "test"):
        (other / f"wiki.{split}.raw").unlink()
    with pytest.raises(ValueError, match=r"has the form tokens here and raw in .*wiki\.\{train,valid,test\}\.raw"):
        train(replace(config, data=replace(config.data, path=str(other))), tmp_path / "third")


def test_settings_of_two_sources_or_of_none_are_refused(small_run):
    with pytest.raises(ValueError, match=r"train.init_from \(a\) and train.resume \(b\) are two sources of weights"):
        small_run(init_from="a", resume="b")
    with pytest.raises(ValueError, match=r"train.init_optimizer .* would be ignored without train.init_from"):
        small_run(init_optimizer=True)
    with pytest.raises(ValueError, match=r"origin .* must be that of train.init_from"):
        small_run(init_from="a")


def test_a_run_of_a_run_counts_all_tokens(small_run, tmp_path):
    train(small_run(), tmp_path / "a")
    train(started(small_run(max_steps=2), tmp_path / "a"), tmp_path / "b")
    config = started(small_run("none", max_steps=1), tmp_path / "b")
    assert (config.origin.tokens, config.origin.step) == (8 * 64, 2)
    train(config, tmp_path / "c")
    assert json.loads((RunFolder(tmp_path / "c").last() / "manifest.json").read_text())["origin"]["tokens"] == 512
    assert load_model(tmp_path / "c").config.method == "none"
    assert Cursor(**Checkpoint(RunFolder(tmp_path / "b").last()).state["cursor"]).epoch == 1

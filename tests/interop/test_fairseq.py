"""The authors' checkpoints: their own nats come out, every tensor is accounted for, and code in a file is not run."""

import argparse
import json
import os
import re
import runpy
import sys
from pathlib import Path

import fairseq_checkpoint as theirs
import pytest
import torch
from evaluations import evaluate_checkpoint

from alibi.config import run_of
from alibi.data import DataConfig
from alibi.evaluation import EvaluationSettings, model_scorer, open_evaluation_text, score
from alibi.runs import Checkpoint, RunFolder, checkpoint_of, resolve_runs
from alibi.training import train

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT.parent / "shared" / "fixtures" / "fairseq_alibi_tiny"


@pytest.fixture
def imported(tmp_path, monkeypatch, capsys):
    """The script on a checkpoint and a dictionary: the run folder, or the message that it ended with."""

    def run(checkpoint: Path, dictionary: Path, fails: bool = False) -> Path | str:
        out = tmp_path / "out"
        monkeypatch.setattr(sys, "argv", ["import_fairseq.py", str(checkpoint), str(dictionary), str(out)])
        if not fails:
            runpy.run_path(str(ROOT / "scripts" / "import_fairseq.py"), run_name="__main__")
            assert "every tensor was used" in capsys.readouterr().out
            return out
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "scripts" / "import_fairseq.py"), run_name="__main__")
        assert not out.exists()
        return ended.value.code

    return run


@pytest.fixture
def fixture_run(imported):
    if not FIXTURE.exists():
        pytest.skip("needs the authors' checkpoint in ../shared/fixtures")
    return imported(FIXTURE / "checkpoint_best.pt", FIXTURE / "dict.txt")


@pytest.fixture
def fixture_text(fixture_run, tmp_path, cache):
    """The run's checkpoint, and the fixture's text as its validation split."""
    (tmp_path / "wiki.valid.tokens").write_bytes((FIXTURE / "text.tokens").read_bytes())
    checkpoint = Checkpoint(checkpoint_of(fixture_run))
    return checkpoint, open_evaluation_text(
        checkpoint, DataConfig("wikitext103", str(tmp_path)), EvaluationSettings(), cache
    )


def evaluated(checkpoint, text, length, stride) -> dict:
    settings = EvaluationSettings(lengths=[length], stride=None if stride == length else stride)
    [path] = evaluate_checkpoint(checkpoint, text, settings, "fp32")
    [row] = json.loads(path.read_text())["rows"]
    path.unlink()
    return row


def test_totals_are_the_authors_at_every_length_and_stride(fixture_text):
    rows = json.loads((FIXTURE / "expected.json").read_text())["rows"]
    assert len(rows) >= 7
    for row in rows:
        mine = evaluated(*fixture_text, row["length"], row["stride"])
        assert mine["scored_tokens"] == row["tokens"]
        assert mine["nll_nats"] == pytest.approx(row["nll_nats"], rel=1e-6)
        assert mine["perplexity"] == pytest.approx(row["perplexity"], rel=1e-6)
        other = evaluated(*fixture_text, row["length"] - 1, row["stride"] - 1 or 2)  # control
        assert other["nll_nats"] != pytest.approx(row["nll_nats"], rel=1e-5)


def test_every_token_is_the_authors(fixture_text):
    checkpoint, text = fixture_text
    wanted = torch.tensor([float(n) for n in (FIXTURE / "nll_nonoverlapping_first_length.txt").read_text().split()])
    found = []

    class Listed:
        def add(self, windows, nats_BS):
            found.extend(nats_BS.flatten().tolist())

    scorer = model_scorer(checkpoint.load_model())
    for _ in score(text.tokens, 16, 16, scorer, [Listed()], torch.device("cpu"), 64):
        pass
    assert len(found) == len(wanted) == len(text.tokens)
    assert (torch.tensor(found) - wanted).abs().max() < 1e-4
    assert (torch.tensor(found[1:] + found[:1]) - wanted).abs().max() > 1  # control


def test_the_fixture_has_the_parameters_that_it_states(fixture_run):
    stated = json.loads((FIXTURE / "expected.json").read_text())
    checkpoint = Checkpoint(checkpoint_of(fixture_run))
    assert checkpoint.load_model().count_parameters().total == stated["parameters"]
    assert checkpoint.load_tokenizer().vocab_size == stated["vocabulary"]


def test_the_run_folder_is_one_of_ours(imported, tmp_path):
    run = imported(*theirs.write(tmp_path))
    [path] = resolve_runs(str(run), tmp_path)
    checkpoint, model = Checkpoint(path), theirs.model()
    ids = torch.randint(14, (2, 30), generator=torch.Generator().manual_seed(0))
    assert torch.equal(checkpoint.load_model().nll(ids, ids), model.nll(ids, ids))
    assert checkpoint.load_tokenizer().encode(["the of , zzz\n"]) == [[4, 6, 5, 3, 2]]
    assert (checkpoint.step, checkpoint.config["train"]["seq_len"], checkpoint.config["seed"]) == (12, 8, 1)
    assert checkpoint.model_config.dropout == 0.3
    assert checkpoint.state["imported_from"]["file"] == "checkpoint_best.pt"
    assert RunFolder(run).saved_steps() == [12]
    assert len(checkpoint.texts["validation"]) == 64, "its settings name WikiText-103"


def test_an_imported_run_is_an_origin_whose_optimizer_cannot_be_taken(imported, tmp_path, corpus, monkeypatch, capsys):
    run = imported(*theirs.write(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = [
        f"train.init_from={run}", f"data.path={corpus}", "device=cpu", "train.seq_len=16", "train.batch_tokens=32",
        "train.max_steps=1", "tracking.wandb=disabled", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    config = run_of(settings)
    assert (config.origin.step, config.origin.tokens) == (12, 12 * 73728)
    assert (config.model.d_ff, config.model.dropout, config.tokenizer.name) == (24, 0.3, "word")
    train(config, tmp_path / "ours")
    assert "no warm-up; the order starts at epoch 0, since the origin's is not known" in capsys.readouterr().out
    assert Checkpoint(checkpoint_of(tmp_path / "ours")).load_tokenizer().vocab_size == 14
    with pytest.raises(ValueError, match=r"train.init_optimizer: .* has no optimizer that could be taken; leave"):
        train(run_of([*settings, "train.init_optimizer=true"]), tmp_path / "other")


def test_half_precision_becomes_float32(imported, tmp_path):
    saved = theirs.content()
    saved["model"] = {name: tensor.half() for name, tensor in saved["model"].items()}
    weight = Checkpoint(checkpoint_of(imported(*theirs.write(tmp_path, saved)))).load_model().embedding.words[1].weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, theirs.model().embedding.words[1].weight.half().float())


def test_the_text_that_the_dictionary_is_made_of_does_as_well(imported, tmp_path):
    checkpoint, _ = theirs.write(tmp_path, theirs.content())
    words = theirs.WORDS[:9]
    text = tmp_path / "wiki.train.tokens"
    text.write_text("".join(" ".join(words[: 9 - i]) + " \n" for i in range(9)))
    assert "gives 16 ids" in imported(checkpoint, text, fails=True)
    saved = theirs.content({"adaptive_input_cutoff": "5,11", "adaptive_softmax_cutoff": "5,11"})
    bands = {0: (5, 16), 1: (6, 8), 2: (5, 4)}
    for band, (size, width) in bands.items():
        words = torch.randn(size, width)
        names = [f"decoder.embed_tokens.embeddings.{band}.0.weight"]
        names += [f"decoder.adaptive_softmax.tail.{band - 1}.2.weight" if band else names[0]]
        names += ["decoder.adaptive_softmax.head.word_proj.weight"] if not band else []
        saved["model"] |= dict.fromkeys(names, words)
    torch.save(saved, checkpoint)
    tokenizer = Checkpoint(checkpoint_of(imported(checkpoint, text))).load_tokenizer()
    assert tokenizer.words[4:] == [*theirs.WORDS[:9], "madeupword0000", "madeupword0001", "madeupword0002"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("decoder.layers.1.fc1.bias"), "it lacks decoder.layers.1.fc1.bias, which"),
        (lambda m: m.update({"decoder.layer_norm.weight": torch.ones(16)}), "it has decoder.layer_norm.weight, which"),
        (lambda m: m.update({"decoder.layers.2.fc1.bias": torch.ones(24)}), "it has decoder.layers.2.fc1.bias, which"),
        (
            lambda m: m.update({"decoder.layers.0.fc1.bias": torch.ones(25)}),
            r"fc1.bias is \(25,\), and \(24,\) by",
        ),
        (lambda m: m["decoder.layers.0.fc1.bias"].fill_(torch.nan), "numbers that are not finite"),
        (
            lambda m: m.update({"decoder.adaptive_softmax.tail.0.0.weight": torch.ones(16, 8)}),
            "tail.0.0.weight is not the copy of decoder.embed_tokens.embeddings.1.1.weight",
        ),
    ],
)
def test_every_tensor_is_accounted_for(imported, tmp_path, change, message):
    saved = theirs.content()
    change(saved["model"])
    assert re.search(message, imported(*theirs.write(tmp_path, saved), fails=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "bart_large"}, "its architecture is bart_large"),
        ({"activation_fn": "gelu"}, "activation_fn is gelu, and must be relu"),
        ({"decoder_normalize_before": False}, "decoder_normalize_before is False, and must be True"),
        ({"no_scale_embedding": True}, "no_scale_embedding is True, and must be False"),
        ({"adaptive_softmax_cutoff": "5,x", "adaptive_input_cutoff": "5,x"}, "adaptive_input_cutoff is 5,x"),
        ({"decoder_layers": 3}, "it lacks decoder.layers.2.fc1.bias, which this architecture needs"),
        ({"decoder_layers": "2"}, "decoder_layers is 2"),
        ({"decoder_embed_dim": "16"}, "decoder_embed_dim is 16"),
        ({"tokens_per_sample": None}, "tokens_per_sample is None"),
    ],
)
def test_another_architecture_is_refused(imported, tmp_path, settings, message):
    told = imported(*theirs.write(tmp_path, theirs.content(settings)), fails=True)
    assert message in told
    assert "Give a checkpoint of the ALiBi authors" in told


def test_a_dictionary_of_another_size_is_refused(imported, tmp_path):
    checkpoint, dictionary = theirs.write(tmp_path, words=theirs.WORDS[:-1])
    told = imported(checkpoint, dictionary, fails=True)
    assert "gives 13 ids, the four special symbols counted, and" in told
    assert "has 14" in told


@pytest.mark.parametrize(
    ("line", "message"), [("the", "line 1, is not"), ("a b\n", "line 1, is not"), ("<s> 3", "special")]
)
def test_a_dictionary_of_another_kind_is_refused(imported, tmp_path, line, message):
    checkpoint, dictionary = theirs.write(tmp_path)
    dictionary.write_text(line)
    assert message in imported(checkpoint, dictionary, fails=True)


class Code:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_code_in_a_checkpoint_is_not_run(imported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = theirs.content()
    saved["extra_state"]["hook"] = Code()
    checkpoint, dictionary = theirs.write(tmp_path, saved)
    told = imported(checkpoint, dictionary, fails=True)
    assert "holds posix.mkdir" in told
    assert not (tmp_path / "ran").exists()
    torch.load(checkpoint, weights_only=False)
    assert (tmp_path / "ran").exists(), "control: loaded as a pickle it runs"


def test_another_class_is_refused(imported, tmp_path):
    saved = theirs.content()
    saved["extra_state"]["path"] = Path("x")
    assert "holds pathlib.PosixPath; it may hold only tensors" in imported(*theirs.write(tmp_path, saved), fails=True)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"weights": torch.ones(3)}, "is no checkpoint of fairseq, which has `cfg` or `args`"),
        ([1, 2], "is no checkpoint of fairseq"),
        ({"args": argparse.Namespace(), "model": {}}, "num_updates in its optimizer_history"),
    ],
)
def test_what_is_no_checkpoint_of_fairseq_is_refused(imported, tmp_path, saved, message):
    assert message in imported(*theirs.write(tmp_path, saved), fails=True)


def test_a_checkpoint_that_is_cut_short_is_refused(imported, tmp_path):
    checkpoint, dictionary = theirs.write(tmp_path)
    whole = checkpoint.read_bytes()
    for part in (whole[: len(whole) // 2], b"", b"no pickle at all"):
        checkpoint.write_bytes(part)
        assert f"{checkpoint} " in imported(checkpoint, dictionary, fails=True)
    checkpoint.unlink()
    assert "no such file" in imported(checkpoint, dictionary, fails=True)


def test_a_folder_that_holds_something_is_left_alone(tmp_path, monkeypatch):
    checkpoint, dictionary = theirs.write(tmp_path)
    monkeypatch.setattr(sys, "argv", ["import_fairseq.py", str(checkpoint), str(dictionary), str(tmp_path)])
    with pytest.raises(SystemExit, match="is there already, and not empty; name a new folder"):
        runpy.run_path(str(ROOT / "scripts" / "import_fairseq.py"), run_name="__main__")

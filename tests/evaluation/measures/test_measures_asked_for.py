"""Measures as evaluate.py is asked for them: of runs and guests, by several processes, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import guests
import pytest
from evaluations import evaluate_checkpoint
from transformers import GPT2Config, GPTNeoXConfig

from alibi.commands import EvaluateCommand, evaluate
from alibi.commands.evaluate_command import OtherText
from alibi.data.tasks import task_of
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.paths import PathsConfig
from alibi.results import load_nats, load_result
from alibi.runs import Checkpoint
from alibi.tracking import TrackingConfig
from alibi.training import train

ROOT = Path(__file__).parents[3]
ALL = ["context", "repeats", "copy"]


@pytest.fixture
def trained(small_run, tmp_path):
    """Trains a run at length 32 for two updates."""

    def make(method="rotary", **values):
        train(small_run(method, max_steps=2, **({"seq_len": 32} | values)), tmp_path / "run")
        return Checkpoint(tmp_path / "run" / "checkpoints" / "step-00000002")

    return make


@pytest.fixture
def measured(cache):
    def call(checkpoint, **settings):
        asked = EvaluationSettings(**({"lengths": [32], "measures": ALL, "reach": 64} | settings))
        text = open_evaluation_text(checkpoint, checkpoint.data_config, asked, cache)
        return [load_result(path) for path in evaluate_checkpoint(checkpoint, text, asked, "fp32")]

    return call


@pytest.mark.parametrize(("method", "masked"), [("rotary", [32, 64]), ("alibi", [32, 64]), ("sinusoidal", [32])])
def test_masks_beyond_the_training_length_are_of_methods_that_shifting_does_not_change(
    trained, measured, method, masked
):
    [result] = measured(trained(method), measures=["context"])
    points = result.content.context
    assert [point.n for point in points] == [32, 64]
    assert [point.n for point in points if point.masked_nll_nats is not None] == masked
    at_trained = points[0]
    equal = at_trained.masked_nll_nats == pytest.approx(at_trained.nll_nats, rel=1e-6)
    assert equal == (method == "sinusoidal"), "a window of 64 masked to 32 is not a window of 32, in two layers"


def test_measures_that_are_there_are_kept_and_others_added(trained, measured):
    checkpoint = trained()
    [first] = measured(checkpoint, measures=["context"])
    [both] = measured(checkpoint, measures=["copy"], reuse=True)
    assert both.content.context == first.content.context
    assert both.content.copied
    [rows] = measured(checkpoint, measures=["repeats"], reach=None, save_nats=True, reuse=True)
    assert rows.scored[32]["repeats"]["edges"] == [0, 8, 16, 32, 64, 128, 256]
    assert load_nats(rows, 32).sum(dtype=float) == pytest.approx(rows.scored[32]["nll_nats"], rel=1e-12)
    assert rows.content.copied == both.content.copied


@pytest.mark.parametrize(
    ("seq_len", "settings", "message"),
    [
        (32, {"reach": 16}, r"eval.reach \(16\) must be at least the training length, 32"),
        (16, {}, "eval.measures needs a training length of at least 32, not 16"),
        (
            32,
            {"reach": 4096},
            r"0 segments of 16 targets with 4,0\d\d tokens of their own article before them, and 0 of its 4",
        ),
        (32, {"measures": ["far"]}, "eval.measures has 'far', and knows: context, repeats, copy"),
        (32, {"measures": {"context": 1}}, "eval.measures has \"{'context': 1}\", and knows"),
        (32, {"measures": ["repeats"], "reach": 64}, r"eval.reach \(64\) would be ignored"),
    ],
)
def test_what_cannot_be_measured_is_refused(trained, measured, seq_len, settings, message):
    checkpoint = trained(seq_len=seq_len)
    with pytest.raises(ValueError, match=message):
        measured(checkpoint, **settings)
    assert not list((checkpoint.run / "evaluation").glob("*.json")), "before anything is scored"


@pytest.fixture
def guest(tmp_path, raw_lines):
    """Saves a small GPT-NeoX that was made for texts of `length`, or with `absolute` a GPT-2, which has no more."""

    def make(length, absolute=False):
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": length}
        config = (GPT2Config if absolute else GPTNeoXConfig)(vocab_size=guests.VOCAB, **shape)
        return guests.save_guest(tmp_path / f"guest-{length}", config, guests.make_tokenizer(raw_lines["train"]))

    return make


@pytest.fixture
def score(tmp_path, raw_lines, cache):
    """Scores a guest on documents that are long enough."""
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(8):
        (documents / f"{number}.txt").write_text("".join(raw_lines["train"][40 * number : 40 * (number + 1)]))

    def call(folder, **settings):
        asked = EvaluationSettings(**({"lengths": [32], "split": "all"} | settings))
        text, paths = OtherText("text", str(documents)), PathsConfig(str(tmp_path / "outputs"), str(cache))
        evaluate(EvaluateCommand(f"hf:{folder}", asked, text, TrackingConfig("disabled"), paths, "cpu"))
        return [load_result(path) for path in sorted((tmp_path / "outputs").glob("*/evaluation/*.json"))]

    return call


def test_a_guest_is_measured_as_a_run_is(guest, score):
    [result] = score(guest(32), measures=ALL, reach=48, save_nats=True)
    points = result.content.context
    assert [point.n for point in points] == [32, 48]
    assert all(point.masked_nll_nats is None for point in points), "its layers are its own"
    assert points[1].swapped_nll_nats != points[1].nll_nats
    assert [point.distance for point in result.content.copied] == [32]
    assert result.scored[32]["repeats"]["targets"]
    assert load_nats(result, 32).sum(dtype=float) == pytest.approx(result.scored[32]["nll_nats"], rel=1e-12)


def test_what_a_guest_cannot_be_given_is_left_out_and_said(guest, score, capsys):
    [result] = score(guest(64, absolute=True), lengths=[64], measures=["context", "copy"], reach=128)
    assert [point.n for point in result.content.context] == [16, 64]
    assert (result.content.copied, result.content.copy_sample) == (None, None)
    assert result.content.how_far.reason == "no length above the training length, 64, was measured"
    out = capsys.readouterr().out
    assert "context of 128 tokens: " in out
    assert "copy 32 tokens away: " in out


@pytest.mark.slow
def test_two_processes_measure_what_one_does(trained, measured, cache, tmp_path):
    checkpoint = trained()
    asked = ["eval.lengths=[32]", "eval.measures=[context,repeats,copy]", "eval.reach=64", "eval.save_nats=true"]
    [two] = [load_result(path) for path in _by_two_processes(tmp_path, cache, "run", *asked)]
    nats = load_nats(two, 32)
    [one] = measured(checkpoint, save_nats=True)
    assert two.content.made_with["processes"] == 2
    for ours, theirs in zip(two.content.context, one.content.context, strict=True):
        assert ours.group_nats == pytest.approx(theirs.group_nats, rel=1e-6)
        assert ours.masked_group_nats == pytest.approx(theirs.masked_group_nats, rel=1e-6)
    assert two.scored[32]["repeats"]["targets"] == one.scored[32]["repeats"]["targets"]
    assert two.scored[32]["repeats"]["nll_nats"] == pytest.approx(one.scored[32]["repeats"]["nll_nats"], rel=1e-6)
    assert nats == pytest.approx(load_nats(one, 32), rel=1e-5)


@pytest.mark.slow
def test_two_processes_train_and_answer_a_task(cache, tmp_path):
    """Sharded, so that only the model's forward has all weights."""
    run = ["experiment=copy", "model=rotary", "train.max_steps=4", "train.batch_tokens=272", "train.eval_every=2"]
    for where, start in (("two", _TWO), ("one", [sys.executable])):
        where = [f"run_dir={where}", "train.parallel=fsdp", "device=cpu"]
        _run(tmp_path, cache, [*start, ROOT / "train.py", *run, *where])
    two = _by_two_processes(tmp_path, cache, "two", "eval.lengths=[34,51]", "eval.split=test")
    _run(tmp_path, cache, [sys.executable, ROOT / "evaluate.py", "runs=one", "eval.lengths=[34,51]", "eval.split=test"])
    [two], [one] = (
        [load_result(path) for path in found] for found in (two, (tmp_path / "one").glob("evaluation/*.json"))
    )
    for length in (34, 51):
        assert two.scored[length]["test_sha256"] == task_of("copy", {}, 34).held_out("test", length).sha256
        assert two.scored[length]["nll_nats"] == pytest.approx(one.scored[length]["nll_nats"], rel=1e-4)


_TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def _run(folder, cache, command):
    env = {**os.environ, "ALIBI_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*map(str, command), "tracking.wandb=disabled"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def _by_two_processes(folder, cache, run, *asked):
    _run(folder, cache, [*_TWO, ROOT / "evaluate.py", f"runs={run}", "device=cpu", *asked])
    return list((folder / run / "evaluation").glob("*.json"))

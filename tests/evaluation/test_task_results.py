"""Tasks evaluated: right answers counted, files of the contract, and what does not fit refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from alibi.analysis.statistics import answer_intervals
from alibi.commands import EvaluateCommand, evaluate
from alibi.commands.evaluate_command import OtherText
from alibi.data import DataConfig, TokenizerConfig
from alibi.data.tasks import IGNORED, Strings, task_of
from alibi.evaluation import EvaluationSettings
from alibi.evaluation.answers import answer
from alibi.model import LanguageModel
from alibi.paths import PathsConfig
from alibi.results import load_result
from alibi.tracking import TrackingConfig
from alibi.training import train
from alibi.training.training_settings import TrainSettings


@pytest.fixture
def evaluated(small_run, tmp_path):
    """Trains a run on a task for a few updates; returns what evaluates it."""

    def trained(name="mqar", task=None, method="rotary", **values):
        settings = {"seq_len": 16, "batch_tokens": 128, "max_steps": 2, "eval_every": 2} | values
        parts = {"data": DataConfig(name, task=task), "tokenizer": TokenizerConfig("word")}
        train(replace(small_run(method), train=TrainSettings(**settings), **parts), tmp_path / "run")

        def call(data=None, **eval_settings):
            asked = EvaluationSettings(**({"lengths": [16, 64], "split": "test"} | eval_settings))
            paths = PathsConfig(str(tmp_path / "outputs"), str(tmp_path / "cache"))
            other = OtherText(**(data or {}))
            tracking = TrackingConfig("disabled")
            evaluate(EvaluateCommand(str(tmp_path / "run"), asked, other, tracking, paths, "cpu"))
            files = (tmp_path / "run" / "evaluation").glob("*.json")
            return {path.name: load_result(path) for path in files}

        return call

    return trained


def test_answers_are_counted_string_by_string(tiny_config):
    """Against logits of one string at a time; batches, padding and order change nothing."""
    task = task_of("copy", {"alphabet": 4}, 16)
    model = LanguageModel(tiny_config, len(task.tokenizer.words), seed=1).eval()
    strings = task.held_out("test", 16)
    some = Strings(strings.inputs_SL[:50], strings.targets_SL[:50])
    found = answer(model, some, batch_tokens=48)
    nats = 0.0
    for place, (inputs, targets) in enumerate(zip(some.inputs_SL, some.targets_SL, strict=True)):
        kept = int((inputs != 1).sum())
        with torch.no_grad():
            log_p = model(torch.from_numpy(inputs[None, :kept])).double().log_softmax(-1)[0]
        asked = [(at, t) for at, t in enumerate(targets[:kept]) if t != IGNORED]
        assert found.answers_S[place] == len(asked)
        assert found.right_S[place] == sum(int(log_p[at].argmax()) == t for at, t in asked)
        nats -= sum(log_p[at, t].item() for at, t in asked)
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert 0 < found.accuracy < 1
    assert found.exact_match == (found.right_S == found.answers_S).mean()


def test_a_row_has_what_the_contract_says(evaluated, capsys):
    files = evaluated()()
    printed = capsys.readouterr().out
    [(name, result)] = files.items()
    assert name == "step-00000002-mqar-test-nonoverlapping.json"
    assert list(result.scored) == [16, 64]
    task = task_of("mqar", {}, 16)
    for length, row in result.scored.items():
        strings = task.held_out("test", length)
        assert row["test_sha256"] == strings.sha256
        assert (row["strings"], row["baseline"]) == (1000, task.baseline(strings))
        assert row["scored_tokens"] == (strings.targets_SL != IGNORED).sum()
        assert row["learned"] is False
        assert row["interval"]["accuracy"][0] < row["accuracy"] < row["interval"]["accuracy"][1]
        assert "perplexity" not in row
    assert result.data.task == {"keys": 64, "layout": "anywhere", "load": "growing"}
    assert "how_far" not in json.loads(result.path.read_text())
    assert "0 of 1" in printed
    assert "the trivial answer" in printed


def test_intervals_are_wilsons_and_the_bootstraps():
    right, answers = np.array([3] * 90 + [1] * 10), np.full(100, 3)
    found = answer_intervals(right, answers)
    z = stats.norm.ppf(0.975)
    centre, half = (0.9 + z**2 / 200) / (1 + z**2 / 100), z / (1 + z**2 / 100) * np.sqrt(0.09 / 100 + z**2 / 40000)
    assert found["exact_match"] == pytest.approx([centre - half, centre + half])
    accuracy, spread = right.sum() / 300, 1.98 * (right / 3).std() / 10
    assert found["accuracy"] == pytest.approx([accuracy - spread, accuracy + spread], abs=6e-3)
    certain = answer_intervals(answers, answers)["exact_match"]
    assert certain[0] == pytest.approx(1 / (1 + z**2 / 100))
    assert certain[1] == 1


def test_a_run_that_learned_its_task_says_so(evaluated):
    task = {"alphabet": 2}
    files = evaluated("copy", task, seq_len=4, batch_tokens=128, max_steps=300, eval_every=50, stop_at=1.0)(
        lengths=[4, 8]
    )
    [result] = files.values()
    assert result.scored[4]["exact_match"] == 1
    assert [row["learned"] for row in result.scored.values()] == [True, True], "learned is of the training length"


def test_the_fixed_load_is_another_file_beside_the_growing_one(evaluated, capsys):
    call = evaluated()
    call()
    files = call(data={"task": {"load": "fixed"}})
    assert "this is not the run's own mqar: the result's name includes its hash" in capsys.readouterr().out
    [own, other] = sorted(files.values(), key=lambda result: len(result.path.name))
    assert own.scored[16]["test_sha256"] == other.scored[16]["test_sha256"]
    assert own.scored[64]["test_sha256"] != other.scored[64]["test_sha256"]
    assert own.scored[64]["baseline"] < other.scored[64]["baseline"]
    assert other.path.name == f"step-00000002-mqar-{other.data.sha256[:8]}-test-nonoverlapping.json"


def test_an_adapted_run_answers_the_same_strings(evaluated):
    files = evaluated()(adapt=[None, "yarn", "window"], lengths=[16, 64])
    assert len(files) == 3
    by_adapt = {result.adaptation: result.scored for result in files.values()}
    assert len({rows[64]["test_sha256"] for rows in by_adapt.values()}) == 1
    assert by_adapt[""][16]["nll_nats"] == by_adapt["yarn"][16]["nll_nats"], "at its own length it is the same model"
    assert by_adapt[""][64]["nll_nats"] != by_adapt["yarn"][64]["nll_nats"]


def test_rows_of_an_interrupted_evaluation_are_kept(evaluated, monkeypatch):
    call = evaluated()
    first = call(lengths=[16])
    again = call(lengths=[16, 32], reuse=True)
    [name] = first
    assert first[name].content.rows[0].tokens_per_sec == again[name].content.rows[0].tokens_per_sec
    assert list(again[name].scored) == [16, 32]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 8}, r"eval.stride \(8\) is for texts, and would be ignored by mqar"),
        ({"max_tokens": 100}, r"eval.max_tokens \(100\) is for texts"),
        ({"measures": ["context"]}, "eval.measures .* is for texts"),
        ({"save_nats": True}, "eval.save_nats .* is for texts"),
        ({"cached": True}, "eval.cached .* is for texts"),
        ({"split": "all"}, r"eval.split \(all\) is for texts of documents; mqar has validation and test"),
        ({"lengths": [4]}, r"eval.lengths \(4\) must be at least 8, the shortest string of mqar"),
        (
            {"lengths": [1024]},
            "eval.lengths: strings of 1024 tokens have 128 pairs, more than data.task.keys .64.*fixed has 2",
        ),
        ({"adapt": "truncation"}, r"eval.adapt \(truncation\) scores a text in pieces"),
        ({"data": {"task": {"keys": 32}}}, "data.task .* has other symbols than"),
        ({"data": {"task": 5}}, r"data.task \(5\) must be a mapping of settings"),
        ({"data": {"task": {"kees": 32}}}, "data.task.kees is not a setting of mqar"),
        ({"data": {"name": "stdlib"}}, r"data.name \(stdlib\) must be mqar, the task that the run was trained on"),
        ({"data": {"path": "/tmp"}}, "data.path would be ignored by data=mqar"),
    ],
)
def test_what_does_not_fit_a_task_is_refused(evaluated, settings, message):
    call = evaluated()
    with pytest.raises(ValueError, match=message):
        call(**settings)


def test_a_text_run_has_no_task(small_run, tmp_path):
    with pytest.raises(ValueError, match="data=copy is a task, and the run was trained on wikitext2"):
        OtherText("copy").over(small_run().data)


def test_two_tasks_cannot_share_a_file(evaluated, tmp_path):
    [result] = evaluated()().values()
    content = json.loads(result.path.read_text())
    content["data"]["tokens"] = 5
    content.pop("sha256")
    result.path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="a task must not have tokens, words or bytes"):
        load_result(result.path)
    del content["data"]["tokens"], content["rows"][0]["learned"]
    result.path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must have nll_nats and perplexity, or the numbers of a task"):
        load_result(result.path)


def test_a_result_is_verified_by_answering_again(evaluated, run_script):
    files = evaluated()(adapt=[None, "yarn"])
    for result in files.values():
        code, out, _ = run_script("verify", result.path, "--rescore")
        assert (code, "DIFFERS" in out) == (0, False)
    code, _, err = run_script("verify", result.path)
    assert code == 1
    assert "is of a task, which has no nats; --rescore answers its strings again" in err
    content = json.loads(result.path.read_text())
    content["rows"][1]["accuracy"] += 0.01
    content["rows"][1]["test_sha256"] = "0" * 64
    content.pop("sha256")
    result.path.write_text(json.dumps(content))
    code, out, _ = run_script("verify", result.path, "--rescore")
    assert code == 1
    wrong = [line.split()[1] for line in out.splitlines() if line.startswith("DIFFERS")]
    assert wrong == ["rows[64].accuracy", "rows[64].test_sha256"]

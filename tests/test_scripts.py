"""The report script as a user runs it, on results that a real training and evaluation left; and on bad input."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from evaluations import evaluate_checkpoint

from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.runs import Checkpoint, checkpoint_of
from alibi.training import train

ROOT = Path(__file__).parents[1]


@pytest.fixture
def study(small_run, tmp_path, cache):
    """Two methods and two seeds, evaluated by both protocols; the folder that holds their runs."""
    for method, seed in (("alibi", 0), ("alibi", 1), ("sinusoidal", 0)):
        folder = tmp_path / "study" / f"{method}-{seed}"
        train(small_run(method, seed, max_steps=2), folder)
        checkpoint = Checkpoint(checkpoint_of(folder))
        text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), cache)
        settings = EvaluationSettings(lengths=[16, 64], stride=[None, 2])
        evaluate_checkpoint(checkpoint, text, settings, "fp32")
    return tmp_path / "study"


def in_a_process(name, *arguments):
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def script(monkeypatch, capsys):
    """A script in this process, which spares each case the start of the libraries: what it printed, or why it ended."""

    def run(name, *arguments, fails=False):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        if not fails:
            runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
        assert isinstance(ended.value.code, str), "a message, which Python prints, with exit code 1"
        return ended.value.code

    return run


def test_a_report_of_a_study(study, tmp_path):
    out = in_a_process("report", study / "*", "--out", tmp_path / "report")
    for wanted in ("alibi L=16 seed 0", "alibi L=16 seed 1", "sinusoidal L=16 seed 0", "early tokens", "how far"):
        assert wanted.lower() in out.lower(), wanted
    assert "Not compared" not in out, "two protocols of the same runs are no news"
    comparison = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert len(comparison["sets"]) == 2
    page = (tmp_path / "report" / "index.html").read_text()
    for told in (out, page):
        assert "No intervals: 1 group, 10 needed." in told, "and null is none"
    for sentence in (
        "Intervals:",
        "its 95 % interval",
        "Bands are the intervals",
        "run with its interval",
        "<dt>Intervals",
    ):
        assert sentence not in out + page
    assert len(comparison["changes"]) == 3
    assert "<script" in page
    assert not re.search(r'(src|href)="https?:', page.split("<main")[0]), "nothing is loaded from a network"
    endings = {path.suffix for path in (tmp_path / "report").rglob("*.*")}
    assert endings == {".html", ".json", ".png", ".md"}


def test_figures_and_tables_for_a_paper(script, study, tmp_path):
    script("report", study / "*", "--paper", tmp_path / "paper", "--figures", "cost")
    endings = {path.suffix: path.name for path in (tmp_path / "paper").iterdir()}
    assert endings.keys() == {".pdf", ".tex"}
    assert all(path.name.startswith("cost-") for path in (tmp_path / "paper").glob("*.pdf"))
    assert not (tmp_path / "report").exists()


def test_runs_that_may_not_be_compared_are_refused_with_the_reason(script, study, tmp_path):
    plain, sliding = (next((study / run / "evaluation").glob(f"*{protocol}.json")) for run, protocol in (
        ("alibi-0", "nonoverlapping"), ("sinusoidal-0", "stride-2")))  # fmt: skip
    told = script("report", plain, sliding, "--out", tmp_path / "report", fails=True)
    assert "no two of these 2 runs may be compared" in told
    assert "other protocol" in told
    assert not (tmp_path / "report").exists()


def test_a_bad_file_is_named_and_nothing_is_lost(script, study, tmp_path):
    path = next((study / "alibi-0" / "evaluation").glob("*nonoverlapping.json"))
    good = path.read_text()
    nan = json.loads(good)
    del nan["sha256"]  # NaN can have none
    nan["rows"][1]["perplexity"] = float("nan")
    for bad, reason in (
        (good[: len(good) // 2], "no result file"),
        (good.replace('"schema": 1', '"schema": 9'), "schema 9"),
        (re.sub(r'"perplexity": \d', '"perplexity": 9', good, count=1), "by hand"),
    ):
        path.write_text(bad)
        told = script("report", study / "*", "--out", tmp_path / "report", fails=True)
        assert reason in told
        assert str(path) in told
        assert path.read_text() == bad
        assert not (tmp_path / "report").exists()
    path.write_text(json.dumps(nan))
    assert "perplexity is nan" in script("report", study / "*"), "the row stands with its reason, the others go on"


def test_one_run_and_no_run(script, study, tmp_path):
    assert "only one run" in script("report", study / "sinusoidal-0")
    assert "there is no result file at" in script("report", tmp_path / "nothing*", fails=True)
    shutil.rmtree(study / "alibi-0" / "evaluation")
    assert "there is no result file at" in script("report", study / "alibi-0", fails=True)


@pytest.mark.parametrize(
    ("name", "arguments", "wanted"),
    [
        ("generate", ["run", "--promt", "x"], "unrecognized arguments: --promt x"),
        ("generate", ["run", "--tokens", "many"], "argument --tokens: invalid int value: 'many'"),
        ("generate", [], "the following arguments are required: run"),
        ("report", ["x", "--output", "y"], "unrecognized arguments: --output y"),
        ("report", ["x", "--figures", "cost"], "--figures would be ignored without --paper DIR"),
        ("report", ["x", "--paper", "y", "--figures", "bars"], "argument --figures: invalid choice: 'bars'"),
        ("estimate", ["model=alibi", "--gpu", "8"], "unrecognized arguments: --gpu"),
        ("precision", ["run", "--split", "tset"], "argument --split: invalid choice: 'tset' (choose from"),
        ("export_hf", ["run"], "the following arguments are required: out"),
        ("study", ["x.yaml", "--trian", "seed=1"], "unrecognized arguments: --trian seed=1"),
    ],
)
def test_options_that_are_not_there_are_named(name, arguments, wanted, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith("usage: ")
    assert f"\n{name}.py: error: {wanted}" in told


@pytest.mark.parametrize(
    ("name", "arguments", "wanted"),
    [
        ("generate", ["nothing"], "error: FileNotFoundError: runs=nothing does not exist"),
        (
            "generate",
            ["nothing", "--prompt", os.fsdecode(b"caf\xe9")],
            "has the byte 0xe9 at offset 3, and is not UTF-8",
        ),
        ("estimate", ["model=alibbi"], "error: there is no model=alibbi; did you mean alibi?"),
        ("estimate", ["train.seqlen=4"], "did you mean train.seq_len?"),
        ("report", ["nothing"], "error: "),
    ],
)
def test_what_a_script_cannot_do_is_one_message(script, name, arguments, wanted):
    assert wanted in script(name, *arguments, fails=True)

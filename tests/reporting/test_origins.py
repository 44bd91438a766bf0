"""Reports of runs that started from another's weights: labels, the table of runs, and the axis of training charts."""

import json

import pytest
from comparisons import compared
from evaluations import evaluate_checkpoint
from result_files import as_result

from alibi.analysis import compare
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.reporting.page import render_page
from alibi.reporting.report_tables import run_rows
from alibi.reporting.study_charts import training_chart
from alibi.results import Result, load_results
from alibi.runs import Checkpoint, Origin, RunFolder
from alibi.training import train

ORIGIN = {"run": "alibi-L64-seed0", "sha256": "ab" * 32, "step": 100, "tokens": 6400}


@pytest.fixture
def pair(make_result):
    """Result files of a run, and of one from its weights, each with a log of 640 tokens."""

    def checkpoint(sha256: str, seq_len: int, **more) -> dict:
        settings = {"seed": 0} | ({"origin.sha256": "ab" * 32} if more else {})
        return {
            "path": "x", "sha256": sha256, "step": 10, "model": "alibi", "seq_len": seq_len, "seed": 0,
            "settings": settings, **more,
        }  # fmt: skip

    paths = [
        make_result(seq_len=64, checkpoint=checkpoint("1", 64)),
        make_result(seq_len=128, checkpoint=checkpoint("2", 128, origin=ORIGIN)),
    ]
    for path in paths:
        lines = [json.dumps({"step": n, "tokens": 64 * n, "train/loss": 4 - n / 10}) for n in range(1, 11)]
        (path.parents[1] / "metrics.jsonl").write_text("\n".join(lines))
    return paths


def last_tokens(study, total):
    [panel] = training_chart(study, total).panels
    return [max(point.x for point in one.points) for one in panel.series], panel.x.label


def test_training_is_drawn_against_own_or_total_tokens(pair):
    study = compared(pair)
    assert last_tokens(study, False) == ([640, 640], "tokens seen in training")
    assert last_tokens(study, True) == ([640, 640 + 6400], "tokens seen in training, in the origin's too")


def test_the_page_has_the_choice_where_a_run_has_an_origin_and_only_there(pair):
    page = render_page(compared(pair))
    assert '<select name="tokens">' in page
    figures = json.loads(page.split('id="data">')[1].split("</script>")[0])["figures"]
    assert [one["when"] for one in figures if one["chart"] == "training"] == [{"tokens": "own"}, {"tokens": "total"}]
    assert '<select name="tokens">' not in render_page(compared(pair[:1]))


def test_the_table_of_runs_and_the_labels_name_the_origin(pair):
    table = run_rows(compared(pair))
    assert table.header[-3:] == ["from", "at step", "tokens before"]
    assert [[cell for cell, _ in row[-3:]] for row in table.rows] == [["", "", ""], ["alibi-L64-seed0", "100", "6,400"]]
    assert "from" not in run_rows(compared(pair[:1])).header
    other = json.loads(pair[1].read_text())
    other["checkpoint"] |= {"sha256": "3", "origin": ORIGIN | {"sha256": "cd" * 32}}
    other["checkpoint"]["settings"] = {"seed": 0, "origin.sha256": "cd" * 32}
    beside = pair[1].parents[1].with_name("beside") / "evaluation" / pair[1].name
    beside.parent.mkdir(parents=True)
    beside.write_text(json.dumps(other))
    labels = {run.label for run in compared([pair[1], beside]).runs}
    assert labels == {"alibi L=128 seed 0 from abababab", "alibi L=128 seed 0 from cdcdcdcd"}


def test_runs_from_origins_that_differ_in_their_seed_alone_are_one_line():
    """By the names of the origins' folders; of another origin they are another line."""

    def result(seed: int, method: str):
        origin = ORIGIN | {"run": f"{method}-tiny-toy-L64-seed{seed}-0a1b2c3{seed}", "sha256": f"{method}{seed}"}
        checkpoint = {"sha256": f"{method} {seed}", "model": "none", "seq_len": 64, "seed": seed, "origin": origin}
        checkpoint["settings"] = {"seed": seed, "origin.sha256": origin["sha256"]}
        return as_result(f"{method}{seed}/evaluation/step-00000001-toy-test-x.json", {"checkpoint": checkpoint})

    [part] = compare([result(seed, method) for method in ("rotary", "alibi") for seed in (0, 1)]).sets
    assert {line.label: len(line.runs) for line in part.lines} == {
        f"none L=64 from {method}-tiny-toy-L64 step 100": 2 for method in ("rotary", "alibi")
    }


def test_the_script_draws_the_axis_and_refuses_one_that_would_be_ignored(pair, run_script, tmp_path):
    code, _, told = run_script("report", pair[0], "--tokens", "total")
    assert (code, "--tokens would be ignored without --out DIR" in told) == (2, True)
    drawn = []
    for tokens in ("own", "total"):
        words = ["--paper", tmp_path / tokens, "--figures", "training", "--tokens", tokens]
        assert run_script("report", *pair, *words)[0] == 0
        drawn.append((tmp_path / tokens / "training-column.pdf").read_bytes())
    assert drawn[0] != drawn[1]


def test_a_result_file_states_the_origin_and_the_runs_own_tokens(small_run, tmp_path, cache):
    train(small_run(max_steps=2), tmp_path / "a")
    config = small_run(max_steps=1)
    config.origin, config.train.init_from = Origin.of(Checkpoint(RunFolder(tmp_path / "a").last())), str(tmp_path / "a")
    train(config, tmp_path / "b")
    found = {}
    for name in "ab":
        checkpoint = Checkpoint(RunFolder(tmp_path / name).last())
        settings = EvaluationSettings(lengths=[16])
        text = open_evaluation_text(checkpoint, checkpoint.data_config, settings, cache)
        [path] = evaluate_checkpoint(checkpoint, text, settings, "fp32")
        [result] = load_results([path])
        assert isinstance(result, Result)
        found[name] = result.checkpoint
    assert found["a"].origin is None
    assert found["b"].origin.model_dump() == {
        "run": "a", "sha256": found["a"].sha256, "step": 2, "tokens": 128,
    }  # fmt: skip
    assert found["b"].training.tokens == 64
    assert found["b"].settings["origin.sha256"] == found["a"].sha256

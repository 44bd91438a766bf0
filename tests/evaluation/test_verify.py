"""Verification: sound results agree, from nats and from the checkpoint, and every change is found."""

import json
import re

import pytest
import torch
from evaluations import evaluate_checkpoint

from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.evaluation.rescore import rescored
from alibi.evaluation.verify import Check, difference_of, from_nats
from alibi.results import load_result
from alibi.results.result_file import checksum
from alibi.runs import Checkpoint
from alibi.training import train

CPU = torch.device("cpu")


@pytest.fixture
def evaluated(small_run, tmp_path, cache):
    """Evaluates a run trained at 32; returns the result files."""
    train(small_run("rotary", max_steps=2, seq_len=32), tmp_path / "run")
    checkpoint = Checkpoint(tmp_path / "run" / "checkpoints" / "step-00000002")

    def call(**settings):
        asked = EvaluationSettings(**{"lengths": [32, 64], "save_nats": True} | settings)
        text = open_evaluation_text(checkpoint, checkpoint.data_config, asked, cache)
        return [load_result(path) for path in evaluate_checkpoint(checkpoint, text, asked, "fp32")]

    return call


EVERYTHING = {"measures": ["context", "repeats", "copy"], "reach": 64, "stride": [None, 8], "adapt": [None, "yarn"]}


def test_sound_results_agree_both_ways(evaluated, cache):
    for result in evaluated(**EVERYTHING):
        checks, left = from_nats(result)
        assert {check.what for check in checks} >= {"rows[64].nll_nats", "rows[32].interval", "how_far"}
        assert all(check.agrees for check in checks), checks
        assert any("copy: depends on the text" in what for what in left)
        again, left = rescored(result, None, None, cache, CPU)
        assert {check.what for check in again} >= {"context", "copy", "rows[64].repeats", "rows[64].nats"}
        assert all(check.agrees for check in again), again
        assert left == []


def altered(result, change):
    """The result with a change, and with a checksum that fits it again."""
    content = json.loads(result.path.read_text())
    change(content)
    content["sha256"] = checksum(content)
    result.path.write_text(json.dumps(content))
    return load_result(result.path)


def plus(numbers, difference):
    numbers[0] += difference


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("rows[32].group_nats", lambda content: plus(content["rows"][0]["group_nats"], 1e-6)),
        ("rows[32].context", lambda content: plus(content["rows"][0]["context"]["targets"], 7)),
        ("how_far", lambda content: content["how_far"].update(within_percent=2.0, length=32, breaks_at=64)),
    ],
    ids=["group", "context", "how far"],
)
def test_every_change_is_found(evaluated, field, change):
    [result] = evaluated(stride=8)
    checks, _ = from_nats(altered(result, change))
    assert [check.what for check in checks if not check.agrees] == [field]


def test_without_nats_there_is_nothing_to_verify_from(evaluated):
    checks, left = from_nats(*evaluated(save_nats=False))
    assert [check.what for check in checks if not check.agrees] == ["rows[32].nats", "rows[64].nats"]
    assert re.search(r"length 32 has no nats on disk .* eval.save_nats=true", left[0])


def test_a_length_without_nats_is_not_verified(evaluated):
    evaluated(lengths=[64], save_nats=False)
    [result] = evaluated(lengths=[32], reuse=True)
    assert list(result.rows) == [32, 64]
    checks, left = from_nats(result)
    assert [check.what for check in checks if not check.agrees] == ["rows[64].nats"]
    assert "rows[32].nll_nats" in {check.what for check in checks}, "the others are checked"
    assert "length 64 has no nats on disk (lengths that have: 32)" in left[0]


def test_nats_that_are_gone_fail_one_check_and_are_made_again(evaluated, cache):
    [result] = evaluated(lengths=[32])
    [nats] = result.path.parent.glob("*.npy")
    before = nats.read_bytes()
    for damage in (nats.unlink, lambda: nats.write_bytes(before[:-4] + b"abcd")):
        damage()
        for checks, left in (from_nats(result), rescored(result, None, None, cache, CPU)):
            assert [check.what for check in checks if not check.agrees] == ["rows[32].nats"]
            assert re.search("is gone|is not what .* was written with", left[0])
        [result] = evaluated(lengths=[32], reuse=True)
        assert nats.read_bytes() == before


def test_rows_of_evaluations_with_and_without_repeats_agree(evaluated, cache):
    evaluated(lengths=[32], measures=["repeats"])
    [result] = evaluated(lengths=[64])
    checks, _ = rescored(result, None, None, cache, CPU)
    assert all(check.agrees for check in checks), checks
    assert "rows[32].repeats" in {check.what for check in checks}


def test_the_change_against_the_nonoverlapping_twin_is_computed_again(evaluated, cache):
    plain, sliding = evaluated(stride=[None, 4])
    checks, _ = from_nats(sliding)
    assert [check.agrees for check in checks if check.what == "change"] == [True]
    wrong = altered(sliding, lambda content: content["change"]["lengths"][1].update(early_tokens=0.5))
    for checks, _ in (from_nats(wrong), rescored(wrong, None, None, cache, CPU)):
        assert [check.what for check in checks if not check.agrees] == ["change"]
    plain.path.unlink()
    checks, _ = from_nats(sliding)
    assert [check.what for check in checks if not check.agrees] == ["change"], "without the twin it cannot be checked"


def test_another_text_or_other_weights_are_not_scored_again(evaluated, cache, small_run, tmp_path):
    [result] = evaluated()
    other = altered(result, lambda c: c["data"].update(sha256="0" * 64))
    with pytest.raises(ValueError, match="is of another text, wikitext2 validation"):
        rescored(other, None, None, cache, CPU)
    result.path.unlink()
    [result] = evaluated()
    other = altered(result, lambda c: c["checkpoint"].update(sha256="0" * 64))
    with pytest.raises(ValueError, match="has other weights"):
        rescored(other, None, None, cache, CPU)
    moved = result.path.rename(tmp_path / result.path.name)
    with pytest.raises(FileNotFoundError, match="--rescore needs the checkpoint"):
        rescored(load_result(moved), None, None, cache, CPU)


def test_the_command_says_whether_all_agree(evaluated, run_script):
    [result] = evaluated()
    code, out, _ = run_script("verify", result.path)
    assert code == 0
    assert "17 of 17 agree" in out
    altered(result, lambda c: c["rows"][0]["group_nats"].__setitem__(0, 1.0))
    code, out, _ = run_script("verify", result.path, "--json")
    told = json.loads(out)
    assert (code, told["agree"]) == (1, False)
    assert [check["what"] for check in told["checks"] if not check["agrees"]] == ["rows[32].group_nats"]
    result.path.write_text(result.path.read_text().replace('"group_nats"', '"group_natz"'))
    code, _, err = run_script("verify", result.path)
    assert code == 1
    assert "does not match its own sha256" in err


def test_differences_are_relative_and_of_every_place():
    assert difference_of({"a": [1.0, 2.0]}, {"a": [1.0, 2.0 + 2e-9]}) == pytest.approx(1e-9)
    assert difference_of([1.0], [1.0, 2.0]) == float("inf")
    assert difference_of({"a": 1}, {"b": 1}) == float("inf")
    assert difference_of(None, 1.0) == float("inf")
    missing = Check("context", difference_of(None, 1.0), 1e-9).in_json()
    assert (missing["difference"], missing["agrees"]) == (None, False)

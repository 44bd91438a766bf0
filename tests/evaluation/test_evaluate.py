import json

import pytest
import torch
from evaluations import evaluate_checkpoint

from alibi.data import DataConfig
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.evaluation import checkpoint_results as evaluate_module
from alibi.evaluation.evaluation_settings import in_order
from alibi.runs import Checkpoint
from alibi.tracking import read_metrics
from alibi.training import train


@pytest.fixture
def run(small_run, tmp_path):
    train(small_run(max_steps=2), tmp_path / "outputs" / "run")
    return tmp_path / "outputs" / "run"


@pytest.fixture
def checkpoint(run):
    return Checkpoint(run / "checkpoints" / "step-00000002")


@pytest.fixture
def evaluated(checkpoint, cache, capsys):
    """Evaluates the run's checkpoint; returns (path, content) of each result file, and the lines that were printed."""

    def call(data=None, **settings):
        asked = EvaluationSettings(**{"lengths": [16, 64]} | settings)
        text = open_evaluation_text(checkpoint, data or checkpoint.data_config, asked, cache)
        capsys.readouterr()
        paths = evaluate_checkpoint(checkpoint, text, asked, "fp32")
        told = [*text.notes, *capsys.readouterr().out.splitlines()]
        return [(path, json.loads(path.read_text())) for path in paths], told

    return call


def test_the_result_file_follows_the_contract(evaluated):
    [(path, result)], _ = evaluated()
    assert path.name == "step-00000002-wikitext2-validation-nonoverlapping.json"
    assert result["schema"] == 1
    assert result["checkpoint"]["path"] == "run/checkpoints/step-00000002"
    assert {"sha256", "step", "model", "seq_len", "seed", "parameters"} <= result["checkpoint"].keys()
    assert result["protocol"] == {"name": "nonoverlapping", "first_input": "end-of-text"}
    assert [row["length"] for row in result["rows"]] == [16, 64]
    for row in result["rows"]:
        assert row["stride"] == row["length"]
        assert row["scored_tokens"] == result["data"]["tokens"]
        names = ("nll_nats", "perplexity", "word_perplexity", "bits_per_byte", "tokens_per_sec", "peak_memory_mib")
        assert all(row[name] > 0 for name in names)


def test_validation_while_training_is_the_same_number(evaluated, run):
    [(_, result)], _ = evaluated(lengths=[16])
    last, row = read_metrics(run / "metrics.jsonl")[-1], result["rows"][0]
    assert row["nll_nats"] / row["scored_tokens"] == pytest.approx(last["val/loss"], rel=1e-7)
    assert row["word_perplexity"] == pytest.approx(last["val/word_ppl"], rel=1e-5)
    assert row["bits_per_byte"] == pytest.approx(last["val/bpb"], rel=1e-7)


def test_a_later_evaluation_adds_lengths_and_replaces_the_same(evaluated):
    [(path, first)], _ = evaluated(lengths=[16, 64])
    first["rows"][0]["tokens_per_sec"] = 1.0
    del first["sha256"]  # as in a file of an earlier version
    path.write_text(json.dumps(first))
    [(_, second)], _ = evaluated(lengths=[16, 32])
    assert [row["length"] for row in second["rows"]] == [16, 32, 64]
    assert second["rows"][0]["tokens_per_sec"] != 1.0
    [(_, kept)], told = evaluated(lengths=[16, 32], reuse=True)
    assert kept["rows"] == second["rows"]
    assert "lengths [16, 32] are there already" in " ".join(told)


def test_rows_say_where_the_nats_are(evaluated):
    """By article or block, and by context: both add up to the row's sum, and the text's counts stand beside them."""
    files, _ = evaluated(lengths=[16, 64], stride=[None, 2])
    for _, result in files:
        groups, data = result["groups"], result["data"]
        assert groups["kind"] == "blocks"
        assert [sum(groups[unit]) for unit in ("tokens", "words", "bytes")] == [
            data["tokens"],
            data["words"],
            data["bytes"],
        ]
        assert "these weights" in result["intervals"]["holds_for"]
        for row in result["rows"]:
            assert sum(row["group_nats"]) == pytest.approx(row["nll_nats"], rel=1e-12)
            assert sum(row["context"]["nll_nats"]) == pytest.approx(row["nll_nats"], rel=1e-12)
            assert sum(row["context"]["targets"]) == row["scored_tokens"]
            assert row["context"]["up_to"][-1] == row["length"]
            assert row["interval"].keys() == {"perplexity", "word_perplexity", "bits_per_byte"}
        assert result["how_far"]["training_length"] == 16


def test_the_change_with_length_is_split_where_both_protocols_are_there(evaluated):
    [(_, plain), (path, sliding)], _ = evaluated(stride=[None, 2])
    assert "change" not in plain
    change = sliding["change"]
    assert (change["against"], change["stride"]) == (16, 2)
    n, s = ({row["length"]: row["nll_nats"] / row["scored_tokens"] for row in r["rows"]} for r in (plain, sliding))
    at_training_length, further = change["lengths"]
    assert at_training_length["whole"] == at_training_length["longer_context"] == 0
    assert further["whole"] == pytest.approx(n[64] - n[16], rel=1e-9)
    assert further["longer_context"] == pytest.approx(s[64] - s[16], rel=1e-9)
    assert further["early_tokens"] == pytest.approx((n[64] - s[64]) - (n[16] - s[16]), rel=1e-9)
    # Later lengths, one protocol at a time: the split follows as soon as both are there.
    [(_, alone)], _ = evaluated(lengths=[32], stride=[2])
    assert "change" in alone
    assert [part["length"] for part in alone["change"]["lengths"]] == [16, 64]
    evaluated(lengths=[32])
    assert [part["length"] for part in json.loads(path.read_text())["change"]["lengths"]] == [16, 32, 64]


def test_a_change_that_cannot_be_split_says_why(evaluated):
    files, told = evaluated(stride=[None, 4])
    assert "change" not in files[1][1]
    assert any("stride 4 is above an eighth of the training length 16; use eval.stride=[null,2]" in t for t in told)
    _, told = evaluated(lengths=[32], stride=[None, 1])
    assert any("the training length 16 was not evaluated by both protocols" in t for t in told)


def test_evaluation_through_the_cache_has_a_file_of_its_own_and_the_same_numbers(evaluated):
    [(_, full)], _ = evaluated(lengths=[16, 40], max_tokens=600)
    [(path, cached)], _ = evaluated(lengths=[16, 40], max_tokens=600, cached=True)
    assert path.name.endswith("-validation-nonoverlapping-cached.json")
    assert (full["scorer"], cached["scorer"]) == ("full", "cached")
    for one, other in zip(full["rows"], cached["rows"], strict=True):
        assert other["nll_nats"] == pytest.approx(one["nll_nats"], rel=1e-6)


def test_how_far_is_told_with_the_margin_asked_for(evaluated):
    evaluated(stride=4)
    [(_, result)], _ = evaluated(stride=4, within_percent=1000.0, reuse=True)
    assert result["how_far"] == {
        "within_percent": 1000.0, "training_length": 16, "length": 64, "breaks_at": None, "by": "sliding rows",
        "measured_to": 64,
    }  # fmt: skip
    [(_, result)], _ = evaluated(lengths=[64], stride=4, max_tokens=600)
    assert "was not evaluated" in result["how_far"]["reason"]


def test_a_list_of_numbers_is_one_line_of_the_file(evaluated):
    [(path, result)], _ = evaluated()
    assert any('"up_to": [ 1, 2, 3,' in line for line in path.read_text().splitlines())
    assert json.loads(path.read_text()) == result


def test_strides_have_a_file_each(evaluated):
    files, _ = evaluated(stride=[None, 4, None])
    assert [path.name.split("validation-")[1] for path, _ in files] == ["nonoverlapping.json", "stride-4.json"]
    assert [row["stride"] for row in files[1][1]["rows"]] == [4, 4]
    assert {row["scored_tokens"] for _, r in files for row in r["rows"]} == {files[0][1]["data"]["tokens"]}


def test_a_part_of_the_text_counts_as_that_part_and_keeps_the_whole(evaluated):
    [(whole_path, whole)], _ = evaluated()
    [(part_path, part)], _ = evaluated(max_tokens=600)
    assert part_path != whole_path
    assert json.loads(whole_path.read_text()) == whole
    assert part["data"]["tokens"] <= 600
    assert part["data"]["sha256"] != whole["data"]["sha256"]
    assert part["data"]["sha256"][:8] in part_path.name
    assert part["data"]["tokens"] == part["data"]["bytes"]  # the byte tokenizer
    assert part["rows"][0]["scored_tokens"] == part["data"]["tokens"]


def test_a_part_has_its_hash_in_the_name_whatever_came_first(evaluated):
    [(part_path, part)], _ = evaluated(max_tokens=600)
    [(whole_path, _)], _ = evaluated()
    assert whole_path.name == "step-00000002-wikitext2-validation-nonoverlapping.json"
    assert part_path.name == f"step-00000002-wikitext2-{part['data']['sha256'][:8]}-validation-nonoverlapping.json"
    assert json.loads(part_path.read_text()) == part


def test_another_text_is_encoded_by_the_runs_tokenizer_and_named(evaluated, tmp_path, corpus):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("train", "valid", "test"):
        (other / f"wiki.{name}.raw").write_text(" \n = A title = \n \n Some other words . \n")
    [(path, result)], told = evaluated(DataConfig("wikitext2", str(other)))
    assert path.name == f"step-00000002-wikitext2-{result['data']['sha256'][:8]}-validation-nonoverlapping.json"
    assert any("this is not run's own text" in line for line in told)
    moved = corpus.rename(tmp_path / "moved")
    [(path, _)], _ = evaluated(DataConfig("wikitext2", str(moved)), split="test")
    assert path.name == "step-00000002-wikitext2-test-nonoverlapping.json", "the same text in another place is its own"


def test_another_test_text_is_named_though_the_validation_text_is_the_runs_own(evaluated, corpus):
    text = (corpus / "wiki.test.raw").read_text()
    (corpus / "wiki.test.raw").write_text(text + " Some other words . \n")
    [(path, result)], told = evaluated(split="test")
    assert path.name == f"step-00000002-wikitext2-{result['data']['sha256'][:8]}-test-nonoverlapping.json"
    assert any("this is not run's own text" in line for line in told)


def test_odd_lengths_are_said(evaluated):
    [(_, result)], told = evaluated(lengths=[64, 16, 64, 10**6])
    assert [row["length"] for row in result["rows"]] == [16, 64, 10**6]
    assert any("evaluated as [16, 64, 1000000]" in line for line in told)
    assert any("length 1000000 is above" in line and "one window" in line for line in told)
    assert in_order([1, 2]) == ([1, 2], None)


def test_sliding_is_preceded_by_how_long_it_will_take(evaluated):
    _, told = evaluated(lengths=[16, 64], stride=[None, 4])
    assert [
        line for line in told if line.startswith("sliding: about ") and line.endswith("2 pairs of length and stride")
    ]
    _, told = evaluated(lengths=[16, 64])
    assert not any("sliding" in line for line in told)


def failing(error, at_length):
    def scorer(inputs, targets, first):
        if inputs.shape[1] == at_length:
            if isinstance(error, Exception):
                raise error
            return torch.full(targets.shape, error)
        return torch.ones(targets.shape)

    return lambda model, precision: scorer


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB\nmore"),
            "out of memory: CUDA out of memory",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "out of memory: Default"),
        (MemoryError(), "out of memory: MemoryError"),
        (800.0, "overflow: exp"),
        (float("nan"), "not a number: the sum of nats is nan"),
    ],
)
def test_what_cannot_be_done_is_an_entry_and_the_others_go_on(evaluated, monkeypatch, error, reason):
    monkeypatch.setattr(evaluate_module, "model_scorer", failing(error, 32))
    [(_, result)], told = evaluated(lengths=[16, 32, 64])
    first, failed, last = result["rows"]
    assert failed.keys() == {"length", "stride", "error", "made_with"}
    assert failed["error"].startswith(reason)
    assert first["perplexity"] == pytest.approx(last["perplexity"])
    assert any("length 32" in line for line in told)


def test_the_first_length_may_be_the_one_without_memory(evaluated, monkeypatch):
    monkeypatch.setattr(evaluate_module, "model_scorer", failing(MemoryError(), 16))
    [(_, result)], _ = evaluated(lengths=[16, 32])
    assert result["rows"][0]["error"].startswith("out of memory")
    assert result["rows"][1]["perplexity"] > 1


def test_a_bug_is_not_an_entry(evaluated, monkeypatch):
    monkeypatch.setattr(evaluate_module, "model_scorer", failing(RuntimeError("shapes do not match"), 32))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        evaluated(lengths=[32])


def test_a_result_changed_by_hand_is_refused(evaluated):
    [(path, result)], _ = evaluated()
    result["rows"][0]["perplexity"] -= 1
    for text in (json.dumps(result), json.dumps(result).replace(str(result["rows"][1]["perplexity"]), "NaN")):
        path.write_text(text)
        with pytest.raises(ValueError, match="was changed by hand"):
            evaluated()
        assert path.read_text() == text


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_a_damaged_result_file_is_not_overwritten(evaluated, content):
    [(path, _)], _ = evaluated()
    path.write_text(content)
    with pytest.raises(ValueError, match="Move the file away, and evaluate again"):
        evaluated()
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lengths": [0]}, r"eval.lengths has 0"),
        ({"lengths": []}, r"eval.lengths is empty"),
        ({"stride": 0}, r"eval.stride \(0\)"),
        ({"stride": 1.5}, r"eval.stride \(1.5\)"),
        ({"lengths": [64, 16], "stride": [None, 17]}, r"eval.stride \(17\).*shortest is 16"),
        ({"stride": []}, r"eval.stride is an empty list"),
        ({"split": "train"}, r"eval.split \(train\)"),
        ({"max_tokens": 0}, r"eval.max_tokens \(0\)"),
        ({"within_percent": -1.0}, r"eval.within_percent \(-1.0\)"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        EvaluationSettings(**values)


def test_what_is_kept_keeps_what_it_was_made_with_and_other_files_their_margin(evaluated, monkeypatch):
    [(_, plain), (path, sliding)], _ = evaluated(stride=[None, 2])
    monkeypatch.setattr(evaluate_module, "environment", lambda device: {"threads": 99, "packages": {}})
    [(_, again)], _ = evaluated(reuse=True, within_percent=7)
    assert again["made_with"] == plain["made_with"] != {"threads": 99}
    assert again["how_far"]["within_percent"] == 7
    assert json.loads(path.read_text())["how_far"] == sliding["how_far"]


def test_a_damaged_file_is_named_before_anything_is_scored(evaluated):
    [(_, _), (sliding, _)], _ = evaluated(stride=[None, 2])
    plain = sliding.with_name("step-00000002-wikitext2-validation-nonoverlapping.json")
    plain.unlink()
    sliding.write_text(sliding.read_text()[:500])
    with pytest.raises(ValueError, match=r"stride-2\.json is no result file"):
        evaluated(stride=[None, 2])
    assert not plain.exists()


def test_damaged_neighbours_disturb_nobody(evaluated):
    [(path, result)], _ = evaluated(lengths=[16])
    (path.parent / "folder.json").mkdir()
    for name, changed in (("empty", {"rows": []}), ("old", {"precision": None})):
        content = {key: value for key, value in {**result, **changed}.items() if key != "sha256" and value is not None}
        path.with_name(f"{name}.json").write_text(json.dumps(content))
    [(_, _), (_, sliding)], _ = evaluated(stride=[None, 2])
    assert "change" in sliding


def test_text_without_spaces_has_no_perplexity_per_word_and_keeps_the_rest(evaluated, monkeypatch):
    monkeypatch.setattr(evaluate_module, "model_scorer", failing(200.0, 64))
    [(_, result)], _ = evaluated()
    row = result["rows"][1]
    assert "word_perplexity" not in row
    assert row["perplexity"] > 1
    assert row["group_nats"]

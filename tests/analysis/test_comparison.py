import json
import math

import numpy as np
import pytest
from result_files import as_result

from alibi.analysis import compare
from alibi.results import find_results

GROUPS = 40
TOKENS = np.random.default_rng(0).integers(50, 500, GROUPS)


def result(method="alibi", curve=None, seed=0, seq_len=64, spread=0.0, tokens=TOKENS, tokenizer="bpe", **over):
    """A result with the mean nats of `curve` by length; `spread` moves each article by itself."""
    curve = {64: 3.0, 128: 2.9} if curve is None else curve
    shift = 1 + spread * np.random.default_rng(seed + 1).normal(size=GROUPS)
    words = TOKENS // 2 + 1
    sizes = {"tokens": tokens.tolist(), "words": words.tolist(), "bytes": (4 * TOKENS).tolist()}

    def row(length, mean):
        nats = TOKENS * mean * shift
        return {
            "length": length,
            "nll_nats": float(nats.sum()),
            "perplexity": math.exp(nats.sum() / tokens.sum()),
            "word_perplexity": math.exp(nats.sum() / words.sum()),
            "bits_per_byte": float(nats.sum() / (4 * TOKENS.sum()) / math.log(2)),
            "group_nats": nats.tolist(),
        }

    return {
        "schema": 1,
        "checkpoint": {
            "sha256": f"{method}{seed}{seq_len}{tokenizer}", "step": 9, "model": method, "seq_len": seq_len,
            "seed": seed, "parameters": 7, "settings": {"seed": seed, "optimizer.lr": 1e-3},
        },
        "data": {
            "name": "toy", "split": over.pop("split", "validation"), "sha256": over.pop("text", "1" * 64),
            "tokens": int(tokens.sum()), "words": int(words.sum()), "bytes": int(4 * TOKENS.sum()),
            "tokenizer": {"name": tokenizer, "vocab_size": 9, "sha256": tokenizer},
        },
        "protocol": {"name": over.pop("protocol", "nonoverlapping")},
        "precision": "fp32",
        "groups": {"kind": "documents", **sizes},
        "how_far": {"within_percent": 2.0, "training_length": seq_len, "length": 128, "breaks_at": None},
        "rows": [row(*item) for item in curve.items()],
        **over,
    }  # fmt: skip


def compared(*results):
    return compared_at({f"runs/run{i}/evaluation/x{i}.json": r for i, r in enumerate(results)})


def compared_at(files):
    """comparison.json of contents by path."""
    return compare([as_result(path, content) for path, content in files.items()]).to_dict()


def test_a_pair_is_compared_on_equal_text():
    comparison = compared(result(spread=0.2), result("rotary", {64: 2.95, 128: 3.4}, spread=0.2))
    [part] = comparison["sets"]
    assert part["metrics"] == ["perplexity", "word_perplexity", "bits_per_byte"]
    [pair] = part["pairs"]
    assert (pair["a"], pair["b"]) == ("r0", "r1")
    at64, at128 = pair["lengths"]
    a, b = ({row["length"]: row["perplexity"] for row in result(m, c, spread=0.2)["rows"]} for m, c in (
        ("alibi", None), ("rotary", {64: 2.95, 128: 3.4})))  # fmt: skip
    assert at64["perplexity"]["ratio"] == pytest.approx(a[64] / b[64], rel=1e-12)
    low, high = at128["perplexity"]["interval"]
    assert low < at128["perplexity"]["ratio"] < high < 1, "ALiBi is below rotary at 128, surely"
    assert at128["word_perplexity"]["ratio"] < at128["perplexity"]["ratio"], "a word has more nats than a token"
    assert at128["bits_per_byte"]["difference"] < 0
    assert at128["bits_per_byte"]["interval"][1] < 0
    assert part["crossings"] == [
        {"a": "alibi L=64", "b": "rotary L=64", "at": [{"after": 64, "before": 128, "about": 68.2}]}
    ]
    far = part["how_far"][0]
    assert (far["run"], far["length"], far["evaluated_to"]) == ("r0", None, 128)
    assert "context is not equal" in far["reason"], "of nonoverlapping rows"
    json.dumps(comparison, allow_nan=False)


def test_what_the_text_does_to_both_cancels_in_their_difference():
    """Articles differ, but the second run has the same extra nats in every token: all resamples give one ratio."""
    ours, theirs = result(spread=0.2), result("rotary", spread=0.2)
    for row in theirs["rows"]:
        row["group_nats"] = [nats + 0.02 * count for nats, count in zip(row["group_nats"], TOKENS, strict=True)]
        row["nll_nats"] = sum(row["group_nats"])
    [pair] = compared(ours, theirs)["sets"][0]["pairs"]
    for entry in pair["lengths"]:
        assert entry["perplexity"]["ratio"] == pytest.approx(math.exp(-0.02), rel=1e-9)
        assert entry["perplexity"]["interval"] == pytest.approx([math.exp(-0.02)] * 2, rel=1e-6)


def test_seeds_are_one_line_with_an_interval_from_three_on():
    two = compared(result(seed=0), result(seed=1, curve={64: 3.1, 128: 3.0}))["sets"][0]
    [line] = two["lines"]
    assert (line["label"], line["runs"]) == ("alibi L=64", ["r0", "r1"])
    told = line["lengths"][0]["perplexity"]
    assert told["values"] == pytest.approx([math.exp(3.0), math.exp(3.1)])
    assert told["mean"] == pytest.approx(np.mean(told["values"]))
    assert told["interval"] is None
    three = compared(*(result(seed=s, curve={64: 3.0 + s / 10}) for s in range(3)))["sets"][0]
    low, high = three["lines"][0]["lengths"][0]["perplexity"]["interval"]
    assert low < three["lines"][0]["lengths"][0]["perplexity"]["mean"] < high
    assert [run["label"] for run in three["runs"]] == [f"alibi L=64 seed {s}" for s in range(3)]


def test_other_settings_are_another_line():
    other = result(seed=1)
    other["checkpoint"]["settings"]["optimizer.lr"] = 5e-3
    labels = [line["label"] for line in compared(result(), other)["sets"][0]["lines"]]
    assert labels == ["alibi L=64 lr 1e-3", "alibi L=64 lr 5e-3"]


def test_runs_that_look_alike_have_labels_of_their_own():
    other = result()
    other["checkpoint"]["sha256"] = "other weights"
    labels = [run["label"] for run in compared(result(), other)["sets"][0]["runs"]]
    assert labels == ["alibi L=64 seed 0 (run0)", "alibi L=64 seed 0 (run1)"]


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"text": "2" * 64}, ("other text or part of it (sha256)", "1" * 16, "2" * 16)),
        ({"split": "test"}, ("other split", "validation", "test")),
        ({"protocol": "stride-8"}, ("other protocol", "nonoverlapping", "stride-8")),
        ({"precision": "bf16"}, ("other precision", "fp32", "bf16")),
        ({"scorer": "cached"}, ("other scorer", "full", "cached")),
    ],
)
def test_what_is_not_comparable_is_refused_with_the_reason(over, reason):
    comparison = compared(result(), result("rotary", **over))
    assert len(comparison["sets"]) == 2
    assert not any(part["pairs"] for part in comparison["sets"])
    what, *values = reason
    told = [{"set": number, "value": value} for number, value in enumerate(values)]
    assert comparison["refused"] == [{"reason": what, "sets": told}]


def test_names_of_files_follow_from_what_was_measured_whichever_file_comes_first():
    """Two texts of one name, each a run's own; and a text that is one run's own and another's other text."""
    name = "evaluation/step-00000009-toy{}-validation-nonoverlapping.json"
    own, twin, other = (f"{run}/{name.format(of)}" for run, of in (("a", ""), ("b", ""), ("c", "-22222222")))
    files = {own: result(), twin: result(seed=1, text="2" * 64), other: result(seed=2, text="2" * 64)}
    for order in ((own, twin, other), (other, twin, own), (twin, own, other)):
        sets = compare([as_result(path, files[path]) for path in order]).sets
        assert {part.slug: len(part.runs) for part in sets} == {
            "toy-11111111-validation-nonoverlapping": 1,
            "toy-22222222-validation-nonoverlapping": 2,
        }
    [alone] = compare([as_result(path, files[path]) for path in (other, twin)]).sets
    assert alone.slug == "toy-validation-nonoverlapping"


def test_one_text_under_two_names_is_one_set():
    renamed = result("rotary")
    renamed["data"]["name"] = "toy-copy"
    [part] = compared(result(), renamed)["sets"]
    assert len(part["pairs"]) == 1


def test_other_tokenizers_are_compared_per_word_and_per_byte_only():
    [part] = compared(result(), result("alibi", {64: 2.8, 128: 2.7}, tokens=2 * TOKENS, tokenizer="byte"))["sets"]
    assert part["metrics"] == ["word_perplexity", "bits_per_byte"]
    assert "different tokenizers" in part["note"]
    [pair] = part["pairs"]
    assert "perplexity" not in pair["lengths"][0]
    assert pair["lengths"][0]["word_perplexity"]["ratio"] > 1
    assert pair["lengths"][0]["word_perplexity"]["interval"] is not None
    assert len(part["lines"]) == 2, "another tokenizer is another line"


@pytest.mark.parametrize(
    ("tokenizer", "ids", "same"),
    [("hf", ("1", "1"), True), ("hf", ("1", "2"), False), ("hf", ("1", None), False), ("bpe", ("1", "2"), False)],
)
def test_tokenizers_are_what_they_do_and_not_what_they_are_called(tokenizer, ids, same):
    """Our own and its export: another name, another file, the same ids. An older file does not tell them."""
    ours, theirs = result(), result("mpt", tokenizer=tokenizer)
    for one, sha256 in zip((ours, theirs), ids, strict=True):
        one["data"] |= {"tokens_sha256": sha256} if sha256 else {}
    [part] = compared(ours, theirs)["sets"]
    assert ("perplexity" in part["metrics"]) == same
    assert len({run["tokenizer"] for run in part["runs"]}) == 2 - same


def test_an_older_file_has_the_tokenizer_that_it_names():
    ours, theirs = result(), result("mpt", tokenizer="hf")
    for one in (ours, theirs):
        one["data"]["tokens_sha256"] = "1"
    [part] = compared(result("none"), ours, theirs)["sets"]
    assert {run["tokenizer"] for run in part["runs"]} == {"bpe of 9 (bpe)"}


def test_a_result_twice_is_no_mean_of_two_seeds():
    """A file copied in its folder, and a whole folder copied beside: one seed each time."""
    files = {f"runs/{place}.json": result() for place in ("run/evaluation/x", "run/evaluation/y", "copy/evaluation/x")}
    [part] = compared_at(files)["sets"]
    assert [len(line["runs"]) for line in part["lines"]] == [1, 1, 1]
    assert len({run["label"] for run in part["runs"]} | {line["label"] for line in part["lines"]}) == 6


def rounded_otherwise(content, by):
    """The same weights' result, computed in another order: every sum is off by so much of itself."""
    for number, row in enumerate(content["rows"]):
        off = 1 + by * (-1) ** number
        row["nll_nats"] *= off
        row["group_nats"] = [nats * off for nats in row["group_nats"]]
    return content


@pytest.mark.parametrize(
    ("precision", "by", "found"),
    [("fp32", 2e-10, False), ("fp32", 5e-7, True), ("bf16", 4e-5, False), ("bf16", 5e-4, True)],
)
def test_what_rounding_makes_is_no_finding(precision, by, found):
    """A run beside its own export."""
    ours = result(spread=0.1, precision=precision)
    theirs = rounded_otherwise(result("mpt", spread=0.1, precision=precision), by)
    [part] = compared(ours, theirs)["sets"]
    assert bool(part["crossings"][0]["at"]) == found
    for entry in part["pairs"][0]["lengths"]:
        low, high = entry["word_perplexity"]["interval"]
        assert (low < 1 < high) == (not found)
        low, high = entry["bits_per_byte"]["interval"]
        assert (low < 0 < high) == (not found)


def test_means_of_seeds_cross_by_more_than_rounding_too():
    seeds = [result(seed=s, curve={64: 3.0 + s / 10, 128: 2.9}) for s in (0, 1)]
    theirs = [rounded_otherwise(result("mpt", seed=s, curve={64: 3.0 + s / 10, 128: 2.9}), 2e-10) for s in (0, 1)]
    [part] = compared(*seeds, *theirs)["sets"]
    assert [len(line["runs"]) for line in part["lines"]] == [2, 2]
    assert part["crossings"][0]["at"] == []


def test_lines_of_seeds_cross_by_their_mean_nats():
    """At 64, two seeds far apart have a lower mean of nats than the other line, and a higher mean of perplexities."""
    far_apart = [result(seed=s, curve={64: nats, 128: 2.9}) for s, nats in enumerate((2.0, 4.0))]
    alike = [result("rotary", seed=s, curve={64: 3.05, 128: 2.8}) for s in (0, 1)]
    [part] = compared(*far_apart, *alike)["sets"]
    [crossing] = part["crossings"][0]["at"]
    assert (crossing["after"], crossing["before"]) == (64, 128)


def test_one_run_only_says_so():
    [part] = compared(result())["sets"]
    assert "only one run" in part["note"]
    assert part["pairs"] == []


def test_results_without_sums_by_article_are_compared_without_intervals():
    old = result("rotary")
    del old["groups"]
    for row in old["rows"]:
        del row["group_nats"]
    [pair] = compared(result(), old)["sets"][0]["pairs"]
    assert pair["lengths"][0]["perplexity"]["ratio"] == pytest.approx(1)
    assert pair["lengths"][0]["perplexity"]["interval"] is None


def test_results_whose_text_is_grouped_otherwise_are_compared_without_intervals():
    other = result("rotary")
    other["groups"]["words"][0] += 1
    other["groups"]["words"][1] -= 1
    [pair] = compared(result(), other)["sets"][0]["pairs"]
    assert pair["lengths"][0]["word_perplexity"] == {"ratio": pytest.approx(1), "interval": None}


def test_words_that_were_counted_otherwise_are_not_compared():
    older = result("rotary")
    older["data"]["words"] += 1
    [part] = compared(result(), older)["sets"]
    assert part["metrics"] == ["perplexity", "bits_per_byte"]
    assert part["note"] == "the runs have words counted differently, so perplexity per word is not compared"


def test_a_length_that_failed_is_left_out_of_every_comparison():
    broken = result("t5")
    broken["rows"][1] = {"length": 128, "stride": 128, "error": "out of memory: no"}
    part = compared(result(), broken)["sets"][0]
    assert [entry["length"] for entry in part["pairs"][0]["lengths"]] == [64]
    assert [entry["length"] for entry in part["lines"][1]["lengths"]] == [64]


def test_how_far_is_of_the_rows_that_are_there():
    """A length that lost its number since the file said how far: nobody may read that it held there."""
    broken = result("t5", {64: 3.0, 96: 3.0})
    broken["how_far"]["length"] = 96
    broken["rows"][0]["stride"] = 8
    broken["rows"][1] = {"length": 96, "stride": 8, "error": "not a number: perplexity is nan"}
    [told] = compared(broken)["sets"][0]["how_far"]
    assert (told["length"], told["breaks_at"], told["evaluated_to"]) == (64, 96, 64)


def test_results_are_found_by_file_run_folder_and_glob(tmp_path):
    files = []
    for run in ("a", "b"):
        (tmp_path / run / "evaluation").mkdir(parents=True)
        files.append(tmp_path / run / "evaluation" / "step-00000001-x.json")
        files[-1].write_text("{}")
    (tmp_path / "latest").symlink_to("b")
    assert find_results([str(tmp_path / "a")]) == files[:1]
    assert find_results([str(tmp_path / "*"), str(files[0])]) == files, "the pointer is met under its own name"
    assert find_results([str(tmp_path / "latest")]) == [tmp_path / "latest" / "evaluation" / files[1].name]
    assert find_results([str(tmp_path / "*" / "evaluation" / "*.json")])[:2] == files
    for nothing in ("none*", "none"):
        with pytest.raises(FileNotFoundError, match=r"there is no result file at .*none.*; python evaluate.py"):
            find_results([str(tmp_path / nothing)])


def test_older_files_without_a_tokenizer_are_told_apart_by_their_tokens():
    one, other = result(), result("rotary", tokens=3 * TOKENS)
    for content in (one, other):
        del content["data"]["tokenizer"]
    [part] = compared(one, other)["sets"]
    assert part["metrics"] == ["word_perplexity", "bits_per_byte"]


def test_seeds_with_another_tokenizer_are_another_line():
    other = result(seed=1)
    other["data"]["tokenizer"]["sha256"] = "another"
    assert len(compared(result(), other)["sets"][0]["lines"]) == 2


def test_where_every_row_failed_it_is_said():
    failed = [result("alibi"), result("t5")]
    for one in failed:
        one["rows"] = [{"length": 64, "stride": 64, "error": "out of memory: no"}]
    for some in (failed, failed[:1]):
        [part] = compared(*some)["sets"]
        assert "there is nothing to compare" in part["note"]


def test_without_a_common_length_there_is_nothing_to_compare():
    [part] = compared(result(), result("rotary", {256: 3.0}))["sets"]
    assert part["note"] == "no two runs have numbers at the same length: there is nothing to compare"
    assert part["pairs"][0]["lengths"] == []


def test_a_ratio_beyond_any_float_is_left_out():
    words = TOKENS // 2 + 1
    most = 705 * words.sum() / TOKENS.sum()  # each perplexity alone is a float
    [part] = compared(result(curve={64: 0.5, 128: 3.0}), result("rotary", {64: most, 128: 3.0}))["sets"]
    far, near = part["pairs"][0]["lengths"]
    assert far["word_perplexity"] == {}
    assert near["word_perplexity"]["ratio"] == pytest.approx(1.0)


def test_the_same_weights_by_two_protocols_are_no_refusal():
    sliding = result(protocol="stride-8")
    assert compared(result(), sliding)["refused"] == []
    assert len(compared(result(), result("rotary", protocol="stride-8"))["refused"]) == 1


def test_the_set_with_the_most_text_comes_first():
    part, whole = result(split="part"), result(split="whole")
    part["data"]["bytes"] -= 1
    for files in ((part, whole), (whole, part)):
        sets = compare([as_result(f"a/{n}.json", content) for n, content in enumerate(files)]).sets
        assert [one.first.data.split for one in sets] == ["whole", "part"]

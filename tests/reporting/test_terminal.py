import json
import math

from comparisons import compared

from alibi.reporting import results_table


def table_of(*paths, lengths=(64, 128)):
    [part] = compared(paths).sets
    return results_table(part, lengths)


def lines(make_result, *results, lengths=(64, 128)):
    return table_of(*(make_result(*r) for r in results), lengths=lengths).splitlines()


def test_one_row_a_run_one_column_a_length_and_the_training_length_marked(make_result):
    table = lines(make_result, ("alibi", {64: 20.0, 128: 19.456}), ("none", {64: 21.0, 128: 30.0}, 128))
    rows = [line.split() for line in table if line.startswith(("alibi", "none"))]
    assert rows[0] == ["alibi", "64", "0", "100", "20.00*", "19.46"]
    assert rows[1] == ["none", "128", "0", "100", "21.00", "30.00*"]
    assert rows[2][-2:] == ["475.19*", "448.98"], "per word: the same nats over 6,000 words"
    assert "12,345 tokens, 6,000 words, 54,321 bytes, every token scored once" in table[0]


def test_what_could_not_be_done_stands_with_its_reason(make_result):
    table = lines(make_result, ("t5", {64: 20.0, 128: "out of memory: tried 9 GiB"}))
    assert any("out of memory" in line and line.startswith("t5") for line in table)
    assert "t5 L=64 seed 0 at length 128: out of memory: tried 9 GiB." in table


def test_a_length_without_a_row_is_blank_and_large_numbers_are_short(make_result):
    table = lines(make_result, ("none", {64: 1234567.0}))
    assert next(line.split() for line in table if line.startswith("none"))[-1] == "1.235e+06*"


def test_the_scorer_is_named_where_it_is_not_the_usual_one(make_result):
    full, cached = compared([make_result(), make_result("t5", scorer="cached")]).sets
    usual, through = (results_table(part, [64]).splitlines()[0] for part in (full, cached))
    assert "toy validation, nonoverlapping: 12,345 tokens" in usual
    assert "toy validation, nonoverlapping, scored through the cached model: 12,345 tokens" in through


def test_text_without_words_is_told_in_bytes(make_result):
    data = {"name": "toy", "split": "test", "tokens": 9, "words": 3, "bytes": 40, "sha256": "1", "form": "files"}
    nats = 9 * math.log(20)
    row = {"length": 64, "stride": 64, "perplexity": 20.0, "bits_per_byte": nats / 40 / math.log(2), "nll_nats": nats}
    text = table_of(make_result(data=data, rows=[row]), lengths=[64])
    assert "bits per byte" in text
    assert "0.972*" in text
    assert "per word" not in text


def test_runs_that_look_alike_are_named(make_result, tmp_path):
    first, second = make_result(), make_result("none")
    twin = tmp_path / "another-run" / "evaluation" / first.name
    twin.parent.mkdir(parents=True)
    twin.write_text(first.read_text())
    text = table_of(first, second, twin, lengths=[64])
    assert "alibi (alibi-L64-seed0)" in text
    assert "alibi (another-run)" in text
    assert "none (" not in text


def with_tokenizer(name):
    data = {"name": "toy", "split": "validation", "tokens": 12345, "words": 6000, "bytes": 54321, "sha256": "1"}
    return data | {"tokenizer": {"name": name, "vocab_size": 4096, "sha256": name * 8}}


def test_an_interval_stands_under_its_number(make_result):
    path = make_result(curve={64: 39.68})
    content = json.loads(path.read_text())
    content["rows"][0]["interval"] = {"perplexity": [38.812, 40.571], "word_perplexity": None}
    path.write_text(json.dumps(content))
    text = table_of(path)
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("alibi"))
    assert lines[at].split()[-1] == "39.68*"
    assert lines[at + 1].split() == ["38.81–40.57"]
    assert "under a number its 95 % interval" in text
    assert text.count("95 %") == 1, "none where the metric has no interval"


def test_six_lengths_with_intervals_fit_120_columns(whole_study):
    paths = [path for path in [r.path for r in whole_study.results] if path.stem.endswith("nonoverlapping")]
    text = table_of(*paths, lengths=[128, 256, 512, 1024, 2048, 4096])
    assert max(len(line) for line in text.splitlines() if line.startswith(("alibi", "sin", " "))) <= 120


def test_numbers_per_token_of_different_tokenizers_stand_apart(make_result):
    paths = [make_result("alibi", data=with_tokenizer("bpe")), make_result("t5", data=with_tokenizer("byte"))]
    text = table_of(*paths, lengths=[64])
    per_token = [part for part in text.split("\n\n") if part.startswith("perplexity per token")]
    assert ["alibi" in part for part in per_token] == [True, False]
    assert ["t5" in part for part in per_token] == [False, True]
    assert "of tokenizer bpe of 4,096 (bpebpebp)" in per_token[0]
    [per_word] = [part for part in text.split("\n\n") if part.startswith("perplexity per word")]
    assert "alibi" in per_word
    assert "t5" in per_word

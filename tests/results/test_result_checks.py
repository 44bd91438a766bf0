import copy
import json

import pytest
from comparisons import compared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies import make_file, with_checksum

from alibi.reporting import results_table
from alibi.results import load_results

GROUPS = {"tokens": [1, 2], "words": [1, 2], "bytes": [1, 2]}


def test_a_result_file_is_read(make_result):
    [result] = load_results([make_result("t5", {64: 3.5, 128: "out of memory: no"}, seed=2)])
    weights = result.checkpoint
    assert (weights.model, weights.seq_len, weights.seed, weights.step) == ("t5", 64, 2, 100)
    assert result.rows[64]["perplexity"] == 3.5
    assert result.folder.name == "t5-L64-seed2"
    assert result.protocol == "toy-validation-nonoverlapping"
    assert result.content.sha256 is None, "an older file, without a checksum"


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"rows": []}', "1", "null", "[" * 100_000, '{"schema": 1, "x": "\\ud800"}']
)
def test_what_is_no_result_file_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json is no result file"):
        load_results([tmp_path / "x.json"])


def test_a_missing_file_a_folder_and_bytes_are_named(tmp_path):
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "b.json"):
        with pytest.raises(ValueError, match="is no result file"):
            load_results([path])


def test_a_file_cut_in_half_is_refused(tmp_path):
    path = make_file(tmp_path, "alibi", 0)
    path.write_text(path.read_text()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="Move the file away, and evaluate again"):
        load_results([path])


def test_another_schema_is_refused(make_result):
    with pytest.raises(ValueError, match="has schema 2; this version reads 1"):
        load_results([make_result(schema=2)])


def test_the_checksum_holds_and_a_hand_edited_file_is_refused(tmp_path):
    path = make_file(tmp_path, "alibi", 0)
    [result] = load_results([path])
    assert result.content.sha256
    content = json.loads(path.read_text())
    content["rows"][0]["perplexity"] -= 1e-9
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="does not match its own sha256: it was changed"):
        load_results([path])
    path.write_text(json.dumps(content, indent=8))
    content.pop("sha256")
    path.write_text(json.dumps(with_checksum(content), indent=1))
    assert load_results([path])[0].content.sha256, "spaces are no change"


def test_rows_with_nan_become_errors_and_can_have_no_checksum(make_result, tmp_path):
    [result] = load_results([make_result(curve={64: float("nan"), 128: float("inf"), 256: 3.0})])
    assert result.rows[64]["error"] == "not a number: perplexity is nan"
    assert result.rows[128]["error"] == "not a number: perplexity is inf"
    assert list(result.numbers) == [256]
    path = make_file(tmp_path, "alibi", 0)
    content = json.loads(path.read_text())
    content["rows"][0]["perplexity"] = float("nan")
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="does not match its own sha256"):
        load_results([path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["checkpoint"].pop("model"), "checkpoint.model is missing"),
        (lambda c: c["checkpoint"].update(seq_len="128"), "checkpoint.seq_len is '128', and must be a valid integer"),
        (lambda c: c["checkpoint"].update(seed=True), "checkpoint.seed is True"),
        (lambda c: c.update(data=[]), "data is .., and must be a valid dictionary"),
        (lambda c: c.update(rows={}), "rows is .., and must be a valid list"),
        (lambda c: c["rows"].append(3), r"rows\[2\] is 3, and must be a valid dictionary"),
        (lambda c: c["rows"][0].update(perplexity=-1), r"rows\[0\].perplexity is -1, and must be greater than 0"),
        (lambda c: c["rows"][0].update(perplexity=10**400), r"rows\[0\].perplexity is 1000.*\.\.\..*, and must be"),
        (lambda c: c["rows"][1].update(length=64), "length 64 appears in two rows"),
        (
            lambda c: c["rows"][0].update(interval={"perplexity": [1]}),
            "interval.perplexity is .1., and must have at least 2 items",
        ),
        (lambda c: c["rows"][0].update(context={"up_to": [1], "targets": [], "nll_nats": [2]}), "different lengths"),
        (lambda c: c.update(how_far={"within_percent": float("nan")}), "outside its rows it has a NaN or an infinity"),
        (lambda c: c["data"].update(words=0), r"data.words is 0, and must be greater than 0"),
        (lambda c: c["data"].update(name="a\x1b[2J"), r"data.name is .*, and must match pattern"),
        (
            lambda c: c["rows"][0].pop("nll_nats"),
            r"rows\[0\]: a row without an error must have nll_nats and perplexity",
        ),
        (
            lambda c: c.update(groups={"tokens": [1], "words": [1, 2], "bytes": [1]}),
            "groups: the lists have different lengths",
        ),
        (
            lambda c: c.update(groups=GROUPS) or c["rows"][0].update(group_nats=[1]),
            r"rows\[0\].group_nats has 1 numbers for 2 groups",
        ),
        (
            lambda c: c.update(change={"against": 64, "stride": 8, "lengths": [{"length": 64}]}),
            r"change.lengths\[0\].whole is missing",
        ),
        (lambda c: c["data"].update(tokenizer={"name": "bpe"}), "data.tokenizer.vocab_size is missing"),
    ],
)
def test_fields_that_lack_or_are_of_another_kind(make_result, change, message):
    path = make_result()
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_results([path])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("perplexity", 19.0, r"rows\[0\].perplexity is 19.0, and follows from nll_nats and tokens as 20"),
        ("perplexity", 20.0001, r"rows\[0\].perplexity is 20.0001"),
        ("word_perplexity", 400.0, r"rows\[0\].word_perplexity is 400.0, and .* words as 475.19"),
        ("bits_per_byte", 0.9, r"rows\[0\].bits_per_byte is 0.9, and .* bytes as 0.98"),
        ("nll_nats", 1e9, r"rows\[0\].perplexity is 20.* as inf"),
        (
            "scored_tokens",
            12344,
            r"rows\[0\].scored_tokens is 12344, and data.tokens 12345: every token is scored once",
        ),
    ],
)
def test_a_number_that_does_not_follow_from_its_nats_is_refused_without_a_checksum_too(
    make_result, name, value, message
):
    path = make_result()
    content = json.loads(path.read_text())
    assert "sha256" not in content
    content["rows"][0][name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_results([path])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_any_value_anywhere_is_read_or_refused(make_result, data):
    path = make_result(intervals={"level": 0.95}, how_far={"length": 64}, scorer="full")
    content = json.loads(path.read_text())
    content["rows"][0]["interval"] = {"perplexity": [1.0, 2.0]}
    content = copy.deepcopy(content)
    at = data.draw(st.sampled_from([p for p in places(content) if p]))
    value = data.draw(JSON)
    inner = content
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    path.write_text(json.dumps(content))
    try:
        load_results([path])
    except ValueError as error:
        named = str(path) in str(error)
    else:
        named = bool(results_table(compared([path]).sets[0], [64, 128]))
    assert named

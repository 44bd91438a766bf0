"""A run's row over the paper's: which numbers, and what is said of why levels cannot be compared."""

import pytest

from alibi.analysis import compare
from alibi.analysis.published import SHAPE, differences_in_setup
from alibi.reporting.report_tables import published_table
from alibi.results import load_results

DATA = {
    "name": "wikitext103", "split": "validation", "tokens": 217646, "words": 217646, "bytes": 1120192, "sha256": "a",
    "form": "tokens", "tokenizer": {"name": "word", "vocab_size": 267744, "sha256": "b"},
}  # fmt: skip
CHECKPOINT = {
    "path": "x", "sha256": "0", "step": 286000, "model": "alibi", "seq_len": 512, "seed": 0,
    "settings": {**SHAPE, "train.batch_tokens": 73728, "data.name": "wikitext103"},
}  # fmt: skip


@pytest.fixture
def beside(make_result):
    """The table for one run like the paper's, with what is given changed."""

    def make(curve=None, protocol="nonoverlapping", data=None, settings=None, **checkpoint):
        told = CHECKPOINT | checkpoint
        told["settings"] = {**told["settings"], **(settings or {})}
        path = make_result(
            curve=curve or {512: 19.8, 1024: 18.9, 4096: 18.5}, seq_len=told["seq_len"], protocol=protocol,
            data=DATA | (data or {}), checkpoint=told, scorer="full",
            how_far={"within_percent": 2.0, "length": 512, "training_length": 512},
        )  # fmt: skip
        results = load_results([path])
        [part] = compare(results).sets
        return published_table(part), differences_in_setup(results[0])

    return make


def test_a_run_of_the_papers_own_setup_stands_above_its_row(beside):
    table, differences = beside()
    assert differences == []
    assert [[main for main, _ in row] for row in table.rows] == [
        ["alibi L=512 seed 0", "19.80", "18.90", "18.50"],
        ["published, Tables 2-4, Table 5", "19.73", "18.81", ""],
    ]
    assert "the levels may be compared" in table.note


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"words": 1000}}, r"another text or a part of it (1,000 words, not 217,646)"),
        ({"data": {"form": "raw"}}, "the text in its form .raw, not .tokens"),
        ({"data": {"form": None}}, "the text in an unknown form, not .tokens"),
        (
            {"data": {"tokenizer": {"name": "bpe", "vocab_size": 8192, "sha256": "b"}}},
            "another vocabulary (bpe of 8,192 ids, not 267,744 words)",
        ),
        (
            {"data": {"tokenizer": {"name": "word", "vocab_size": 33280, "sha256": "b"}}},
            "another vocabulary (word of 33,280",
        ),
        ({"settings": {"data.name": "wikitext2"}}, "trained on other data (wikitext2, not wikitext103)"),
        ({"step": 10000}, "other updates (10,000 of 73,728 tokens, not 286,000 of 73,728)"),
        ({"settings": {"train.batch_tokens": 9216}}, "other updates (286,000 of 9,216 tokens"),
        ({"settings": {"model.d_model": 256}}, "another shape (d_model 256)"),
    ],
)
def test_what_is_not_alike_is_said(beside, change, reason):
    table, differences = beside(**change)
    assert len(differences) == 1
    assert reason in differences[0]
    assert "not its level" in table.note


def test_a_run_that_tells_nothing_of_its_training_is_not_comparable(beside, make_result):
    [result] = load_results([make_result(data=DATA)])
    assert differences_in_setup(result) == ["unknown training settings"]


def test_there_is_a_row_only_where_the_paper_has_the_same_length_training_length_and_protocol(beside):
    assert beside(curve={512: 19.0}, protocol="stride-1")[0].rows[1][1] == ("17.98", "")
    assert beside(curve={3072: 19.0}, protocol="stride-512")[0].rows[1][1] == ("18.30", "")
    assert not beside(curve={512: 19.0}, protocol="stride-64")[0].rows
    assert not beside(curve={4096: 19.0})[0].rows
    assert not beside(curve={512: 19.0}, seq_len=500)[0].rows
    assert not beside(curve={512: 19.0}, model="none")[0].rows

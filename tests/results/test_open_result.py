"""A result file in many hands: rows of several commands, machines and earlier versions."""

import errno
import fcntl
import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from alibi.analysis.change import add_changes
from alibi.analysis.curves import how_far
from alibi.files import explained
from alibi.results import Measured, OpenResult, load_result

NAME = "step-00000003-stdlib-test-nonoverlapping.json"
ONE, OTHER = {"git_commit": "a", "threads": 1}, {"git_commit": "a", "threads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "evaluation"


def opened(folder, *lengths, made_with=ONE, weights="ab", part=None, reuse=False, within_percent=2.0, **head_values):
    """A file opened by a command, and what it printed; other keywords are fields of the head."""
    head = {
        "schema": 1,
        "checkpoint": {"path": "run", "sha256": weights * 32, "step": 3, "model": "alibi", "seq_len": 16, "seed": 0},
        "data": {"name": "stdlib", "split": "test", "tokens": 100, "words": 80, "bytes": 400, "sha256": part or "cd"},
        "protocol": {"name": "nonoverlapping"}, "precision": "fp32", "scorer": "full", "made_with": made_with,
        "groups": {"tokens": [100], "words": [80], "bytes": [400]},
    }  # fmt: skip
    for name, value in head_values.items():
        head[name] = head[name] | value if isinstance(value, dict) else value
    told: list[str] = []
    measured = Measured("test", part or "cd", head["protocol"]["name"], head["precision"], head["scorer"], "stdlib")
    reach = partial(how_far, within_percent=within_percent)
    file = OpenResult(folder / f"step-00000003-{measured.slug('cd')}.json", head, list(lengths), reach, told.append)
    file.open(reuse)
    return file, told


def row(length: int, nats: float = 200.0) -> dict:
    return {
        "length": length,
        "stride": length,
        "perplexity": math.exp(nats / 100),
        "nll_nats": nats,
        "group_nats": [nats],
    }


def content_of(path: Path) -> dict:
    return json.loads(path.read_text())


def lengths_of(path: Path) -> list[int]:
    return list(load_result(path).rows)


def test_two_commands_at_once_keep_each_others_rows_and_margins(folder):
    one, other = opened(folder, 16)[0], opened(folder, 64, within_percent=5.0)[0]
    other.add(row(64))
    one.add(row(16))
    other.update(finished=True)
    one.update(finished=True)
    assert lengths_of(folder / NAME) == [16, 64]
    assert "unfinished" not in content_of(folder / NAME)
    assert [path.name for path in folder.iterdir()] == [NAME], "results and nothing else"


def test_many_at_the_same_moment(folder):
    files = [opened(folder, n)[0] for n in range(16, 32)]

    def work(file):
        file.add(row(file.lengths[0]))
        file.update(finished=True)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, files))
    assert lengths_of(folder / NAME) == list(range(16, 32))


def test_a_row_says_what_it_was_made_with_whatever_came_later(folder):
    opened(folder, 16)[0].add(row(16))
    opened(folder, 32, made_with=OTHER)[0].add(row(32))
    result = content_of(folder / NAME)
    assert [row["made_with"] for row in result["rows"]] == [ONE, OTHER]
    assert result["made_with"] == OTHER
    opened(folder, 64)[0].add(row(64))
    assert [row["made_with"] for row in content_of(folder / NAME)["rows"]] == [ONE, OTHER, ONE]


def test_rows_of_an_earlier_version_have_what_their_file_says(folder):
    opened(folder, 16)[0].add(row(16))
    old = content_of(folder / NAME)
    del old["rows"][0]["made_with"], old["sha256"], old["unfinished"]
    (folder / NAME).write_text(json.dumps(old))
    opened(folder, 32, made_with=OTHER)[0].add(row(32))
    assert [row.made_with for row in load_result(folder / NAME).content.rows] == [ONE, OTHER]


def test_what_did_not_end_is_gone_on_with_and_what_did_is_replaced(folder):
    opened(folder, 16, 32)[0].add(row(16))
    assert content_of(folder / NAME)["unfinished"] == [16]
    beside, told = opened(folder, 64)
    assert not told, "other lengths are another command"
    beside.add(row(64))
    beside.update(finished=True)
    assert content_of(folder / NAME)["unfinished"] == [16]
    again, told = opened(folder, 16, 32, made_with=OTHER)
    assert again.done == {16}
    assert "resuming an evaluation that did not end; it has lengths [16]" in " ".join(told)
    again.add(row(32))
    again.update(finished=True)
    assert "unfinished" not in content_of(folder / NAME)
    assert opened(folder, 16, 32)[0].done == set()
    assert opened(folder, 16, 32, reuse=True)[0].done == {16, 32}


def test_other_code_does_not_go_on_with_it(folder):
    opened(folder, 16, 32)[0].add(row(16))
    assert opened(folder, 16, 32, made_with={"git_commit": "b", "threads": 1})[0].done == set()


def test_a_row_without_a_number_is_done_again(folder):
    opened(folder, 16)[0].add({"length": 16, "stride": 16, "error": "out of memory"})
    assert opened(folder, 16)[0].done == set()


def test_other_weights_are_refused_and_nothing_is_renamed(folder):
    opened(folder, 16)[0].add(row(16))
    before = (folder / NAME).read_text()
    with pytest.raises(ValueError, match=f"{NAME} is of other weights.*Move it away"):
        opened(folder, 16, weights="ef")
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert (folder / NAME).read_text() == before


def test_other_weights_that_came_while_this_was_scored_are_kept(folder):
    file = opened(folder, 16)[0]
    opened(folder, 32, weights="ef")[0].add(row(32))
    with pytest.raises(ValueError, match="is of other weights"):
        file.add(row(16))
    assert lengths_of(folder / NAME) == [32]


def test_each_precision_and_scorer_has_a_file_of_its_own(folder):
    for nats, values in enumerate(({}, {"precision": "bf16"}, {"scorer": "cached"})):
        opened(folder, 16, **values)[0].add(row(16, 100.0 + nats))
    found = {path.name: load_result(path).rows[16]["nll_nats"] for path in folder.glob("*.json")}
    stem = NAME.removesuffix(".json")
    assert found == {NAME: 100.0, f"{stem}-bf16.json": 101.0, f"{stem}-cached.json": 102.0}


def scored(folder, **values):
    """The path of a result at the training length 16 and at 64."""
    file, _ = opened(folder, 16, 64, **values)
    for length in (16, 64):
        numbers = {"stride": 2} if "protocol" in values else {}
        if "groups" in values:
            numbers["group_nats"] = [120.0, 80.0]
        file.add(row(length) | numbers)
    return file.path


def test_a_change_is_split_by_a_twin_alone(folder):
    """The same weights, precision and groups of the text, at another protocol."""
    sliding = scored(folder, protocol={"name": "stride-2"})
    scored(folder, precision="bf16")
    scored(folder, weights="ef").rename(folder / NAME.replace("3", "4"))
    add_changes([sliding], print)
    assert "change" not in content_of(sliding)
    plain = scored(folder, groups={"tokens": [60, 40], "words": [50, 30], "bytes": [240, 160]})
    add_changes([sliding], print)
    assert "change" not in content_of(sliding)
    plain.unlink()
    scored(folder)
    add_changes([sliding], print)
    assert [part["length"] for part in content_of(sliding)["change"]["lengths"]] == [16, 64]


def test_sums_by_other_groups_are_left_out_and_made_again(folder):
    earlier = {"tokens": [60, 40], "words": [50, 30], "bytes": [240, 160]}
    opened(folder, 16, groups=earlier)[0].add(row(16) | {"group_nats": [120.0, 80.0]})
    assert opened(folder, 16, reuse=True)[0].done == set()
    opened(folder, 32)[0].add(row(32))
    kept, added = content_of(folder / NAME)["rows"]
    assert (kept["nll_nats"], "group_nats" in kept) == (200.0, False)
    assert added["group_nats"] == [200.0]


BPE, BYTE = ({"name": name, "vocab_size": 9, "sha256": name} for name in ("bpe", "byte"))


@pytest.mark.parametrize(
    ("there", "now", "what"),
    [
        ({"data": {"tokenizer": BPE}}, {"data": {"tokenizer": BYTE}}, "another tokenizer"),
        ({"data": {"tokens_sha256": "1"}}, {"data": {"tokens_sha256": "2"}}, "other token ids"),
        ({"protocol": {"first_input": "eos"}}, {"protocol": {"first_input": "bos"}}, "another first input"),
    ],
)
def test_rows_that_are_not_alike_share_no_file(folder, there, now, what):
    opened(folder, 16, **there)[0].add(row(16))
    with pytest.raises(ValueError, match=f"{NAME} is of {what}.*Move it away"):
        opened(folder, 32, **now)
    opened(folder, 32)[0].add(row(32))
    assert lengths_of(folder / NAME) == [16, 32], "a file that does not state it is no other one"


def test_a_part_is_named_by_its_hash_whatever_came_first(folder):
    part, whole = opened(folder, 16, part="ee" * 32)[0], opened(folder, 32)[0]
    whole.add(row(32))
    part.add(row(16))
    assert part.path.name == "step-00000003-stdlib-eeeeeeee-test-nonoverlapping.json"
    assert (lengths_of(part.path), lengths_of(folder / NAME)) == ([16], [32])


def test_a_part_that_an_old_version_gave_the_plain_name_is_refused_for_the_whole(folder):
    """It is never merged with the whole, renamed or lost; the same part goes into a file of its own."""
    part = opened(folder, 16, part="ee" * 32)[0]
    part.add(row(16))
    part.path.rename(folder / NAME)
    with pytest.raises(ValueError, match=f"{NAME} is of another text, or another part of it.*Move it away"):
        opened(folder, 32)
    again, told = opened(folder, 16, part="ee" * 32)
    again.add(row(16))
    assert told == []
    assert lengths_of(again.path) == lengths_of(folder / NAME) == [16]


def test_a_run_that_was_removed_is_not_made_again(folder):
    file = opened(folder, 16)[0]
    shutil.rmtree(folder.parent)
    with pytest.raises(FileNotFoundError, match=str(folder.parent)):
        file.add(row(16))
    assert not folder.parent.exists()


def test_a_disk_without_locks_is_told_before_anything_is_scored(folder, monkeypatch):
    def no_locks(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(OSError, match="No locks") as caught:
        opened(folder, 16)
    assert explained(caught.value).startswith(
        f"{folder.parent / '.evaluation.lock'}: this disk has no file locks. Turn them on"
    )

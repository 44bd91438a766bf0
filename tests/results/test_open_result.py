"""A result file in many hands: rows of several commands, machines and earlier versions."""

import errno
import fcntl
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alibi.faults import explained
from alibi.results.open_result import OpenResult
from alibi.results.result_json import read_result

NAME = "step-00000003-stdlib-test-nonoverlapping.json"
ONE, OTHER = {"git_commit": "a", "threads": 1}, {"git_commit": "a", "threads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "evaluation"


def opened(folder, *lengths, made_with=ONE, weights="ab", part=None, reuse=False, within_percent=2.0):
    """A file opened by a command, and what it was told."""
    head = {
        "schema": 1,
        "checkpoint": {"path": "run", "sha256": weights * 32, "step": 3, "model": "alibi", "seq_len": 16, "seed": 0},
        "data": {"name": "stdlib", "split": "test", "tokens": 100, "words": 80, "bytes": 400, "sha256": part or "cd"},
        "protocol": {"name": "nonoverlapping"}, "precision": "fp32", "scorer": "full", "made_with": made_with,
        "groups": {"tokens": [100], "words": [80], "bytes": [400]},
    }  # fmt: skip
    told: list[str] = []
    file = OpenResult(folder, "step-00000003", head, part is None, list(lengths), within_percent, told.append)
    file.open(reuse)
    return file, told


def row(length: int, nats: float = 200.0) -> dict:
    return {"length": length, "stride": length, "perplexity": 7.4, "nll_nats": nats, "group_nats": [nats]}


def lengths_of(path: Path) -> list[int]:
    return [row["length"] for row in read_result(path)["rows"]]


def test_two_commands_at_once_keep_each_others_rows_and_margins(folder):
    one, other = opened(folder, 16)[0], opened(folder, 64, within_percent=5.0)[0]
    other.add(row(64))
    one.add(row(16))
    other.end()
    one.end()
    assert lengths_of(folder / NAME) == [16, 64]
    assert "unfinished" not in read_result(folder / NAME)
    assert [path.name for path in folder.iterdir()] == [NAME], "results and nothing else"


def test_many_at_the_same_moment(folder):
    files = [opened(folder, n)[0] for n in range(16, 32)]

    def work(file):
        file.add(row(file.lengths[0]))
        file.end()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, files))
    assert lengths_of(folder / NAME) == list(range(16, 32))


def test_a_row_says_what_it_was_made_with_whatever_came_later(folder):
    opened(folder, 16)[0].add(row(16))
    opened(folder, 32, made_with=OTHER)[0].add(row(32))
    result = read_result(folder / NAME)
    assert [row["made_with"] for row in result["rows"]] == [ONE, OTHER]
    assert result["made_with"] == OTHER


def test_rows_of_an_earlier_version_have_what_their_file_says(folder):
    opened(folder, 16)[0].add(row(16))
    old = read_result(folder / NAME)
    del old["rows"][0]["made_with"], old["sha256"], old["unfinished"]
    (folder / NAME).write_text(json.dumps(old))
    opened(folder, 32, made_with=OTHER)[0].add(row(32))
    assert [row["made_with"] for row in read_result(folder / NAME)["rows"]] == [ONE, OTHER]


def test_what_did_not_end_is_gone_on_with_and_what_did_is_replaced(folder):
    opened(folder, 16, 32)[0].add(row(16))
    assert read_result(folder / NAME)["unfinished"] == [16]
    beside, told = opened(folder, 64)
    assert not told, "other lengths are another command"
    beside.add(row(64))
    beside.end()
    assert read_result(folder / NAME)["unfinished"] == [16]
    again, told = opened(folder, 16, 32, made_with=OTHER)
    assert again.done == {16}
    assert "going on with an evaluation that did not end; it has lengths [16]" in " ".join(told)
    again.add(row(32))
    again.end()
    assert "unfinished" not in read_result(folder / NAME)
    assert opened(folder, 16, 32)[0].done == set()
    assert opened(folder, 16, 32, reuse=True)[0].done == {16, 32}


def test_other_code_does_not_go_on_with_it(folder):
    opened(folder, 16, 32)[0].add(row(16))
    assert opened(folder, 16, 32, made_with={"git_commit": "b", "threads": 1})[0].done == set()


def test_a_row_without_a_number_is_done_again(folder):
    opened(folder, 16)[0].add({"length": 16, "stride": 16, "error": "out of memory"})
    assert opened(folder, 16)[0].done == set()


def test_nothing_that_makes_way_takes_the_place_of_another(folder):
    """Weights A, B, A, B: each of the four files is there at the end."""
    for nats, weights in enumerate(("ab", "ef", "ab", "ef")):
        file, told = opened(folder, 16, weights=weights)
        file.add(row(16, 100.0 + nats))
        assert (f"{NAME} is of other weights, and is now" in " ".join(told)) == (nats > 0)
    found = {read_result(path)["rows"][0]["nll_nats"] for path in folder.glob("*.json")}
    assert found == {100.0, 101.0, 102.0, 103.0}


def test_what_came_to_the_place_while_another_was_scored_is_kept(folder):
    file = opened(folder, 16)[0]
    opened(folder, 32, weights="ef")[0].add(row(32))
    file.add(row(16))
    assert lengths_of(folder / NAME) == [16]
    assert len(list(folder.glob("*.json"))) == 2


def test_an_old_part_under_the_plain_name_goes_where_no_other_file_is(folder):
    part = opened(folder, 16, part="ee" * 32)[0]
    part.add(row(16))
    shutil.copy(part.path, folder / NAME)
    whole, told = opened(folder, 32)
    whole.add(row(32))
    assert f"{NAME} is of another part of the text, and is now {part.path.stem}-2.json" in told
    assert lengths_of(part.path) == lengths_of(part.path.with_stem(f"{part.path.stem}-2")) == [16]
    assert lengths_of(folder / NAME) == [32]


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

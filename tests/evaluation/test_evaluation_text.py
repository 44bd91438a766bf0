"""The text that is scored: which share of it, whether it is the run's own, and what a result says of it."""

import json
import math
import re
import shutil
from dataclasses import replace

import pytest
from evaluations import evaluate_checkpoint

from alibi.analysis import compare
from alibi.commands import EvaluateCommand, evaluate
from alibi.commands.evaluate_command import OtherText
from alibi.data import DataConfig
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.paths import PathsConfig
from alibi.results import load_results
from alibi.runs import Checkpoint
from alibi.tracking import TrackingConfig
from alibi.training import train

NUM_FILES = 20


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(NUM_FILES):
        (folder / f"d{n:02}.txt").write_text(f"document {n:02} says little\n" * 3 + "and ends")
    return folder


@pytest.fixture
def other(own, tmp_path):
    """Documents of the same names that the run never saw."""
    folder = shutil.copytree(own, tmp_path / "other")
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("little", "much"))
    return folder


@pytest.fixture
def checkpoint(small_run, own, tmp_path):
    """Of a run on the folder's documents."""
    train(replace(small_run(max_steps=1), data=DataConfig("text", str(own))), tmp_path / "outputs" / "run")
    return Checkpoint(tmp_path / "outputs/run/checkpoints/step-00000001")


@pytest.fixture
def scored(checkpoint, own, cache):
    """Scores a folder or file; returns what is told of the part that is scored, the result file and its content."""

    def call(path=own, split="validation", lengths=(16,), max_tokens=None):
        asked = EvaluationSettings(lengths=list(lengths), split=split, max_tokens=max_tokens)
        text = open_evaluation_text(checkpoint, DataConfig("text", str(path)), asked, cache, quiet=True)
        [file] = evaluate_checkpoint(checkpoint, text, asked, "fp32")
        notes = tuple(note for note in text.notes if "this is not run's own text" not in note)
        return notes, file, json.loads(file.read_text())

    return call


def test_the_share_is_told_before_the_table_and_above_it(checkpoint, other, tmp_path, cache, capsys):
    asked, paths = EvaluationSettings(lengths=[16]), PathsConfig(str(tmp_path), str(cache))
    command = EvaluateCommand(str(checkpoint.run), asked, OtherText(path=str(other)), paths=paths, device="cpu")
    evaluate(replace(command, tracking=TrackingConfig("disabled")))
    before, table = capsys.readouterr().out.split("\n\n", 1)
    assert re.search(
        r"\nvalidation: 1 of 20 documents, \d+ bytes \(5 %\); eval.split=all scores every document\n", before
    )
    assert table.startswith("text validation (1 of 20 documents), nonoverlapping: ")
    assert "How far each run holds, text validation (1 of 20 documents), nonoverlapping" in table


def test_all_is_every_document_under_a_name_of_its_own(scored, other):
    notes, path, result = scored(other, "all")
    contents, data = [file.read_text() for file in other.iterdir()], result["data"]
    size = f"{sum(map(len, contents)):,} bytes (100 %)"
    assert notes == (f"all: 20 of 20 documents, {size}; the largest holds 5.07 % of its tokens",)
    assert data["largest_document"] == pytest.approx(max(map(len, contents)) / sum(map(len, contents)), rel=0.02)
    assert path.name == f"step-00000001-text-{data['sha256'][:8]}-all-nonoverlapping.json"
    assert (data["split"], data["documents"], data["documents_in_text"]) == ("all", 20, 20)
    assert data["bytes"] == sum(map(len, contents))
    assert data["words"] == sum(len(text.split()) + text.count("\n") for text in contents)
    notes, _, result = scored(other, "all", max_tokens=200)
    assert re.match(r"all: 3 of 20 documents, \d+ bytes \(13 %\); the largest holds ", notes[0])
    assert (result["data"]["documents"], result["data"]["documents_in_text"]) == (3, 20)


def test_all_of_the_runs_own_text_says_that_it_was_trained_on(scored):
    notes, path, _ = scored(split="all")
    assert "these are also the documents that the run was trained on" in notes[1]
    assert path.name == "step-00000001-text-all-nonoverlapping.json"
    notes, beside, _ = scored()
    assert re.fullmatch(r"validation: 1 of 20 documents, \d+ bytes \(5 %\)", *notes)  # the rest was trained on
    assert len(compare(load_results([path, beside])).sets) == 2


def test_a_folder_with_one_document_more_is_another_text(scored, own, tmp_path):
    more = shutil.copytree(own, tmp_path / "more")
    (more / "zz.txt").write_text("one more\n")
    _, path, result = scored(more, "all")
    assert result["data"]["documents"] == 21
    assert result["data"]["sha256"][:8] in path.name


@pytest.mark.parametrize("is_file", [False, True])
def test_a_text_without_splits_is_scored_whole(scored, tmp_path, is_file):
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "one.md").write_text("a short text,\nof two lines, without the last line end")
    given = folder / "one.md" if is_file else folder
    for split, more in (("all", ()), ("validation", ("fewer than three documents have no validation split",))):
        notes, _, result = scored(given, split)
        assert [result["data"][name] for name in ("split", "documents", "words")] == ["all", 1, 12]
        assert re.fullmatch(r"all: 1 of 1 documents, \d+ bytes \(100 %\)", notes[0])
        assert [note.partition(":")[0] for note in notes[1:]] == list(more)
    with pytest.raises(ValueError, match="split=test needs at least 3"):
        scored(given, "test")


def test_the_runs_pattern_is_for_folders_and_not_for_one_file(tmp_path):
    run, file = DataConfig("text", "docs", "**/*.txt"), tmp_path / "one.md"
    file.write_text("a\n")
    assert OtherText(path=str(file)).over(run) == DataConfig("text", str(file))
    assert OtherText(path=str(tmp_path)).over(run).pattern == "**/*.txt"


def test_rows_that_counted_other_words_lose_what_is_per_word(scored):
    _, path, old = scored()
    old["data"]["words"] += 1
    old["groups"]["words"][0] += 1
    for row in old["rows"]:
        row["word_perplexity"] = math.exp(row["nll_nats"] / old["data"]["words"])
    del old["sha256"]
    path.write_text(json.dumps(old))
    _, _, result = scored(lengths=[32])
    earlier, row = result["rows"]
    assert earlier["perplexity"] == old["rows"][0]["perplexity"]
    assert "word_perplexity" in row
    assert not {"word_perplexity", "interval"} & earlier.keys()
    path.with_name("old.json").write_text(json.dumps(old))
    [part] = compare(load_results([path, path.with_name("old.json")])).sets
    assert "word_perplexity" not in part.comparable
    assert "bits_per_byte" in part.comparable


def test_documents_that_changed_since_training_are_scored_only_on_demand(checkpoint, own, tmp_path, cache, capsys):
    """The split has moved with them, and may hold documents of the training split."""
    asked = EvaluationSettings(lengths=[16])
    command = EvaluateCommand(str(checkpoint.run), asked, paths=PathsConfig(str(tmp_path), str(cache)), device="cpu")
    command = replace(command, tracking=TrackingConfig("disabled"))
    evaluate(command)
    for path in sorted(own.iterdir()):
        path.write_text("changed\n" + path.read_text())
    with pytest.raises(ValueError, match=r"no longer those that it was split from.*data=text scores it anyway"):
        evaluate(command)
    evaluate(replace(command, data=OtherText(name="text", path=str(own))))
    assert "this is not run's own text" in capsys.readouterr().out

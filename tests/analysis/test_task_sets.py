"""Results on tasks compared: which runs learned, their means, which results stand together, and what stands beside."""

import pytest
from comparisons import compared
from result_files import make_result  # noqa: F401
from task_files import GUESSES, KNOWS, LEARNS, LENGTHS, SETTINGS, task_file

from alibi.analysis import compare_files
from alibi.analysis.tasks import TaskSet
from alibi.reporting.sentences import sentence_table
from alibi.reporting.training_log import read_learning


def only_set(paths):
    [part] = compared(paths).tasks
    return part


def files(root, *exacts, **about):
    """A run of each, by seeds from 0."""
    return [task_file(root, exact, seed=seed, **about) for seed, exact in enumerate(exacts)]


def test_means_are_of_the_runs_that_learned(tmp_path):
    [line] = only_set(files(tmp_path, (1.0, 0.5, 0.25), (0.5, 0.9, 0.9), (0.99, 0.75, 0.5))).lines
    assert line.label == "alibi L=16"
    assert [run.result.checkpoint.seed for run in line.runs] == [0, 1, 2]
    assert [run.result.checkpoint.seed for run in line.learned] == [0, 2]
    assert line.values(64, "exact_match") == [0.25, 0.5]
    assert line.values(64, "accuracy") == [0.625, 0.75]
    assert line.mean(64, "exact_match") == 0.375
    assert line.mean(32, "accuracy") == pytest.approx((0.75 + 0.875) / 2)


def test_a_line_that_nobody_learned_has_no_numbers(tmp_path):
    [line] = only_set(files(tmp_path, GUESSES, (0.98, 1.0, 1.0))).lines
    assert len(line.runs) == 2
    assert line.learned == []
    assert [line.values(n, "accuracy") for n in LENGTHS] == [[], [], []]
    assert [line.mean(n, "accuracy") for n in LENGTHS] == [None, None, None]


def test_a_row_that_failed_or_is_not_there_is_in_no_mean(tmp_path):
    part = only_set(files(tmp_path, (1.0, 0.5, "out of memory"), (1.0, 0.25)))
    [line] = part.lines
    assert part.lengths == [16, 32, 64], "a length that failed is still a column"
    assert len(line.learned) == 2
    assert line.mean(32, "exact_match") == 0.375
    assert line.mean(64, "exact_match") is None
    assert part.baseline == {16: 0.5, 32: 0.25}, "there is no row with a number at 64"


def test_a_set_knows_its_task_and_the_trivial_answer(tmp_path):
    part = only_set([task_file(tmp_path)])
    assert part.name == "mqar"
    assert part.title == "mqar test: keys 64, layout anywhere, load growing, trained at 16"
    assert part.slug == "mqar-test-aaaaaaaa"
    assert part.baseline == {16: 0.5, 32: 0.25, 64: 0.125}


@pytest.mark.parametrize("first", [0.001, 0.01])
def test_two_learning_rates_are_two_lines_and_the_best_learned_most_often(tmp_path, first):
    """The order of the files decides nothing; nor do numbers at longer lengths, as only some runs have them."""
    often = files(tmp_path, (1.0, 0.0, 0.0), (1.0, 0.0, 0.0), lr=0.001)
    once = files(tmp_path, (1.0, 1.0, 1.0), (0.98, 1.0, 1.0), (0.98, 1.0, 1.0), lr=0.01)
    part = only_set(often + once if first == 0.001 else once + often)
    assert {(line.label, len(line.learned), len(line.runs)) for line in part.lines} == {
        ("alibi L=16 lr 1e-3", 2, 2),
        ("alibi L=16 lr 0.01", 1, 3),
    }
    assert [line.label for line in part.best("alibi")] == ["alibi L=16 lr 1e-3"]


def test_how_often_is_a_share_of_the_runs(tmp_path):
    two_of_four = files(tmp_path, KNOWS, KNOWS, GUESSES, GUESSES, lr=0.001)
    part = only_set([*two_of_four, task_file(tmp_path, lr=0.01)])
    assert [line.label for line in part.best("alibi")] == ["alibi L=16 lr 0.01"]


@pytest.mark.parametrize("closer", [0.001, 0.01])
def test_where_lines_learned_as_often_exact_match_at_the_training_length_decides(tmp_path, closer):
    paths = []
    for lr in (0.001, 0.01):
        exacts = [(0.5, 0.0, 0.0), (0.75, 0.0, 0.0)] if lr == closer else [(0.5, 1.0, 1.0), (0.25, 1.0, 1.0)]
        paths += files(tmp_path, *exacts, lr=lr)
    [best] = only_set(paths).best("alibi")
    assert best.first.checkpoint.settings["optimizer.lr"] == closer


def test_the_best_is_of_one_method_and_an_unknown_method_has_none(tmp_path):
    part = only_set([task_file(tmp_path, GUESSES), task_file(tmp_path, KNOWS, "rotary")])
    for method in ("alibi", "rotary"):
        assert [line.label for line in part.best(method)] == [f"{method} L=16"]
    assert part.best("t5") == []


def sets_of_two(root, **other):
    """Of a run's results that differ in one thing, which its title says."""
    comparison = compared([task_file(root), task_file(root, **other)])
    assert len({run.label for part in comparison.tasks for run in part.runs}) == 1, "one run has one label"
    assert len(comparison.runs) == 1
    return comparison.tasks


@pytest.mark.parametrize(
    ("other", "slug", "ending"),
    [
        ({"strings": "b", "settings": SETTINGS | {"load": "fixed"}}, "mqar-test-bbbbbbbb", "load fixed, trained at 16"),
        ({"precision": "bf16"}, "mqar-test-aaaaaaaa-bf16", "load growing, trained at 16, bf16"),
        ({"strings": "b", "split": "validation"}, "mqar-validation-bbbbbbbb", "load growing, trained at 16"),
    ],
)
def test_other_strings_precision_or_split_are_another_set(tmp_path, other, slug, ending):
    first, second = sets_of_two(tmp_path, **other)
    assert isinstance(second, TaskSet)
    assert [len(part.runs) for part in (first, second)] == [1, 1]
    assert (first.slug, second.slug) == ("mqar-test-aaaaaaaa", slug)
    assert second.title.endswith(ending)
    assert first.title != second.title


def test_other_strings_of_the_same_settings_have_a_title_of_their_own(tmp_path):
    """As runs of two training lengths have them."""
    first, second = sets_of_two(tmp_path, strings="b")
    assert first.slug != second.slug
    assert first.title != second.title


def test_runs_on_the_same_strings_are_one_set_in_the_order_given(tmp_path):
    part = only_set([task_file(tmp_path, method=method) for method in ("rotary", "alibi", "none")])
    assert [line.label for line in part.lines] == ["rotary L=16", "alibi L=16", "none L=16"]


def test_tasks_and_texts_stand_beside_each_other(make_result, tmp_path):  # noqa: F811
    texts, tasks = [make_result("alibi"), make_result("t5")], files(tmp_path, KNOWS, GUESSES)
    alone = compared(tasks)
    assert (alone.sets, alone.refused, len(alone.tasks)) == ([], [], 1)
    assert [run.label for run in alone.runs] == ["alibi L=16 seed 0", "alibi L=16 seed 1"]
    assert not alone.has_intervals
    of_texts = compared(texts)
    assert (len(of_texts.sets), of_texts.tasks) == (1, [])
    both = compared([texts[0], *tasks, texts[1]])
    assert [len(part.runs) for part in (*both.sets, *both.tasks)] == [2, 2]
    assert [run.label for run in both.runs][:2] == ["alibi L=64 seed 0", "t5 L=64 seed 0"]
    assert len(both.runs) == 4
    assert both.refused == [], "a task is not refused beside a text"
    assert both.to_dict()["sets"] == of_texts.to_dict()["sets"], "tasks change nothing about texts"


def test_files_of_tasks_need_no_text(make_result, tmp_path):  # noqa: F811
    folders = [str(path.parents[1]) for path in files(tmp_path, KNOWS, GUESSES)]
    assert [len(part.runs) for part in compare_files(folders).tasks] == [2]
    texts = [
        make_result(method, checkpoint={"sha256": method, "step": 1, "model": method, "seq_len": 64, "seed": 0},
                    data={"name": "toy", "split": split, "tokens": 10, "words": 5, "bytes": 40, "sha256": split})
        for method, split in (("alibi", "validation"), ("t5", "test"))
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no two of these 2 runs may be compared"):
        compare_files(map(str, texts))
    both = compare_files([*folders, *map(str, texts)])
    assert (len(both.sets), len(both.tasks)) == (2, 1)
    assert "other split" in both.refusals(), "the texts are still not compared"


def test_learning_is_read_by_step_and_the_last_of_a_step_counts(tmp_path):
    folder = task_file(tmp_path).parents[1]
    assert read_learning(folder) == list(LEARNS)
    log = folder / "metrics.jsonl"
    lines = ['{"step": 300, "val/exact_match": NaN}', '{"step": 50, "val/loss": 1}']
    lines += ['{"step": 100, "val/exact_match": 0.5}', '{"step": 400, "val/exact']
    log.write_text("\n".join([log.read_text(), *lines]))
    assert read_learning(folder) == [(100, 0.5), (200, 1.0)]
    log.unlink()
    assert read_learning(folder) == []


def test_seeds_that_ended_at_different_steps_are_one_line(tmp_path):
    """Where train.stop_at ends them; an earlier checkpoint is a line of its own."""
    ends = [task_file(tmp_path, seed=seed, step=step, stop_at=1.0) for seed, step in ((0, 300), (1, 700))]
    [line] = only_set(ends).lines
    assert (line.label, len(line.runs)) == ("alibi L=16", 2)
    early = task_file(tmp_path, GUESSES, seed=1, step=400, stop_at=1.0)
    assert [one.label for one in only_set([*ends, early]).lines] == ["alibi L=16", "alibi L=16 step 400"]
    control = [task_file(tmp_path / "c", seed=seed, step=step) for seed, step in ((0, 300), (1, 700))]
    assert len(only_set(control).lines) == 2


def test_lines_trained_on_other_settings_than_tested_say_so(tmp_path):
    about = {"settings": SETTINGS | {"layout": "full"}, "strings": "b"}
    paths = [task_file(tmp_path / at, KNOWS, trained_with={"layout": at}, **about) for at in ("first", "full")]
    part = only_set(paths)
    assert [line.trained_on for line in part.lines] == [{"layout": "first"}, {}]
    assert len(part.best("alibi")) == 2
    [((_, _), (said, _))] = sentence_table(compared(paths)).rows
    assert "keys 64, layout full, load growing (trained with layout first): 1 of 1" in said
    assert "; keys 64, layout full, load growing: 1 of 1" in said

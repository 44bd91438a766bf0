"""Tasks: every string has the answers that its rule gives, and the same key gives the same string."""

import numpy as np
import pytest
from scipy import stats

from alibi.data import DataConfig, TrainingOrder
from alibi.data.order import Cursor
from alibi.data.tasks import IGNORED, Strings, TaskOrder, task_of
from alibi.model import output

LENGTHS = {"copy": 34, "mqar": 32, "crasp": 151}
CASES = [("copy", {}), ("copy", {"alphabet": 2}), ("crasp", {"k": 3}), ("crasp", {"k": 4})]
LAYOUTS, LOADS = ("anywhere", "first", "full"), ("growing", "fixed")
CASES += [("mqar", {"layout": layout, "load": load}) for layout in LAYOUTS for load in LOADS]


def words_of(task, inputs):
    return [task.tokenizer.words[i] for i in inputs]


def expected_answers(task, inputs):
    """The answer to each input by the rule, from the string alone."""
    words, answers = words_of(task, inputs), [None] * len(inputs)
    if task.name == "copy":
        words = [word for word in words if word != "<pad>"]
        middle = words.index("|")
        assert words[0] == "<s>"
        assert words[1:middle] == words[middle + 1 :]
        answers[middle : 2 * middle] = [*words[1:middle], "</s>"]
    if task.name == "crasp":
        blocks, before = 0, None
        for place, letter in enumerate(words[1:], 1):
            if letter != "<pad>":
                blocks += letter != before
                before = letter
                answers[place] = "yes" if blocks == task.settings.k else "no"
        assert blocks == task.settings.k
    if task.name == "mqar":
        value_of = {}
        for place in range(0, len(words) - 1, 2):
            key, value = words[place : place + 2]
            if key.startswith("k"):
                if key in value_of:
                    assert value == value_of[key]
                    answers[place] = value
                value_of[key] = value
    return answers


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("times", [1, 2, 3.5])
def test_every_answer_follows_from_the_string(name, settings, times):
    task = task_of(name, settings, LENGTHS[name])
    strings = task.held_out("test", int(times * LENGTHS[name]))
    for inputs, targets in zip(strings.inputs_SL[:100], strings.targets_SL[:100], strict=True):
        stated = [None if t == IGNORED else task.tokenizer.words[t] for t in targets]
        assert stated == expected_answers(task, inputs)
    assert (strings.targets_SL != IGNORED).any(1).all(), "a string without an answer"


def string_lengths(task, strings):
    return (strings.inputs_SL != 1).sum(1)


@pytest.mark.parametrize(("k", "decide"), [(3, True), (4, False)])
def test_counts_and_the_last_letter_decide_up_to_three_blocks(k, decide):
    """So a layer that counts letters can answer; for four it cannot."""
    task, answers = task_of("crasp", {"k": k}, 41), {}
    strings = task.strings(41, [(0, number) for number in range(2000)])
    for inputs, targets in zip(strings.inputs_SL, strings.targets_SL, strict=True):
        for stop in np.flatnonzero(targets != IGNORED) + 1:
            letters, counts = np.unique(inputs[1:stop], return_counts=True)
            seen = dict(zip(letters.tolist(), counts.tolist(), strict=True))
            answers.setdefault((tuple(seen.items()), inputs[stop - 1]), set()).add(targets[stop - 1])
    assert all(len(own) == 1 for own in answers.values()) == decide


@pytest.mark.parametrize("name", ["copy", "crasp"])
def test_longer_strings_are_all_longer_than_those_of_training(name):
    trained = LENGTHS[name]
    task = task_of(name, {}, trained)
    own = string_lengths(task, task.held_out("test", trained))
    assert (own.min(), own.max()) == (task.shortest, trained)
    for length in (trained + 2, 3 * trained // 2, 2 * trained, 4 * trained):
        found = string_lengths(task, task.held_out("test", length))
        low = max(trained, length - (trained - task.shortest))
        assert low <= found.min() < low + 4
        assert length - 1 <= found.max() <= length
    assert string_lengths(task, task.held_out("test", trained - 10)).max() <= trained - 10


def test_copy_has_the_lengths_that_were_asked_for():
    symbols = (string_lengths(None, task_of("copy", {}, 34).held_out("test", 51)) - 2) // 2
    assert (symbols.min(), symbols.max()) == (17, 24)
    assert (string_lengths(None, task_of("crasp", {}, 151).held_out("test", 301)) - 1).min() == 251


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_grow_with_the_length_or_are_fixed(layout):
    for load, pairs in (("growing", [4, 8, 64]), ("fixed", [4, 4, 4])):
        task = task_of("mqar", {"layout": layout, "load": load}, 32)
        for length, number in zip((32, 64, 512), pairs, strict=True):
            strings = task.held_out("validation", length)
            keys = [{word for word in words_of(task, s) if word[0] == "k"} for s in strings.inputs_SL[:20]]
            assert {len(one) for one in keys} == {number}
            assert (task.baseline(strings) == 1 / number) == (layout == "first"), (
                "others ask before all pairs are there"
            )


def test_layouts_differ_in_filler_and_place():
    filler = {}
    for layout in LAYOUTS:
        task = task_of("mqar", {"layout": layout}, 32)
        words = [words_of(task, s) for s in task.held_out("test", 64).inputs_SL[:50]]
        filler[layout] = np.mean([[word[0] in "n<" for word in one] for one in words])
        first = np.mean([one[0][0] == "k" and one[14][0] == "k" for one in words])
        assert (first == 1) == (layout in ("first", "full"))
    assert filler == {"anywhere": 0.25, "first": 0.25, "full": 0}


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_trivial_answer_is_as_right_as_stated(name, settings):
    """Simulated: a symbol of the copied string, a value of the string, the more frequent label."""
    task, draw = task_of(name, settings, LENGTHS[name]), np.random.default_rng(0)
    strings = task.held_out("test", LENGTHS[name])
    right, answers = 0, 0
    for inputs, targets in zip(strings.inputs_SL, strings.targets_SL, strict=True):
        asked = targets[targets != IGNORED]
        words = words_of(task, inputs)
        if name == "copy":
            chosen = draw.choice(asked[:-1], len(asked))
        elif name == "mqar":
            values = np.array([i if word[0] == "v" else 0 for i, word in zip(inputs, words, strict=True)])
            places = np.flatnonzero(targets != IGNORED)
            chosen = np.array([draw.choice(np.unique(values[:at][values[:at] > 0])) for at in places])
        else:
            chosen = np.full(len(asked), task.id_of(2))
        right, answers = right + (chosen == asked).sum(), answers + len(asked)
    low, high = stats.binomtest(int(right), answers).proportion_ci(0.9999)
    assert low <= task.baseline(strings) <= high


def test_strings_depend_on_key_and_settings_alone():
    task = task_of("mqar", {}, 32)
    blocks, cursor = TaskOrder(task, seed=3).blocks(Cursor(), 6)
    assert cursor == Cursor(0, 6)
    whole = TaskOrder(task, seed=3).read(blocks)
    parts = [TaskOrder(task, seed=3).read(blocks[place : place + 1]) for place in range(6)]
    assert np.array_equal(whole[0], np.concatenate([inputs for inputs, _ in parts]))
    assert not np.array_equal(whole[0], TaskOrder(task, seed=4).read(blocks)[0])
    again, _ = TaskOrder(task, seed=3).blocks(Cursor(1, 0), 6)
    assert not np.array_equal(whole[0], TaskOrder(task, seed=3).read(again)[0]), "another epoch has other strings"
    order = TaskOrder(task, seed=3)
    assert order.count_targets(blocks) == 6 * 8
    assert np.array_equal(order.read(blocks[::-1].copy())[0], whole[0][::-1]), "not the strings read before"


def test_splits_do_not_share_strings():
    task = task_of("copy", {}, 34)
    validation, test = (task.held_out(split, 34) for split in ("validation", "test"))
    assert validation.sha256 != test.sha256
    assert test.sha256 == task_of("copy", {}, 34).held_out("test", 34).sha256
    assert test.sha256 != Strings(test.inputs_SL, validation.targets_SL).sha256
    long = {tuple(s) for one in (validation, test) for s in one.inputs_SL[string_lengths(task, one) > 12]}
    for seed in range(4):
        assert long.isdisjoint(map(tuple, TaskOrder(task, seed).read(np.arange(1000))[0]))
    assert task.identity("test") != task_of("copy", {"alphabet": 32}, 34).identity("test")


@pytest.mark.parametrize(
    ("name", "task", "trained", "message"),
    [
        ("copy", {"alphabet": 1}, 34, r"data.task.alphabet \(1\) must be at least 2"),
        ("copy", {"letters": 3}, 34, "data.task.letters is not a setting of copy, which has alphabet"),
        ("copy", {"alphabet": True}, 34, r"data.task.alphabet \(True\) must be a whole number"),
        ("copy", {}, 3, r"train.seq_len \(3\) must be at least 4, the shortest string of copy"),
        ("mqar", {"layout": "last"}, 32, r"data.task.layout \('last'\) must be one of: anywhere, first, full"),
        (
            "mqar",
            {"keys": 8},
            128,
            r"train.seq_len: strings of 128 tokens have 16 pairs, more than data.task.keys \(8\)",
        ),
        ("mqar", {"keys": 2, "layout": "full"}, 6, r"train.seq_len \(6\) must be at least 8, the shortest"),
        ("crasp", {"k": 1}, 151, r"data.task.k \(1\) must be at least 2"),
    ],
)
def test_bad_settings_are_refused(name, task, trained, message):
    with pytest.raises(ValueError, match=message):
        task_of(name, task, trained)


@pytest.mark.parametrize(
    ("name", "task", "length", "message"),
    [
        ("copy", {}, 35, "none of 35 is longer than the trained ones; use 36"),
        ("mqar", {"load": "fixed"}, 22, r"eval.lengths \(22\) must be at least 24, for 4 pairs and their queries"),
        ("mqar", {"load": "fixed", "layout": "full"}, 8, r"must be at least 10, for 4 pairs and their queries"),
    ],
)
def test_a_length_without_strings_is_refused_and_the_next_has_some(name, task, length, message):
    own = task_of(name, task, LENGTHS[name])
    with pytest.raises(ValueError, match=message):
        own.check_length(length, "eval.lengths")
    strings = own.held_out("test", int(message.partition("least ")[2][:2] or 36))
    assert (strings.targets_SL != IGNORED).any(1).all()


def test_a_corpus_has_no_task_and_a_task_no_folder():
    assert DataConfig("mqar", task={"load": "fixed"}).task == {"keys": 64, "layout": "anywhere", "load": "fixed"}
    with pytest.raises(ValueError, match=r"data.task is for .*copy.*, and would be ignored by stdlib"):
        DataConfig("stdlib", task={"alphabet": 2})
    with pytest.raises(ValueError, match=r"data.path would be ignored by data=copy"):
        DataConfig("copy", path="/tmp")
    with pytest.raises(ValueError, match=r"neither a corpus nor a task; choose one of: .*stdlib.*copy"):
        DataConfig("copies")


def test_of_a_text_every_token_is_a_target(make_stream):
    order = TrainingOrder(make_stream(np.arange(64)), 16, seed=0)
    blocks, _ = order.blocks(Cursor(), 3)
    assert order.count_targets(blocks) == order.read(blocks)[1].size == 48


def test_data_and_model_agree_on_what_does_not_count():
    assert output.IGNORED == IGNORED

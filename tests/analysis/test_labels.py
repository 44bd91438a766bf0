"""Names of runs and lines: told apart, and the same in every set."""

import pytest
from result_files import as_result

from alibi.analysis.labels import label


def run(seed=0, step=9, weights=None, text="t" * 64, tokenizer="k" * 64, protocol="nonoverlapping", **settings):
    """What names depend on, of a result file."""
    return {
        "checkpoint": {
            "sha256": weights or f"{seed} {step} {settings} {text} {tokenizer}",
            "model": "alibi",
            "seq_len": 64,
            "seed": seed,
            "step": step,
            "settings": {"seed": seed, **settings},
            "training": {"text_sha256": text},
        },
        "data": {"split": "test", "sha256": "1", "tokenizer": {"name": "bpe", "vocab_size": 9, "sha256": tokenizer}},
        "protocol": {"name": protocol},
        "precision": "fp32",
    }


def untold(result):
    """The result as an older version wrote it."""
    del result["checkpoint"]["settings"], result["checkpoint"]["training"]
    return result


def named(files):
    """Labels of the runs and of the lines, in order."""
    labels = label([as_result(path, content) for path, content in files.items()])
    return [run for run, _, _ in labels], [line for _, _, line in labels]


@pytest.mark.parametrize(
    ("files", "runs", "lines"),
    [
        (
            {"a/evaluation/x": run(0), "b/evaluation/x": run(1)},
            ["alibi L=64 seed 0", "alibi L=64 seed 1"],
            ["alibi L=64", "alibi L=64"],
        ),
        (
            {"a/evaluation/x": run(step=2), "a/evaluation/y": run(step=4)},
            ["alibi L=64 seed 0 step 2", "alibi L=64 seed 0 step 4"],
            ["alibi L=64 step 2", "alibi L=64 step 4"],
        ),
        (
            {
                f"{seed}{width}/evaluation/x": run(seed, **{"model.d_model": width, "model.d_ff": 4 * width})
                for width in (16, 32)
                for seed in (0, 1)
            },
            [f"alibi L=64 seed {seed} d_model {width}" for width in (16, 32) for seed in (0, 1)],
            [f"alibi L=64 d_model {width}" for width in (16, 16, 32, 32)],
        ),
        (
            {"a/evaluation/x": run(**{"optimizer.lr": 1e-3}), "b/evaluation/x": run(1, **{"optimizer.lr": 5e-3})},
            ["alibi L=64 seed 0 lr 1e-3", "alibi L=64 seed 1 lr 5e-3"],
            ["alibi L=64 lr 1e-3", "alibi L=64 lr 5e-3"],
        ),
        (
            {
                "a/evaluation/x": run(step=2, **{"train.max_steps": 2, "model.num_layers": 1, "tokenizer.name": "bpe"}),
                "b/evaluation/x": run(step=3, **{"train.max_steps": 3, "model.num_layers": 1, "tokenizer.name": "hf"}),
            },
            ["alibi L=64 seed 0 step 2", "alibi L=64 seed 0 step 3"],
            ["alibi L=64 step 2", "alibi L=64 step 3"],
        ),
        (
            {
                "a/evaluation/x": run(**{"optimizer.lr": 1, "model.d_model": 16}),
                "b/evaluation/x": run(**{"optimizer.lr": 1, "model.d_model": 32}),
                "c/evaluation/x": run(**{"optimizer.lr": 2, "model.d_model": 32}),
            },
            [f"alibi L=64 seed 0 {apart}" for apart in ("lr 1 d_model 16", "lr 1 d_model 32", "lr 2")],
            [f"alibi L=64 {apart}" for apart in ("lr 1 d_model 16", "lr 1 d_model 32", "lr 2")],
        ),
        (
            {
                "a/evaluation/x": run(**{"model.num_layers": 2, "model.d_model": 64, "optimizer.lr": 3e-4}),
                "b/evaluation/x": run(**{"model.num_layers": 12, "model.d_model": 64, "optimizer.lr": 3e-4}),
                "c/evaluation/x": run(**{"model.num_layers": 12, "model.d_model": 64, "optimizer.lr": 2.5e-4}),
            },
            [f"alibi L=64 seed 0 {apart}" for apart in ("2 layers", "12 layers lr 3e-4", "12 layers lr 2.5e-4")],
            [f"alibi L=64 {apart}" for apart in ("2 layers", "12 layers lr 3e-4", "12 layers lr 2.5e-4")],
        ),
        (
            {"a/evaluation/x": run(**{"optimizer.momentum": 0.9}), "b/evaluation/x": run(1)},
            ["alibi L=64 seed 0 momentum 0.9", "alibi L=64 seed 1"],
            ["alibi L=64 momentum 0.9", "alibi L=64"],
        ),
        (
            {
                "a/evaluation/x": run(**{"data.path": "/one/letters"}),
                "b/evaluation/x": run(1, **{"data.path": "/two/letters"}),
            },
            ["alibi L=64 seed 0 (a)", "alibi L=64 seed 1 (b)"],
            ["alibi L=64 (a)", "alibi L=64 (b)"],
        ),
        (
            {"a/evaluation/x": run(), "b/evaluation/x": run(1, text="u" * 64)},
            ["alibi L=64 seed 0 text tttttttt", "alibi L=64 seed 1 text uuuuuuuu"],
            ["alibi L=64 text tttttttt", "alibi L=64 text uuuuuuuu"],
        ),
        (
            {"a/evaluation/x": run(), "b/evaluation/x": run(1, tokenizer="l" * 64)},
            ["alibi L=64 seed 0 tokenizer kkkkkkkk", "alibi L=64 seed 1 tokenizer llllllll"],
            ["alibi L=64 tokenizer kkkkkkkk", "alibi L=64 tokenizer llllllll"],
        ),
        (
            {"a/evaluation/x": run(weights="1"), "b/evaluation/x": run(weights="2"), "c/evaluation/x": run(1)},
            ["alibi L=64 seed 0 (a)", "alibi L=64 seed 0 (b)", "alibi L=64 seed 1 (c)"],
            ["alibi L=64 (a)", "alibi L=64 (b)", "alibi L=64 (c)"],
        ),
        (
            {"one/a/evaluation/x": run(weights="1"), "two/a/evaluation/x": run(weights="2")},
            ["alibi L=64 seed 0", "alibi L=64 seed 0 #2"],
            ["alibi L=64", "alibi L=64 #2"],
        ),
        (
            {"a/evaluation/x": run(), "a/evaluation/copy": run()},
            ["alibi L=64 seed 0", "alibi L=64 seed 0 #2"],
            ["alibi L=64", "alibi L=64 #2"],
        ),
        (
            {"a/evaluation/x": run(), "a/evaluation/y": run(protocol="stride-8")},
            ["alibi L=64 seed 0"] * 2,
            ["alibi L=64"] * 2,
        ),
        (
            {"a/evaluation/x": untold(run()), "b/evaluation/x": untold(run(1)), "c/evaluation/x": run(2)},
            [f"alibi L=64 seed {apart}" for apart in ("0 (a)", "1 (b)", "2 text tttttttt")],
            ["alibi L=64 (a)", "alibi L=64 (b)", "alibi L=64 text tttttttt"],
        ),
        (
            {"a/evaluation/x": run(None), "b/evaluation/x": run()},
            ["alibi L=64 (a)", "alibi L=64 seed 0 (b)"],
            ["alibi L=64 (a)", "alibi L=64 (b)"],
        ),
    ],
    ids=[
        "seeds", "steps", "two widths of two seeds", "another optimizer and seed",
        "several settings of which one is enough", "two settings where one is not enough", "layers and rates",
        "a setting of one alone", "two folders of one name", "another text", "another tokenizer",
        "a seed twice beside another", "the same seed in two folders", "a file copied in its folder", "two protocols",
        "older files that tell no settings", "no seed",
    ],
)  # fmt: skip
def test_names(files, runs, lines):
    assert named(files) == (runs, lines)


def test_seeds_at_other_steps_are_other_lines():
    """Their mean would mix the effect of the seed with that of the training time."""
    _, lines = named({"a/evaluation/x": run(0, step=2), "b/evaluation/x": run(1, step=4)})
    assert lines == ["alibi L=64 step 2", "alibi L=64 step 4"]


def test_what_no_label_may_hold_is_left_out_of_it():
    long = {f"{name}/evaluation/x": run(**{"model.a": name * 30, "model.b": f"\x1b{name}"}) for name in "ab"}
    assert named(long)[1] == ["alibi L=64 (a)", "alibi L=64 (b)"]


def test_a_line_has_one_name_in_every_set():
    """Two settings, only one of them evaluated by a second protocol."""
    one, other = {"optimizer.lr": 1}, {"optimizer.lr": 2}
    sliding = run(protocol="stride-8", **one)
    _, lines = named({"a/evaluation/n": run(**one), "b/evaluation/n": run(**other), "a/evaluation/s": sliding})
    assert lines == ["alibi L=64 lr 1", "alibi L=64 lr 2", "alibi L=64 lr 1"]


def test_a_setting_that_differs_between_methods_is_said_and_a_methods_own_is_not():
    """Two layers of one method beside twelve of another would pass for a comparison of methods."""
    shallow, deep, alike = (run(**{"model.num_layers": n, "optimizer.position_lr_multiplier": m, "train.seq_len": 64})
                            for n, m in ((2, None), (12, 10.0), (12, None)))  # fmt: skip
    deep["checkpoint"]["model"], alike["checkpoint"]["model"] = "t5", "rotary"
    alike["checkpoint"]["settings"] |= {"model.position.theta": 500.0}
    files = {f"{n}/evaluation/x": content for n, content in enumerate((shallow, deep, alike))}
    lines = ["alibi L=64 2 layers", "t5 L=64 12 layers position lr x10", "rotary L=64 12 layers"]
    assert named(files)[1] == lines


def test_a_method_with_a_window_is_no_further_seed_of_it():
    plain = run(seed=0, **{"model.position.name": "alibi"})
    windowed = run(seed=1, **{"model.position.name": "alibi", "model.window": 32})
    runs, lines = named({"a/evaluation/x": plain, "b/evaluation/x": windowed})
    assert lines == ["alibi L=64", "alibi L=64 window 32"]
    assert runs == ["alibi L=64 seed 0", "alibi L=64 seed 1 window 32"]


def test_two_tokenizers_are_told_apart_by_their_files_name():
    paths = ("/a/long/way/to/the/folder/of/one", "/a/long/way/to/the/folder/of/two")
    files = {f"{n}/evaluation/x": run(**{"tokenizer.path": path}) for n, path in enumerate(paths)}
    assert named(files)[1] == ["alibi L=64 tokenizer one", "alibi L=64 tokenizer two"]


def test_one_layer_is_no_layers():
    files = {f"{n}/evaluation/x": run(**{"model.num_layers": n}) for n in (1, 2)}
    assert named(files)[1] == ["alibi L=64 1 layer", "alibi L=64 2 layers"]

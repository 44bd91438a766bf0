"""Names of runs and lines: told apart, and the same in every set."""

from pathlib import Path

import pytest

from alibi.evaluation.names import Names


def run(seed=0, step=9, weights=None, **settings):
    """What names depend on, of a result file."""
    return {
        "checkpoint": {
            "sha256": weights or f"{seed} {step} {settings}",
            "model": "alibi",
            "seq_len": 64,
            "seed": seed,
            "step": step,
            "settings": {"seed": seed, **settings},
        },
        "data": {},
    }


def named(files):
    """Labels of the runs and of the lines, in order."""
    names = Names({Path(path): result for path, result in files.items()})
    return list(names.runs.values()), list(names.lines.values())


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
            {"a/evaluation/x": run(lr=1), "b/evaluation/x": run(seed=1, lr=2)},
            ["alibi L=64 seed 0", "alibi L=64 seed 1"],
            ["alibi L=64 (a)", "alibi L=64 (b)"],
        ),
        (
            {"one/a/evaluation/x": run(weights="1"), "two/a/evaluation/x": run(weights="2")},
            ["alibi L=64 seed 0", "alibi L=64 seed 0 #2"],
            ["alibi L=64", "alibi L=64 #2"],
        ),
        (
            {"a/evaluation/x": run(), "a/evaluation/y": run()},
            ["alibi L=64 seed 0"] * 2,
            ["alibi L=64"] * 2,
        ),
    ],
    ids=["seeds", "steps", "settings", "the same seed in two folders", "two protocols"],
)
def test_names(files, runs, lines):
    assert named(files) == (runs, lines)


def test_a_line_has_one_name_in_every_set():
    """Two settings, only one of them evaluated by a second protocol."""
    files = {"a/evaluation/n": run(lr=1), "b/evaluation/n": run(lr=2), "a/evaluation/s": run(lr=1)}
    _, lines = named(files)
    assert lines == ["alibi L=64 (a)", "alibi L=64 (b)", "alibi L=64 (a)"]

"""What the commands do with files from outside: any value anywhere is read, or refused by the file's name."""

import copy
import json
import os
import re
import shutil
import signal
from xml.etree import ElementTree

import pytest
from evaluations import evaluate_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alibi.analysis import compare_files
from alibi.commands import EvaluateCommand, evaluate, evaluate_runs
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.evaluation import checkpoint_results as evaluate_module
from alibi.paths import PathsConfig
from alibi.reporting import comparison_text
from alibi.runs import Checkpoint, checkpoint_of
from alibi.tracking import TrackingConfig
from alibi.training import train

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def pair(small_run, tmp_path, cache):
    """Result files of two runs: (path that may be changed, its content, the other path)."""
    files = []
    for method in ("alibi", "rotary"):
        folder = tmp_path / method
        train(small_run(method, max_steps=1), folder)
        checkpoint = Checkpoint(checkpoint_of(folder))
        text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), cache)
        asked = EvaluationSettings(lengths=[16, 64], stride=[None, 2])
        files.append(evaluate_checkpoint(checkpoint, text, asked, "fp32")[1])
    content = json.loads(files[0].read_text())
    del content["sha256"]  # or every change would be found by it
    return files[0], content, files[1]


@pytest.fixture
def evaluated(small_run, tmp_path, cache, capsys):
    """Evaluates a run of two updates, and returns what was printed."""
    train(small_run(max_steps=2), tmp_path / "run")

    def call(wandb="disabled", lengths=(16, 64), **settings):
        capsys.readouterr()
        asked = EvaluationSettings(lengths=list(lengths), **settings)
        tracking, paths = TrackingConfig(wandb=wandb), PathsConfig(str(tmp_path), str(cache))
        evaluate(EvaluateCommand(str(tmp_path / "run"), asked, tracking=tracking, paths=paths, device="cpu"))
        return capsys.readouterr().out

    return call


def test_why_there_are_no_intervals_is_said(evaluated):
    out = evaluated()
    assert "\nNo intervals: 1 group, 10 needed.\n" in out
    assert "95 %" not in out


def test_how_far_is_by_the_margin_that_was_asked_for_though_no_row_is_new(evaluated, tmp_path):
    assert re.search(r"alibi L=16 seed 0 +128 +2 % ", evaluated(stride=8))
    assert re.search(r"alibi L=16 seed 0 +128 +0\.5 % ", evaluated(stride=8, reuse=True, within_percent=0.5))
    [path] = (tmp_path / "run" / "evaluation").glob("*.json")
    assert json.loads(path.read_text())["how_far"]["within_percent"] == 0.5


def test_the_figure_has_a_line_for_each_width_and_none_over_both(small_run, tmp_path, cache, capsys):
    for number, (width, seed) in enumerate([(16, 0), (16, 1), (32, 0), (32, 1)]):
        config = small_run(seed=seed, max_steps=1)
        config.model.d_model, config.model.d_ff = width, 4 * width
        train(config, tmp_path / "runs" / str(number))
    paths, asked = PathsConfig(str(tmp_path), str(cache)), EvaluationSettings(lengths=[16, 64])
    runs = str(tmp_path / "runs" / "*")
    evaluate(EvaluateCommand(runs, asked, tracking=TrackingConfig("disabled"), paths=paths, device="cpu"))
    out = capsys.readouterr().out
    for width in (16, 32):
        assert len(re.findall(rf"(?m)^alibi d_model {width} +16 +[01] +1 ", out)) == 4, "two seeds in two tables"
    [figure] = (tmp_path / "runs" / "figures").glob("*.svg")
    texts = [element.text for element in ElementTree.parse(figure).iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if "alibi" in text] == ["alibi L=16 d_model 16", "alibi L=16 d_model 32"]


class Recorded:
    """In place of wandb, whose server fails: the mode, curves and figures of each evaluation."""

    curves: list[set[str]] = []  # noqa: RUF012, emptied by its fixture
    images: list[set[str]] = []  # noqa: RUF012
    modes: list[str] = []  # noqa: RUF012
    mode = "offline"

    def __init__(self, tracking, *of_the_run, resend):
        self.images.append(set())
        self.modes.append(tracking.wandb)

    def log_rows(self, rows):
        self.curves.append(set(rows))

    def log_results(self, rows, figures):
        assert all(path.exists() for path in figures)
        self.images[-1] |= {path.stem for path in figures}

    def close(self): ...


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(Recorded, "curves", [])
    monkeypatch.setattr(Recorded, "images", [])
    monkeypatch.setattr(Recorded, "modes", [])
    monkeypatch.setattr(evaluate_runs, "Wandb", Recorded)
    return Recorded


def test_curves_and_figures_are_called_as_their_files(evaluated, recorded, tmp_path):
    """A part of the text has its hash in the name, whether it came before the whole or after."""
    evaluated("offline", max_tokens=600)
    evaluated("offline")
    evaluated("offline", max_tokens=600, lengths=[32])
    evaluated("offline", max_tokens=600, cached=True, lengths=[16])
    whole, ([part], _, _, [cached]) = "wikitext2-validation-nonoverlapping", recorded.curves
    assert re.fullmatch("wikitext2-[0-9a-f]{8}-validation-nonoverlapping", part)
    assert recorded.curves == [{part}, {whole}, {part}, {f"{part}-cached"}]
    assert recorded.images == [{f"perplexity-{name}"} for name in (part, whole, part, cached)]
    files = {path.stem for path in (tmp_path / "run" / "evaluation").glob("*.json")}
    assert files == {f"step-00000002-{name}" for name in (part, whole, cached)}


@pytest.fixture
def three(small_run, tmp_path, monkeypatch):
    """Three runs of one update, r0 to r2, and what evaluate.py is told of them; no figures, which take their time."""
    monkeypatch.setattr(evaluate_runs, "draw_perplexity", lambda *drawn: [])
    for seed in range(3):
        train(small_run(max_steps=1, seed=seed), tmp_path / "outputs" / f"r{seed}")
    return "runs=outputs/r*", "eval.lengths=[16,64]", "device=cpu", "tracking.wandb=disabled"


def test_a_server_that_failed_once_is_not_waited_for_again(command, three, recorded):
    command("evaluate", *three, "tracking.wandb=online")
    assert recorded.modes == ["online", "offline", "offline"]


def rows_of(run):
    [path] = (run / "evaluation").glob("*.json")
    return {row["length"]: row for row in json.loads(path.read_text())["rows"]}


def after_the_first(monkeypatch, action):
    """Something that happens when one run has been scored, and the next has not."""
    score, begun = evaluate_runs.evaluate_checkpoint, []

    def wrapped(*args, **settings):
        begun.append(args[0])
        if len(begun) == 2:
            action()
        return score(*args, **settings)

    monkeypatch.setattr(evaluate_runs, "evaluate_checkpoint", wrapped)


@pytest.mark.parametrize(
    ("what", "named", "reason"),
    [
        ("a checkpoint goes", 1, "it is gone; a run in training removes its checkpoints"),
        ("weights are cut short", 1, "DamagedCheckpoint"),
        ("a result is damaged", 1, "is no result file"),
        ("an evaluated run goes", 0, "its results are gone"),
    ],
)
def test_one_run_that_cannot_be_evaluated_keeps_no_other(command, three, tmp_path, monkeypatch, what, named, reason):
    run = tmp_path / "outputs" / f"r{named}"
    checkpoint = run / "checkpoints" / "step-00000001"

    def happen():
        if what == "a checkpoint goes":
            shutil.rmtree(checkpoint)
        elif what == "weights are cut short":
            (checkpoint / "model.safetensors").write_bytes(b"short")
        elif what == "a result is damaged":
            (run / "evaluation").mkdir()
            (run / "evaluation" / "step-00000001-wikitext2-validation-nonoverlapping.json").write_text("{")
        else:
            shutil.rmtree(run)

    after_the_first(monkeypatch, happen)
    code, printed = command("evaluate", *three)
    assert (code, "Traceback" in printed) == (1, False)
    last = printed.partition("1 of 3 runs could not be evaluated")[2]
    assert f"{checkpoint.resolve()}: " in last
    assert reason in last
    assert "How far each run holds" in printed, "the others have their tables"
    for other in {0, 1, 2} - {named}:
        assert rows_of(tmp_path / "outputs" / f"r{other}").keys() == {16, 64}
    assert run.exists() == (what != "an evaluated run goes")


def test_where_none_could_be_evaluated_no_others_are_spoken_of(command, three, monkeypatch):
    def fails(*args, **settings):
        raise ValueError("edited")

    monkeypatch.setattr(evaluate_runs, "evaluate_checkpoint", fails)
    code, printed = command("evaluate", *three)
    assert (code, "3 of 3 runs could not be evaluated:\n" in printed) == (1, True)


def test_a_damaged_checkpoint_is_found_before_anything_is_scored(command, three, tmp_path):
    (tmp_path / "outputs" / "r2" / "checkpoints" / "last" / "model.safetensors").write_bytes(b"short")
    code, printed = command("evaluate", *three)
    assert code == 1
    assert "cut short or altered" in printed
    assert not list(tmp_path.glob("outputs/*/evaluation"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_evaluation_is_gone_on_with_by_the_same_command(command, three, tmp_path, monkeypatch, number):
    """Interrupted at the second length of the second run, it keeps the three rows that are there."""
    score, scored = evaluate_module.score_length, []

    def interrupted(text, length, *rest):
        if (length, len(scored)) == (64, 3):
            os.kill(os.getpid(), number)
        scored.append(length)
        return score(text, length, *rest)

    monkeypatch.setattr(evaluate_module, "score_length", interrupted)
    before = signal.getsignal(number)
    code, printed = command("evaluate", *three)
    assert code == 128 + number
    assert "finished work is kept, and the same command continues" in printed
    assert signal.getsignal(number) == before
    rows = [rows_of(tmp_path / "outputs" / f"r{n}") for n in range(2)]
    assert [list(r) for r in rows] == [[16, 64], [16]]
    scored.clear()
    code, printed = command("evaluate", *three)
    assert (code, scored) == (0, [64, 16, 64])
    assert printed.count("resuming an evaluation that did not end") == 2
    assert rows_of(tmp_path / "outputs" / "r0") == rows[0]
    assert command("evaluate", *three)[0] == 0
    assert scored == [64, 16, 64, *[16, 64] * 3], "an evaluation that ended is replaced"


def places(value, path=()):
    """Every key and index below `value`; of a long list the first two."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_any_value_anywhere_is_compared_or_refused(pair, data):
    path, good, other = pair
    content = copy.deepcopy(good)
    at = data.draw(st.sampled_from([place for place in places(content) if place]))
    inner = content
    for key in at[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[at[-1]] = data.draw(JSON)
    elif isinstance(inner, dict):
        del inner[at[-1]]
    path.write_text(json.dumps(content))
    try:
        comparison = compare_files([str(path), str(other)])
    except ValueError as error:
        named = str(path) in str(error)
    else:
        json.dumps(comparison.to_dict(), allow_nan=False)
        named = bool(comparison_text(comparison))
    assert named

"""What the commands do with files from outside: any value anywhere is read, or refused by the file's name."""

import copy
import json
import re
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alibi import commands
from alibi.commands import EvaluateCommand, compare, evaluate
from alibi.evaluation import EvaluationSettings, evaluate_checkpoint, open_evaluation_text
from alibi.reporting import comparison_text
from alibi.runs import Checkpoint, checkpoint_of
from alibi.tracking import TrackingConfig
from alibi.training import train
from alibi.training.settings import PathsConfig

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
        text = open_evaluation_text(checkpoint, checkpoint.data_config, "validation", None, cache)
        asked = EvaluationSettings(lengths=[16, 64], stride=[None, 2])
        files.append(evaluate_checkpoint(checkpoint, text, asked, torch.device("cpu"), "fp32")[1])
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
    assert "\nno intervals: 1 group, 10 needed\n" in out
    assert "95 %" not in out


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
    """In place of wandb: the curves and figures of each evaluation."""

    curves: list[set[str]] = []  # noqa: RUF012, emptied by its fixture
    images: list[set[str]] = []  # noqa: RUF012

    def __init__(self, *of_the_run):
        self.images.append(set())

    def log_rows(self, rows):
        self.curves.append(set(rows))

    def log_image(self, name, path):
        assert path.exists()
        self.images[-1].add(name)

    def log_table(self, *table): ...

    def close(self): ...


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(Recorded, "curves", [])
    monkeypatch.setattr(Recorded, "images", [])
    monkeypatch.setattr(commands, "Wandb", Recorded)
    return Recorded


def test_the_same_part_of_a_text_is_one_curve_whatever_its_file_is_called(evaluated, recorded):
    """A part that came first has the plain name until the whole takes it: the curve may not change its name then."""
    evaluated("offline", max_tokens=600)
    evaluated("offline")
    evaluated("offline", max_tokens=600, lengths=[32])
    evaluated("offline", max_tokens=600, cached=True, lengths=[16])
    whole = "wikitext2-validation-nonoverlapping"
    [tokens] = {int(name.split("-")[-2]) for name in recorded.curves[0]}
    assert tokens <= 600
    part, cached = f"{whole}-{tokens}-tokens", f"{whole}-cached-{tokens}-tokens"
    assert recorded.curves == [{part}, {whole}, {part}, {cached}]
    assert recorded.images == [{f"figures/perplexity-{name}"} for name in (part, whole, part, cached)]


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
        results, comparison = compare([str(path), str(other)])
    except ValueError as error:
        named = str(path) in str(error)
    else:
        json.dumps(comparison, allow_nan=False)
        named = bool(comparison_text(results, comparison))
    assert named

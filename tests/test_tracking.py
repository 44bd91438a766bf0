import json
import sys
from types import SimpleNamespace

import pytest

from alibi.tracking import MetricsFile, TrackingConfig, Wandb, read_metrics


def test_metrics_go_on_after_the_step_that_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0)
    for step in (1, 2, 3):
        first.log({"step": step, "train/loss": step / 3})
    first.close()
    with open(path, "a") as file:
        file.write('{"step": 4, "tra')  # killed while writing
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 3]
    again = MetricsFile(path, 2)
    again.log({"step": 3, "train/loss": 1.0})
    again.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("line", ['{"a": 1}', "garbage", "[1]"])
def test_a_line_that_is_no_metrics_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2, is no line of metrics"):
        MetricsFile(tmp_path / "metrics.jsonl", 5)


class FakeRun:
    def __init__(self):
        self.logged, self.metrics, self.finished = [], [], False

    def define_metric(self, name, step_metric=None):
        self.metrics.append((name, step_metric))

    def log(self, values):
        if "bad" in values:
            raise OSError("disk full")
        self.logged.append(values)

    def finish(self):
        self.finished = True


@pytest.fixture
def fake(monkeypatch):
    run, calls = FakeRun(), []
    module = SimpleNamespace(init=lambda **kw: calls.append(kw) or run, Settings=lambda **kw: kw, Image=str)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return SimpleNamespace(run=run, calls=calls, module=module)


def test_wandb_gets_axes_group_and_the_same_id(fake, tmp_path):
    wandb = Wandb(TrackingConfig(), tmp_path / "name", None, {"seed": 1}, "alibi")
    [call] = fake.calls
    assert (call["mode"], call["group"], call["name"], call["config"]) == ("offline", "alibi", "name", {"seed": 1})
    assert ("train/*", "train/tokens") in fake.run.metrics
    assert ("eval/*", "eval/length") in fake.run.metrics
    wandb.log({"train/loss": 1.0})
    wandb.close()
    assert fake.run.logged == [{"train/loss": 1.0}]
    assert fake.run.finished
    assert Wandb(TrackingConfig(), tmp_path, wandb.id, {}, "alibi").id == wandb.id == fake.calls[1]["id"]


def test_a_wandb_failure_is_said_once_and_stops_nothing(fake, tmp_path):
    wandb = Wandb(TrackingConfig(), tmp_path, None, {}, "alibi")
    with pytest.warns(UserWarning, match="wandb failed and is left out.*disk full"):
        wandb.log({"bad": 1})
    wandb.log({"train/loss": 2.0})
    wandb.close()
    assert fake.run.logged == []


def test_wandb_that_cannot_begin(fake, tmp_path, monkeypatch):
    def refused(**kwargs):
        raise ConnectionError("unreachable")

    fake.module.init = refused
    with pytest.warns(UserWarning, match="unreachable"):
        wandb = Wandb(TrackingConfig("online"), tmp_path, "abc", {}, "alibi")
    wandb.log({"train/loss": 1.0})
    wandb.close()
    assert wandb.id == "abc", "the id is kept for the next try"


def test_disabled_does_not_import_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    wandb = Wandb(TrackingConfig("disabled"), tmp_path, None, {}, "alibi")
    wandb.log({"train/loss": 1.0})
    wandb.close()


def test_bad_mode():
    with pytest.raises(ValueError, match="offline, online, disabled"):
        TrackingConfig("on")

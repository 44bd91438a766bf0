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
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2, is not a line of metrics"):
        MetricsFile(tmp_path / "metrics.jsonl", 5)


class FakeRun:
    def __init__(self):
        self.logged, self.metrics, self.finished, self.summary = [], [], False, {}

    def define_metric(self, name, step_metric=None, summary=None, hidden=None):
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

    def init(**kw):
        calls.append(kw)
        run.id = kw["id"]
        return run

    def nothing(*args): ...

    module = SimpleNamespace(
        init=init, Settings=lambda **kw: kw, Image=str, Table=lambda **kw: kw,
        setup=nothing, termsetup=nothing, teardown=nothing,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "wandb", module)
    return SimpleNamespace(run=run, calls=calls, module=module)


def test_wandb_gets_axes_group_and_the_same_id(fake, tmp_path):
    wandb = Wandb(TrackingConfig(), tmp_path / "name", None, {"seed": 1}, "alibi")
    [call] = fake.calls
    assert (call["mode"], call["group"], call["name"], call["config"]) == ("offline", "alibi", "name", {"seed": 1})
    assert ("train/*", "train/tokens") in fake.run.metrics
    assert ("eval/*", "eval/length") in fake.run.metrics
    wandb.log_step(line(1, train_loss=1.0))
    wandb.close()
    assert fake.run.logged == [{"train/tokens": 10, "train/loss": 1.0}]
    assert fake.run.finished
    assert Wandb(TrackingConfig(), tmp_path, wandb.id, {}, "alibi").id == wandb.id == fake.calls[1]["id"]


def test_a_wandb_failure_is_said_once_and_stops_nothing(fake, tmp_path):
    wandb = Wandb(TrackingConfig(), tmp_path, None, {}, "alibi")
    with pytest.warns(UserWarning, match="wandb failed and is left out.*disk full"):
        wandb.log_step({"tokens": 1, "bad": 1})
    wandb.log_step(line(2, train_loss=2.0))
    wandb.close()
    assert fake.run.logged == []


def line(step, **values):
    return {"step": step, "tokens": 10 * step, **{name.replace("_", "/", 1): v for name, v in values.items()}}


def test_what_an_earlier_process_sent_is_not_sent_again(fake, tmp_path):
    earlier = [line(1, train_loss=5.0, val_loss=4.0), line(2, train_loss=4.0, val_loss=3.0)]
    wandb = Wandb(TrackingConfig(), tmp_path, "abc", {}, "alibi", earlier)
    wandb.log_step(line(2, train_loss=4.0))
    assert fake.run.logged == []
    wandb.log_step(line(3, train_loss=3.5, val_loss=3.5))
    assert fake.run.logged == [{"train/tokens": 30, "train/loss": 3.5, "val/loss": 3.5}]
    assert fake.run.summary == {"val/loss": 3.0}, "the lowest was in the earlier process"


def test_a_new_run_sends_all(fake, tmp_path):
    wandb = Wandb(TrackingConfig(), tmp_path, None, {}, "alibi", [line(1, val_loss=1.0)])
    wandb.log_step(line(1, val_loss=2.0))
    assert fake.run.logged == [{"train/tokens": 10, "val/loss": 2.0}]
    assert fake.run.summary == {"val/loss": 2.0}


def row(length, **values):
    return {"length": length, "stride": length, "nll_nats": 10.0 * length, "perplexity": length / 2, **values}


def test_rows_are_curves_shortest_length_first_and_sent_once(fake, tmp_path):
    (tmp_path / "wandb").mkdir()
    rows = [row(64, group_nats=[1.0, 2.0], ok=True), row(32), {"length": 9, "error": "oom"}]
    wandb = Wandb(TrackingConfig(), tmp_path, "abc", {}, "alibi")
    wandb.log_rows({"text-test-a": rows, "text-test-b": [row(32)]})
    assert fake.run.logged == [
        {
            "eval/length": 32,
            "eval/text-test-a/nll_nats": 320.0, "eval/text-test-a/perplexity": 16.0,
            "eval/text-test-b/nll_nats": 320.0, "eval/text-test-b/perplexity": 16.0,
        },
        {"eval/length": 64, "eval/text-test-a/nll_nats": 640.0, "eval/text-test-a/perplexity": 32.0},
    ]  # fmt: skip
    assert fake.run.summary["eval/text-test-a/perplexity_64"] == 32.0
    assert ("eval/text-test-b/perplexity", "eval/length") in fake.run.metrics
    fake.run.logged.clear()
    again = Wandb(TrackingConfig(), tmp_path, "abc", {}, "alibi")
    again.log_rows({"text-test-a": [*rows, row(128)]})
    assert [values["eval/length"] for values in fake.run.logged] == [128]
    Wandb(TrackingConfig(), tmp_path, "other", {}, "alibi").log_rows({"text-test-a": [row(32)]})
    assert fake.run.logged[-1]["eval/length"] == 32, "another wandb run has none of them"


def test_results_are_a_table_and_figures(fake, tmp_path):
    rows = [{"a": "x", "b": None}, {"a": "y", "b": 1.5}]
    Wandb(TrackingConfig(), tmp_path, "abc", {}, "alibi").log_results(rows, [tmp_path / "f.png"])
    table = {"columns": ["a", "b"], "data": [["x", None], ["y", 1.5]]}
    assert fake.run.logged == [{"evaluation_table": table, "figures/f": str(tmp_path / "f.png")}]


def test_wandb_that_cannot_begin(fake, tmp_path, monkeypatch):
    def refused(**kwargs):
        raise ConnectionError("unreachable")

    fake.module.init = refused
    with pytest.warns(UserWarning, match="unreachable"):
        wandb = Wandb(TrackingConfig("online"), tmp_path, "abc", {}, "alibi")
    wandb.log_step(line(1, train_loss=1.0))
    wandb.close()
    assert wandb.id == "abc", "the id is kept for the next try"


def test_disabled_does_not_import_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    wandb = Wandb(TrackingConfig("disabled"), tmp_path, None, {}, "alibi")
    wandb.log_step(line(1, train_loss=1.0))
    wandb.close()


def test_bad_mode():
    with pytest.raises(ValueError, match="offline, online, disabled"):
        TrackingConfig("on")

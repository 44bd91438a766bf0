"""What wandb recorded and sent of a run that was interrupted, went on and was evaluated: real processes.

The first process is online and loses the server, the second is offline, the evaluation is online again.
"""

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import yaml
from offline_wandb import HEADER, chart_faults, read_offline_run, records
from servers.wandb_server import ReceivedRun, wandb_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TRAIN = [
    "size=tiny", "model=rotary", "data=wikitext2", "tokenizer=byte", "train.seq_len=32", "train.batch_tokens=256",
    "train.max_steps=6", "train.eval_every=3", "train.checkpoint_every=3", "train.eval_lengths=[64]", "device=cpu",
    "tracking.project=study",
]  # fmt: skip
# Ctrl-C at the beginning of update 5: 4 was logged, the newest checkpoint is of 3.
INTERRUPTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
from alibi import wandb_run
wandb_run.FINISH_SECONDS = 1
from alibi.training.update import Updater
update = Updater.update
def until(self, step, *rest):
    if step == 5:
        raise KeyboardInterrupt
    return update(self, step, *rest)
Updater.update = until
import runpy
sys.argv[0] = str(Path(sys.path[0]) / "train.py")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Study:
    """The run folder, and what each process recorded, in order: interrupted, resumed, evaluated."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, []

    def process(self, server: str, *command: str) -> subprocess.CompletedProcess:
        env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        env |= {"ALIBI_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"}
        env |= {"WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": server, "WANDB_CONFIG_DIR": str(self.folder / "home")}
        return subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=env, capture_output=True, text=True, timeout=200
        )

    def did(self, server: str, *command: str, fails_by: str = "") -> None:
        done = self.process(server, *command)
        assert (done.returncode != 0) == bool(fails_by), done.stdout + done.stderr
        assert fails_by in done.stderr, "it failed for another reason: " + done.stderr
        assert done.stderr.count("wandb failed") == bool(fails_by), done.stderr
        assert "wandb: " not in done.stdout + done.stderr, "what wandb itself says"
        [run] = (p for p in (self.folder / "outputs").iterdir() if not p.is_symlink())
        read = {r.folder for r in self.runs}
        new = [p for p in sorted(run.glob("wandb/*run-*/run-*.wandb")) if p.parent not in read]
        assert len(new) == 1
        self.run, self.runs = run, [*self.runs, read_offline_run(new[0])]

    def rows(self) -> list[dict]:
        return [row for run in self.runs for row in run.history]


@pytest.fixture(scope="module")
def study(tmp_path_factory, raw_lines) -> Study:
    folder = tmp_path_factory.mktemp("study")
    (folder / "corpus").mkdir()
    for split, lines in raw_lines.items():
        (folder / "corpus" / f"wiki.{split}.raw").write_bytes("".join(lines).encode())
    study = Study(folder)
    train = [*TRAIN, f"data.path={folder / 'corpus'}"]
    evaluate = ["eval.lengths=[64,32]", "eval.stride=[null,16]", "eval.max_tokens=2000"]
    online, interrupted = "tracking.wandb=online", "interrupted; finished work is kept"
    with wandb_server(fault_at_rows="die") as server:
        study.did(server.url, "-c", INTERRUPTED, str(ROOT), *train, online, fails_by=interrupted)
        server.fault = ""
        study.did(server.url, str(ROOT / "train.py"), *train)
        study.did(server.url, str(ROOT / "evaluate.py"), *evaluate, online)
        [study.arrived] = server.runs.values()
    return study


@pytest.fixture(scope="module", params=["sent by the evaluation", "sent by wandb sync"])
def arrived(request, study) -> ReceivedRun:
    """The run at a server."""
    if request.param == "sent by the evaluation":
        return study.arrived
    with wandb_server() as server:
        parts = sorted(map(str, study.run.glob("wandb/*run-*")))
        done = study.process(server.url, "-m", "wandb", "sync", "--include-online", "--include-synced", *parts)
        assert done.returncode == 0, done.stderr
        [run] = server.runs.values()
    return run


def test_what_arrives_is_what_the_files_have_once_and_in_order(study, arrived):
    def plain(line: dict) -> dict:
        """Without its time: of update 4, which was made twice, wandb has the first and metrics.jsonl the second."""
        return {name: value for name, value in line.items() if name not in ("step", "tokens") and name[:5] != "perf/"}

    lines = [json.loads(line) for line in (study.run / "metrics.jsonl").read_text().splitlines()]
    trained, evaluated = arrived.history[: len(lines)], arrived.history[len(lines) :]
    assert [plain(row) for row in trained] == [plain(line) | {"train/tokens": line["tokens"]} for line in lines]
    assert [row.keys() - {"train/tokens"} for row in trained] == [line.keys() - {"step", "tokens"} for line in lines]
    assert evaluated == study.runs[-1].history


def test_what_arrives_has_axes_summary_settings_and_files(study, arrived):
    metrics = arrived.config["_wandb"]["value"]["m"]  # 1 name, 2 pattern, 5 number of the axis, from 1 on
    axes = {metric.get("2", metric.get("1")): metrics[metric["5"] - 1]["1"] for metric in metrics if "5" in metric}
    assert {axes[name] for name in ("train/*", "val/*", "perf/*")} == {"train/tokens"}
    assert {axis for name, axis in axes.items() if name.startswith("eval/")} == {"eval/length"}
    for run in study.runs[1:]:
        expected = {name: value for name, value in run.summary.items() if name.split("/")[0] in ("val", "eval")}
        assert expected.items() <= arrived.summary.items()
    assert (arrived.project, arrived.name, arrived.group) == ("study", study.run.name, study.runs[0].group)
    assert arrived.config["train"]["value"]["seq_len"] == 32
    assert arrived.exit_code == 0
    assert {Path(name).suffix for name in arrived.files} >= {".png", ".json", ".yaml"}


def test_one_run_by_one_id(study):
    [identity] = {(r.id, r.project, r.group, r.name) for r in study.runs}
    _, project, group, name = identity
    assert (project, name) == ("study", study.run.name), "evaluate.py takes the project from the run"
    assert re.fullmatch(r"rotary-tiny-wikitext2-L\d+-[0-9a-f]{8}", group), "the run's name without its seed"
    assert len(study.runs) == 3
    assert all(run.resume for run in study.runs), "a sync appends, it does not replace"
    assert study.runs[-1].exit_code == 0


def test_every_chart_has_its_x_axis_and_no_axis_goes_back(study):
    assert chart_faults(study.runs) == []
    axes = {name: study.runs[0].metric(name).x_axis for name in study.runs[0].numbers()}
    assert set(axes) >= {"train/loss", "train/lr", "val/loss", "val/ppl_64", "val/bpb", "perf/tokens_per_sec"}
    assert set(axes.values()) == {"train/tokens", ""}
    assert [name for name, axis in axes.items() if not axis] == ["train/tokens"]
    evaluated = study.runs[-1]
    curves = [name for name in evaluated.numbers() if name != "eval/length"]
    assert {name.rpartition("/")[2] for name in curves} >= {"perplexity", "word_perplexity", "bits_per_byte"}
    for name in curves:
        section, measured, _ = name.split("/")
        assert section == "eval"
        assert re.fullmatch(r"wikitext2-[0-9a-f]{8}-validation-(nonoverlapping|stride-16)", measured), "a part says so"
        assert evaluated.metric(name).x_axis == "eval/length"
        assert [x for x, _ in evaluated.curve(name)] == [32, 64]


def test_training_is_recorded_once_and_as_in_the_metrics_file(study):
    lines = [json.loads(line) for line in (study.run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in study.rows() if "train/loss" in row]
    assert [row["train/tokens"] for row in rows] == [256 * step for step in range(1, 7)]
    for name in ("train/loss", "train/lr", "val/loss"):
        assert [row.get(name) for row in rows] == [line.get(name) for line in lines]
    assert [len([row for row in run.history if "train/loss" in row]) for run in study.runs] == [4, 2, 0]


def test_the_summary_has_the_lowest_validation(study):
    lines = [json.loads(line) for line in (study.run / "metrics.jsonl").read_text().splitlines()]
    for run, seen in zip(study.runs[:2], (lines[:4], lines), strict=True):
        for name in ("val/loss", "val/ppl", "val/word_ppl", "val/bpb", "val/ppl_64"):
            assert run.summary[name] == min(line[name] for line in seen if name in line)


def test_the_config_is_complete(study):
    config = yaml.safe_load((study.run / "config.yaml").read_text())
    for run in study.runs:
        assert {name: run.config.get(name) for name in config} == config | {"tracking": run.config["tracking"]}
    facts = study.runs[0].config["facts"]
    parameters = facts["parameters"]
    assert parameters["total"] == parameters["position"] + parameters["embedding"] + parameters["rest"] > 0
    assert (facts["vocab_size"], facts["processes"], facts["device"]) == (257, 1, "cpu")
    assert facts["validation_tokens"] > 0


def test_results_are_curves_table_and_figure(study):
    [evaluated] = study.runs[2:]
    results = {p.stem: json.loads(p.read_text()) for p in (study.run / "evaluation").glob("step-*.json")}
    assert len(results) == 2
    for stem, result in results.items():
        name = f"eval/{stem.removeprefix('step-00000006-')}/perplexity"
        values = [row["perplexity"] for row in result["rows"]]
        assert [y for _, y in evaluated.curve(name)] == values
        assert [evaluated.summary[f"{name}_{length}"] for length in (32, 64)] == values
    table = evaluated.table("evaluation_table")
    columns = ["run", "method", "training length", "protocol", "split", "length", "perplexity"]
    assert table["columns"][:7] == columns
    assert {(row[0], row[1], row[2]) for row in table["data"]} == {(study.run.name, "rotary", 32)}
    assert sorted(row[6] for row in table["data"]) == sorted(
        row["perplexity"] for result in results.values() for row in result["rows"]
    )
    images = evaluated.media("image-file")
    assert images
    assert all(name.startswith("figures/") for name in images)
    for image in (*images.values(), evaluated.media("table-file")["evaluation_table"]):
        assert (evaluated.folder / "files" / image["path"]).stat().st_size == image["size"]
        assert image["path"] in evaluated.files


WRONG = """
import wandb
run = wandb.init(project="p", id="wrong", dir=".", mode="offline", config={"long": "x" * 100_000, "nothing": None},
                 settings=wandb.Settings(silent=True, console="off"))
run.define_metric("val/*", step_metric="eval/length")
run.define_metric("val/ppl", step_metric="val/tokens", summary="min")
run.log({"val/loss": 3.0, "val/ppl": 9.0, "val/tokens": 20, "alone": 1})
run.log({"val/ppl": 8.0, "val/tokens": 10, "many": [1, 2], "train/loss": float("nan")})
run.finish()
"""


def test_wrong_axes_are_seen(tmp_path):
    """The control: a run that has every fault, and a record that spans blocks."""
    subprocess.run([sys.executable, "-c", WRONG], cwd=tmp_path, check=True, timeout=200)
    [path] = tmp_path.glob("wandb/offline-run-*/run-wrong.wandb")
    run = read_offline_run(path)
    assert run.config == {"long": "x" * 100_000, "nothing": None}
    assert not run.resume
    assert run.metric("val/loss").x_axis == "eval/length"
    assert run.metrics["val/ppl"].summary == {"min"}
    assert set(chart_faults([run])) >= {
        "val/ppl at val/tokens = 10 comes after 20", "alone has no x axis", "many is a list", "train/loss = nan",
    }  # fmt: skip
    assert run.curve("val/loss") == [(0, 3)], "where a row lacks its axis, wandb puts the axis' last value, or 0"


def test_a_file_cut_short_and_a_damaged_one():
    def chunk(data: bytes, kind: int = 1) -> bytes:
        return struct.pack("<IHB", zlib.crc32(bytes([kind]) + data), len(data), kind) + data

    whole = HEADER + chunk(b"one") + chunk(b"two")
    assert list(records(whole)) == [b"one", b"two"]
    assert list(records(whole[:-1])) == [b"one"]
    assert list(records(HEADER + chunk(b"on", 2) + chunk(b"", 3) + chunk(b"e", 4))) == [b"one"]
    with pytest.raises(ValueError, match="wrong checksum"):
        list(records(whole[:-1] + b"x"))
    with pytest.raises(ValueError, match="outside a record"):
        list(records(HEADER + chunk(b"one", 4)))
    with pytest.raises(ValueError, match="begins with"):
        list(records(b"garbage" + whole))

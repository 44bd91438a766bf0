"""Several processes, as torchrun starts them: what one process gives, and one message where something is wrong."""

import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from alibi.data import DataConfig, TokenizerConfig
from alibi.files import hold
from alibi.model import ModelConfig
from alibi.paths import PathsConfig
from alibi.runs import Checkpoint, Origin, RunFolder
from alibi.tracking import TrackingConfig, read_metrics
from alibi.training import RunConfig, train
from alibi.training.optimizer import OptimizerConfig
from alibi.training.resume import LOCK
from alibi.training.training_settings import TrainSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STEPS, HALF = 20, 10
MODES = ("ddp", "fsdp")
METHODS = {
    "t5": {"name": "t5", "num_buckets": 8},  # a table that layers share
    "line": {"name": "kerple_log"},  # and parameters of each layer, one method a kind of bias or turn
    "decay": {"name": "cable"},
    "query table": {"name": "inkling", "extent": 8, "scale_length": 16},
    "pair": {"name": "fire", "threshold": 4.0},
    "turn": {"name": "pope"},
    "pattern": {},
}
PATTERN = {
    "pattern": ["near", "far"],
    "layer_types": {
        "near": {"position": {"name": "alibi_learned"}, "window": 8, "sink_tokens": 2},
        "far": {"position": {"name": "none"}, "query_scale": {"name": "ssmax", "length": 16}},
    },
}
KINDS = [kind for kind in METHODS if kind != "t5"]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


class Runs:
    """Runs of one configuration, by name; a name is a folder."""

    def __init__(self, folder: Path, corpus: Path) -> None:
        self.folder, self.corpus = folder, corpus

    def config(self, parallel="ddp", resume="auto", lr=1e-2, method="t5", **layers) -> RunConfig:
        # Four micro-batches, so that two processes accumulate two each; 257 ids, which cannot be shared evenly.
        return RunConfig(
            model=ModelConfig(position=METHODS[method], num_layers=2, d_model=16, num_heads=2, **layers),
            data=DataConfig("wikitext2", str(self.corpus)),
            tokenizer=TokenizerConfig("byte"),
            optimizer=OptimizerConfig(lr=lr, min_lr=lr / 10),
            train=TrainSettings(
                seq_len=16, batch_tokens=128, micro_batch_tokens=32, max_steps=STEPS, eval_every=HALF,
                checkpoint_every=HALF, keep_last=10, parallel=parallel, resume=resume,
            ),
            tracking=TrackingConfig("disabled"),
            paths=PathsConfig(str(self.folder / "outputs"), str(self.folder / "cache")),
            device="cpu",
            precision="fp32",
        )  # fmt: skip

    def resumed(self, name: str, parallel: str) -> RunConfig:
        """A run that goes on from the middle of another one."""
        return self.config(parallel, str(self.folder / name / "checkpoints" / f"step-{HALF:08d}"))

    def by(self, *runs: tuple) -> None:
        """(number of processes, name, config, kills) of each; see runs_of_processes.py."""
        file = self.folder / "runs.pickle"
        file.write_bytes(pickle.dumps([(number, config, self.folder / name, k) for number, name, config, k in runs]))
        script = Path(__file__).with_name("runs_of_processes.py")
        done = subprocess.run([sys.executable, script, file], env=ENV, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("finished ") == len(runs)

    def by_one(self, name: str, config: RunConfig) -> None:
        train(config, self.folder / name)

    def lines(self, name: str) -> list[dict]:
        return read_metrics(self.folder / name / "metrics.jsonl")

    def weights(self, name: str) -> bytes:
        return (self.folder / name / "checkpoints" / "last" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def text(tmp_path_factory, raw_lines) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for split in ("train", "valid", "test"):
        (folder / f"wiki.{split}.raw").write_bytes("".join(raw_lines[split]).encode())
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, text) -> Runs:
    """1, 2 and 4 processes in both modes, runs that go on from each other's checkpoints, and runs that are killed."""
    runs = Runs(tmp_path_factory.mktemp("processes"), text)
    runs.by_one("one", runs.config())
    alike = [(number, f"{number} {mode}", runs.config(mode), ()) for number in (4, 2) for mode in MODES]
    resumed = [
        (4, "1 to 4 fsdp", runs.resumed("one", "fsdp"), ()),
        (2, "4 ddp to 2 fsdp", runs.resumed("4 ddp", "fsdp"), ()),
        (2, "4 fsdp to 2 ddp", runs.resumed("4 fsdp", "ddp"), ()),
    ]
    # One that only computes dies, and the one that writes; both behind a checkpoint.
    killed = [
        (4, "killed ddp", runs.config("ddp"), ((3, 13),)),
        (2, "killed fsdp", runs.config("fsdp"), ((0, 13),)),
    ]
    runs.by(*alike, *resumed, *killed)
    runs.by_one("2 fsdp to 1", runs.resumed("2 fsdp", "fsdp"))
    return runs


def worst_difference(ours: list[dict], wanted: list[dict]) -> float:
    """The largest relative one, of losses and norms of the same steps."""
    by_step = {line["step"]: line for line in wanted}
    names = ("train/loss", "train/grad_norm", "val/loss")
    pairs = [(line[n], by_step[line["step"]][n]) for line in ours for n in names if n in line]
    return max(abs(a - b) / b for a, b in pairs)


@pytest.mark.parametrize("name", ["2 ddp", "2 fsdp", "4 ddp", "4 fsdp"])
def test_many_processes_give_the_losses_of_one(runs, name):
    assert [line["step"] for line in runs.lines(name)] == list(range(1, STEPS + 1))
    assert worst_difference(runs.lines(name), runs.lines("one")) < 1e-6


def test_another_learning_rate_would_be_seen(runs):
    """Control: a ten-thousandth more is above the tolerance."""
    runs.by_one("control", runs.config(lr=1.0001e-2))
    assert worst_difference(runs.lines("control"), runs.lines("one")) > 1e-6


@pytest.mark.parametrize("name", ["1 to 4 fsdp", "4 ddp to 2 fsdp", "4 fsdp to 2 ddp", "2 fsdp to 1"])
def test_a_checkpoint_of_any_number_and_mode_goes_on_in_any_other(runs, name):
    assert [line["step"] for line in runs.lines(name)] == list(range(1, STEPS + 1))
    assert worst_difference(runs.lines(name), runs.lines("one")) < 1e-6


def test_weights_without_their_moments_would_be_seen(runs, monkeypatch):
    """Control of the resumed runs."""
    monkeypatch.setattr(Checkpoint, "load_moments", lambda self: {})
    runs.by_one("forgetful", runs.resumed("one", "ddp"))
    assert worst_difference(runs.lines("forgetful"), runs.lines("one")) > 1e-6


@pytest.mark.parametrize("name", ["4 fsdp", "4 ddp", "2 fsdp"])
def test_a_checkpoint_of_many_has_the_form_of_one(runs, name):
    ours, one = (Checkpoint(runs.folder / n / "checkpoints" / f"step-{STEPS:08d}") for n in (name, "one"))
    weights, wanted = (load_file(c.path / "model.safetensors") for c in (ours, one))
    assert {n: w.shape for n, w in weights.items()} == {n: w.shape for n, w in wanted.items()}
    shapes = [{name: moment.shape for name, moment in c.load_moments()} for c in (ours, one)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("name", "undisturbed"), [("killed ddp", "4 ddp"), ("killed fsdp", "2 fsdp")])
def test_killed_workers_change_nothing(runs, name, undisturbed):
    assert runs.weights(name) == runs.weights(undisturbed)
    assert worst_difference(runs.lines(name), runs.lines(undisturbed)) == 0
    assert [line["step"] for line in runs.lines(name)] == list(range(1, STEPS + 1))
    assert runs.weights(name) != runs.weights("one"), "control: other sums, other bits"


def test_a_run_from_an_origin_is_shared_by_processes(runs):
    """With a method of its own, so that some parameters start anew, and with the moments of the others."""
    origin = Origin.of(Checkpoint(RunFolder(runs.folder / "one").last()))

    def config(parallel: str, init_optimizer: bool = True) -> RunConfig:
        config = runs.config(parallel, method="line")
        train = replace(config.train, init_from=str(runs.folder / "one"), init_optimizer=init_optimizer, max_steps=4)
        return replace(config, train=train, origin=origin)

    runs.by_one("from one", config("ddp"))
    runs.by(*((2, f"from one {mode}", config(mode), ()) for mode in MODES))
    for mode in MODES:
        assert worst_difference(runs.lines(f"from one {mode}"), runs.lines("from one")) < 1e-6
    runs.by_one("from one, control", config("ddp", init_optimizer=False))
    assert worst_difference(runs.lines("from one, control"), runs.lines("from one")) > 1e-4


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, text) -> Runs:
    """One method a kind: by one process, without a stop and resumed half way, and by two in both modes."""
    kinds = Runs(tmp_path_factory.mktemp("kinds"), text)

    def config(kind: str, **values) -> RunConfig:
        return kinds.config(method=kind, **values, **(PATTERN if kind == "pattern" else {}))

    for kind in KINDS:
        kinds.by_one(kind, config(kind))
        half = kinds.folder / kind / "checkpoints" / f"step-{HALF:08d}"
        kinds.by_one(f"{kind} resumed", config(kind, resume=str(half)))
    kinds.by(*((2, f"{kind} {mode}", config(kind, parallel=mode), ()) for kind in KINDS for mode in MODES))
    return kinds


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_method_resumes_bit_for_bit_and_is_shared_by_processes(kinds, kind):
    assert kinds.weights(f"{kind} resumed") == kinds.weights(kind)
    for mode in MODES:
        assert worst_difference(kinds.lines(f"{kind} {mode}"), kinds.lines(kind)) < 1e-5, mode
    others = [kinds.lines(other) for other in KINDS if other != kind]
    assert min(worst_difference(kinds.lines(kind), lines) for lines in others) > 1e-3, "control: another method"


def test_what_process_0_alone_finds_wrong_ends_all_with_one_message(corpus, cache, tmp_path):
    settings = [
        "data=wikitext2", f"data.path={corpus}", "tokenizer=byte", "size=tiny", "device=cpu", "train.seq_len=32",
        "train.batch_tokens=64", "train.max_steps=2", "tracking.wandb=disabled", "run_dir=run",
    ]  # fmt: skip
    (tmp_path / "run").mkdir()
    with hold(tmp_path / "run" / LOCK):
        begun = time.monotonic()
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        done = subprocess.run(
            [*start, ROOT / "train.py", *settings], cwd=tmp_path, env=ENV | {"ALIBI_CACHE": str(cache)},
            capture_output=True, text=True, timeout=200,
        )  # fmt: skip
    assert done.returncode != 0
    assert time.monotonic() - begun < 60
    assert done.stderr.count("another process is training run") == 1
    before_torchrun_speaks = done.stderr.partition("torch.distributed.elastic.multiprocessing.errors.ChildFailedError")[
        0
    ]
    assert before_torchrun_speaks.count("Traceback") <= 1  # its own

"""Disks that are full or closed, with the system's own refusals: what was there stays, and the same command goes on."""

import ctypes
import os
import resource
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from evaluations import evaluate_checkpoint

from alibi.evaluation import open_evaluation_text
from alibi.evaluation.evaluation_settings import EvaluationSettings
from alibi.files import explained
from alibi.runs import Checkpoint, RunFolder, checkpoint_of
from alibi.tracking import MetricsFile, read_metrics
from alibi.training import train

ON_A_FULL_DISK = "Free space there, or choose another place"


@contextmanager
def files_of_at_most(num_bytes: int):
    """What is written beyond is refused by the system (EFBIG), as by a full disk in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path):
    """Make a real file system of so many KiB at a path."""
    mounted = []

    def make(path: Path, kib: int) -> Path:
        path.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", path]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


@contextmanager
def closed(folder: Path):
    """A folder that may be read and not written; root gives up for a while what lets it write anywhere."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc, mode = ctypes.CDLL(None), folder.stat().st_mode
    folder.chmod(0o555)
    if root := os.geteuid() == 0:
        assert libc.capget(header, data) == 0
        everything, data[0] = data[0], data[0] & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        if root:
            data[0] = everything
            assert libc.capset(header, data) == 0
        folder.chmod(mode)


def overrides(run: Path, corpus: Path, *more: str) -> list[str]:
    return [
        *("device=cpu", "size=tiny", "model.d_model=16", "model.num_heads=2", "model.num_layers=1", "precision=fp32"),
        *("data=wikitext2", f"data.path={corpus}", "tracking.wandb=disabled", "tokenizer=byte", "train.seq_len=16"),
        *("train.batch_tokens=64", "train.micro_batch_tokens=32", "train.eval_every=1000", f"run_dir={run}"),
        *("train.checkpoint_every=3", "train.max_steps=9", *more),
    ]  # fmt: skip


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_checkpoint_that_does_not_fit_leaves_the_ones_before(command, corpus, tmp_path):
    run = tmp_path / "run"
    assert command("train", *overrides(run, corpus, "train.max_hours=1e-9"))[0] > 128
    before = everything(run / "checkpoints")
    for limit, name in ((10_000, "model.safetensors"), (35_000, "training_state.safetensors")):
        with files_of_at_most(limit):
            code, printed = command("train", *overrides(run, corpus))
        assert (code, "Traceback" in printed) == (1, False)
        assert f"step-00000003/{name}: the file would be larger than the system allows" in printed
        assert ON_A_FULL_DISK in printed
        assert everything(run / "checkpoints") == before
        assert not list((run / "checkpoints").glob(".*"))
    code, printed = command("train", *overrides(run, corpus))
    assert code == 0
    assert "from step 1 to 9 steps" in printed
    assert [line["step"] for line in read_metrics(run / "metrics.jsonl")] == list(range(1, 10))


def test_a_real_disk_that_is_full(command, corpus, tmp_path, small_disk):
    run = small_disk(tmp_path / "disk", 260) / "run"
    code, printed = command("train", *overrides(run, corpus, "train.keep_last=9"))
    assert (code, "Traceback" in printed) == (1, False)
    assert f"{run}" in printed
    assert f"the disk is full. {ON_A_FULL_DISK}" in printed
    steps = RunFolder(run).saved_steps()
    assert steps
    assert not list((run / "checkpoints").glob(".*"))
    for step in steps:
        Checkpoint(run / "checkpoints" / f"step-{step:08d}").load_model()
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] >= steps[-1]
    # The same command, where there is space.
    subprocess.run(["mount", "-o", "remount,size=4m", run.parent], check=True)
    code, printed = command("train", *overrides(run, corpus, "train.keep_last=9"))
    assert code == 0
    assert f"from step {steps[-1]} to 9" in printed


@pytest.mark.parametrize(
    ("limit", "more", "name"),
    [(30_000, [], "tokens.bin"), (2_000, ["tokenizer=bpe", "tokenizer.vocab_size=300"], "tokenizer.json")],
)
def test_a_cache_that_does_not_fit_is_not_taken_for_one(command, corpus, tmp_path, cache, limit, more, name):
    with files_of_at_most(limit):
        code, printed = command("train", *overrides(tmp_path / "run", corpus, *more))
    assert (code, "Traceback" in printed) == (1, False)
    assert f"{name}: the file would be larger than the system allows" in printed
    assert "paths.cache" in printed
    assert not list(cache.rglob(f"*{name}"))
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert command("train", *overrides(tmp_path / "run", corpus, *more, "train.max_steps=1"))[0] == 0


def test_a_cache_on_a_real_disk_that_is_full(command, corpus, tmp_path, small_disk, monkeypatch):
    disk = small_disk(tmp_path / "disk", 40)
    monkeypatch.setenv("ALIBI_CACHE", str(disk / "cache"))
    code, printed = command("train", *overrides(tmp_path / "run", corpus))
    assert (code, "Traceback" in printed) == (1, False)
    assert f"the disk is full. {ON_A_FULL_DISK}" in printed
    assert not list(disk.rglob("*.bin"))


def test_a_log_that_does_not_fit_has_no_half_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsFile(path, 0)
    lines = iter([{"step": step, "tokens": step * 64, "train/loss": 1.0} for step in range(1, 50)])

    def log_them_all():
        for line in lines:
            log.log(line)

    with files_of_at_most(500), pytest.raises(OSError, match=r"metrics\.jsonl") as caught:
        log_them_all()
    assert explained(caught.value).startswith(f"{path}: the file would be larger than the system allows")
    text = path.read_text()
    assert text.endswith("\n")
    last = text.count("\n")
    assert [line["step"] for line in read_metrics(path)] == list(range(1, last + 1))
    log_them_all()  # with space again: only the line that did not fit is missing, and its step is done again
    log.close()
    assert [line["step"] for line in read_metrics(path)] == [*range(1, last + 1), *range(last + 2, 50)]
    with files_of_at_most(100), pytest.raises(OSError, match=r"metrics\.jsonl"):
        MetricsFile(path, 49)
    assert len(read_metrics(path)) == 48
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_result_that_does_not_fit_leaves_the_one_before(small_run, tmp_path, cache):
    train(small_run(max_steps=1), tmp_path / "run")
    checkpoint = Checkpoint(checkpoint_of(tmp_path / "run"))
    text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), cache)

    def evaluate(*lengths):
        settings = EvaluationSettings(lengths=list(lengths))
        return evaluate_checkpoint(checkpoint, text, settings, "fp32")

    [path] = evaluate(16)
    before = everything(path.parent)
    with files_of_at_most(len(before[path.name]) + 20), pytest.raises(OSError, match=path.name) as caught:
        evaluate(32)
    assert ON_A_FULL_DISK in explained(caught.value)
    assert everything(path.parent) == before
    evaluate(32)


@pytest.mark.parametrize("what", ["outputs", "cache", "checkpoints"])
def test_a_folder_that_may_not_be_written(command, corpus, tmp_path, cache, what):
    run = tmp_path / "outputs" / "run"
    if what == "checkpoints":
        assert command("train", *overrides(run, corpus, "train.max_hours=1e-9"))[0] > 128
    folder = {"outputs": run.parent, "cache": cache, "checkpoints": run / "checkpoints"}[what]
    folder.mkdir(parents=True, exist_ok=True)
    before = everything(folder)
    with closed(folder):
        code, printed = command("train", *overrides(run, corpus))
    assert (code, "Traceback" in printed) == (1, False)
    assert f"{folder}" in printed
    assert "you may not read or write there. Give yourself the permission, or choose another place" in printed
    assert everything(folder) == before
    assert command("train", *overrides(run, corpus))[0] == 0


def test_a_cache_that_may_only_be_read_serves_what_is_in_it(command, corpus, tmp_path, cache):
    """As a colleague's, or a read-only disk; files that another text needs are refused with the place."""
    run = tmp_path / "outputs" / "run"
    assert command("train", *overrides(run, corpus, "train.max_steps=3"))[0] == 0
    assert command("evaluate", f"runs={run}", "eval.lengths=[16]", "device=cpu")[0] == 0
    before = everything(cache)
    with closed(cache), closed(cache / "tokens"), closed(cache / "tokenizers"):
        assert command("train", *overrides(tmp_path / "outputs" / "two", corpus, "train.max_steps=3"))[0] == 0
        assert command("evaluate", f"runs={run}", "eval.lengths=[8]", "device=cpu")[0] == 0
        code, printed = command("train", *overrides(tmp_path / "outputs" / "bpe", corpus, "tokenizer=bpe"))
    assert (code, "Traceback" in printed) == (1, False)
    assert f"{cache / 'tokenizers'}" in printed
    assert "you may not read or write there" in printed
    assert everything(cache) == before


def test_results_that_may_not_be_written_are_told_before_anything_is_scored(command, corpus, tmp_path):
    run = tmp_path / "run"
    assert command("train", *overrides(run, corpus, "train.max_hours=1e-9"))[0] > 128
    (run / "evaluation").mkdir()
    for folder in (run / "evaluation", run):
        with closed(folder):
            code, printed = command("evaluate", f"runs={run}", "eval.lengths=[16]", "device=cpu")
        assert (code, "Traceback" in printed) == (1, False)
        assert f"{run / 'evaluation'}" in printed
        assert "you may not read or write there. Give yourself the permission, or choose another place" in printed
        assert everything(run / "evaluation") == {}
        if (run / "evaluation").exists():
            (run / "evaluation").rmdir()


def test_an_error_that_says_nothing_of_the_disk_is_told_as_it_is():
    assert explained(OSError(5, "Input error", "x")) == "OSError: [Errno 5] Input error: 'x'"
    assert explained(FileNotFoundError(2, "No such file", "x")).startswith("x: there is no such file or folder. Check")
    assert explained(ConnectionError("no hub")) == "ConnectionError: no hub"

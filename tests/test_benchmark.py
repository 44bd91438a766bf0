"""The benchmark as a user runs it, at a size that takes seconds; nothing is asserted of time."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import benchmark
import pytest
import torch

from alibi.training import train

ROOT = Path(__file__).parents[1]
SHAPE = ["--layers", "1", "--d-model", "32", "--heads", "4", "--vocab-size", "64", "--tokens", "128"]
PEERS = ["MPT (ALiBi)", "x-transformers (ALiBi, flash)"]


def run_benchmark(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "scripts" / "benchmark.py", *map(str, arguments), *SHAPE]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)


@pytest.mark.slow
def test_a_short_benchmark(tmp_path):
    done = run_benchmark("--out", tmp_path, "--lengths", 64, 1024, "--rounds", 1, "--methods", "alibi", "none",
                     "--peers", *PEERS, "--peers-up-to", 64, "--no-memory")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "benchmark.json").read_text())
    found = {(row["section"], row["length"], row["name"]) for row in report["rows"]}
    ours = {"train": ["matrix products alone"], "attention": ["torch's causal attention"], "evaluation": []}
    assert found == {
        *((section, length, name) for section in ours for length in (64, 1024) for name in ("alibi", "none")),
        *((section, length, name) for section, names in ours.items() for length in (64, 1024) for name in names),
        *((section, 1024, "alibi (all keys)") for section in ours),
        *((section, 64, peer) for section in ("train", "evaluation") for peer in PEERS),
    }
    for row in report["rows"]:
        assert row["tokens_per_sec"] > 0
        assert len(row["seconds"]) == 1
    alibi = next(row for row in report["rows"] if row["name"] == "alibi" and row["section"] == "train")
    assert alibi["time_over"].keys() == {"none", "matrix products alone"}
    table = (tmp_path / "benchmark.md").read_text()
    assert all(name in table and name in done.stdout for name in PEERS)
    machine = f"{report['made_with']['device'].removeprefix('cpu: ')}; 1 threads; torch {torch.__version__}"
    assert table.startswith(machine)
    assert machine in done.stdout
    figures = {path.name for path in tmp_path.glob("*.png")}
    assert figures == {"train-fp32.png", "attention-fp32.png", "evaluation-fp32.png"}
    assert {"torch", "threads", "scripts/benchmark.py"} <= {
        *report["made_with"]["packages"], *report["made_with"], report["command"].split()[0]
    }  # fmt: skip


@pytest.mark.slow
def test_memory_is_of_a_process_of_its_own(tmp_path):
    (tmp_path / "attention-bf16.png").write_text("of an earlier benchmark")
    (tmp_path / "mine.png").write_text("of mine")
    done = run_benchmark("--out", tmp_path, "--lengths", 64, "--rounds", 1, "--methods", "none", "--sections", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.glob("*.png")} == {"train-fp32.png", "mine.png"}
    row, limit = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert row["peak_memory_mib"] > 0
    assert "peak_memory_mib" not in limit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", 0], "--rounds (0) must be at least 1"),
        (["--lengths", 0], "a length must be at least 1"),
        (["--methods", "alibbi"], "--methods has 'alibbi', which is none of: alibi"),
        (["--peers", "GPT-5"], "--peers has 'GPT-5', which is none of: MPT (ALiBi)"),
        (["--methods", "alibi", "alibi"], "--methods has 'alibi' more than once"),
        (["--heads", 5], "--heads (5) must divide --d-model (256)"),
        (["--sections", "train", "--run", "x"], "--run is for the section evaluation"),
        (["--methods", "none", "--run", "x"], "--run gives the weights of alibi"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr("sys.argv", ["benchmark.py", "--out", str(tmp_path), *map(str, arguments)])
    with pytest.raises(ValueError, match=re.escape(message)):
        benchmark.check(benchmark.parse())


def test_an_out_that_is_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "out").write_text("mine")
    monkeypatch.setattr("sys.argv", ["benchmark.py", "--out", str(tmp_path / "out")])
    with pytest.raises(ValueError, match="is a file; name a folder"):
        benchmark.check(benchmark.parse())


def test_a_run_of_another_method_shape_or_text_is_refused(tmp_path, monkeypatch, small_run, cache):
    monkeypatch.setenv("ALIBI_CACHE", str(cache))
    for method in ("alibi", "rotary"):
        train(small_run(method, max_steps=1), tmp_path / method)

    def check(run, *arguments):
        given = ["--run", str(tmp_path / run), *map(str, arguments)]
        monkeypatch.setattr("sys.argv", ["benchmark.py", "--out", str(tmp_path / "out"), *given])
        benchmark.check(benchmark.parse())

    shape = "--layers", 2, "--d-model", 16, "--heads", 2, "--vocab-size", 257
    check("alibi", *shape, "--lengths", 64, "--tokens", 64)
    with pytest.raises(ValueError, match=re.escape("--layers 2 (here 6), --d-model 16 (here 256)")):
        check("alibi")
    with pytest.raises(ValueError, match="is of rotary; give one of alibi"):
        check("rotary", *shape)
    with pytest.raises(ValueError, match=r"above the \d+ validation tokens"):
        check("alibi", *shape, "--lengths", 10**6)
    with pytest.raises(FileNotFoundError, match="nowhere is neither a run folder nor"):
        check("nowhere")


def test_a_refusal_is_a_message_and_leaves_nothing(tmp_path):
    done = run_benchmark("--out", tmp_path / "out", "--rounds", 0)
    assert done.returncode == 1
    assert "error: --rounds (0) must be at least 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()

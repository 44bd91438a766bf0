"""Sweeps as a user starts them, by each launcher: jobs that are killed, stopped, twice the same; and their list."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alibi.sweeps import Outcome, Sweep, summary_text

ROOT = Path(__file__).parents[1]
JOBS = [
    "size=tiny", "data=wikitext2", "tokenizer=byte", "model.num_layers=1", "model.d_model=16", "train.seq_len=16",
    "train.batch_tokens=64", "train.eval_every=100000", "device=cpu", "tracking.wandb=disabled",
]  # fmt: skip


@pytest.fixture
def sweep(tmp_path, corpus, cache):
    """Start a sweep, with what it prints in the file `log`."""

    def start(*overrides):
        env = {**os.environ, "ALIBI_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(ROOT / "train.py"), "-m", *JOBS, f"data.path={corpus}", *overrides]
        with open(tmp_path / "log", "w") as log:
            return subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True)

    return start


def wait_for(there, seconds=300):
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until
        time.sleep(0.02)


def job_process(folder, name):
    """The process that holds a run's lock."""
    for lock in folder.glob(f"outputs/{name}-*/.lock"):
        for handle in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if handle.resolve() == lock.resolve():
                    return int(handle.parts[2])
            except OSError:
                pass
    return 0


def trained(folder, name):
    return any(path.stat().st_size for path in folder.glob(f"outputs/{name}-*/metrics.jsonl"))


def lines_of(folder):
    return (folder / "log").read_text().split("\nsweep ")[1].splitlines()


def test_joblib_a_killed_job_takes_no_other_along(sweep, tmp_path):
    """Nor does one that exits; and of two jobs with equal settings one is trained."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    endless = ["train.max_steps=100000", "train.checkpoint_every=1"]
    process = sweep("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *endless, "model=alibi,none,none")
    wait_for(lambda: trained(tmp_path, "alibi") and trained(tmp_path, "none"))
    os.kill(job_process(tmp_path, "alibi"), signal.SIGKILL)
    os.kill(job_process(tmp_path, "none"), signal.SIGTERM)
    assert process.wait(300) == 1
    head, *jobs = lines_of(tmp_path)
    assert "3 jobs: 1 skipped, 1 failed, 1 stopped" in head
    assert "killed by SIGKILL (out of memory?)" in jobs[0]
    assert sorted([jobs[1].split()[0], jobs[2].split()[0]]) == ["skipped", "stopped"]
    assert "has the same settings" in jobs[1] + jobs[2]
    assert {p.name for p in tmp_path.iterdir()} == {"outputs", "corpus", "cache", "log"}
    assert not (tmp_path / "outputs" / ".sweeps").exists()


def test_submitit_ctrl_c_stops_the_sweep_after_the_step_with_the_list(sweep, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = sweep("hydra/launcher=submitit_local", "train.max_steps=100000", "model=alibi")
    wait_for(lambda: trained(tmp_path, "alibi"))
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 128 + signal.SIGINT
    assert "1 jobs: 1 stopped" in lines_of(tmp_path)[0]
    assert list(tmp_path.glob("outputs/alibi-*/checkpoints/step-*"))
    assert {p.name for p in tmp_path.iterdir()} == {"outputs", "corpus", "cache", "log"}
    assert list(tmp_path.glob("outputs/.sweeps/*/.submitit/*/*.out")), "a place that all nodes see"


def test_the_list_shows_what_the_jobs_do_not_share(tmp_path):
    outcomes = [
        Outcome(0, ["seed=0", "model=x"], "ran", run="outputs/x"),
        Outcome(1, ["seed=0", "model=y"], "failed", "ValueError: no"),
        Outcome(2, ["seed=0", "model=z"]),
    ]
    for outcome in reversed(outcomes):
        Sweep(tmp_path).record(outcome)
    assert Sweep(tmp_path).outcomes() == outcomes
    text = summary_text(outcomes)
    assert "3 jobs: 1 ran, 1 failed, 1 begun" in text
    assert "model=y  ValueError: no" in text
    assert "seed" not in text
    assert "lost" in text.splitlines()[-2]
    assert "same command" not in summary_text(outcomes[:1])


def test_a_run_folder_has_one_job_and_a_sweep_without_its_first_process_stops(tmp_path):
    sweep = Sweep(tmp_path)
    assert [sweep.claim(tmp_path / "a", 3), sweep.claim(tmp_path / "a", 4), sweep.claim(tmp_path / "b", 4)] == [3, 3, 4]
    sweep.lead()
    assert sweep.stopped_by() == 0
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = (tmp_path / "leader").read_text().split()[0]
    (tmp_path / "leader").write_text(f"{host} {gone.pid}")
    assert sweep.stopped_by() == signal.SIGTERM
    sweep.stop(signal.SIGINT)
    assert sweep.stopped_by() == signal.SIGINT

"""Sweeps as a user starts them, by each launcher: jobs that are killed, stopped, twice the same; and their list."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alibi.config import CONFIGS, register
from alibi.config.typed import scratch_folder
from alibi.runs import read_settings
from alibi.sweeps import Summary
from alibi.sweeps.job import Outcome, Sweep, summary_text
from alibi.training import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
JOBS = [
    "size=tiny", "data=wikitext2", "tokenizer=byte", "model.num_layers=1", "model.d_model=16", "train.seq_len=16",
    "train.batch_tokens=64", "train.eval_every=100000", "device=cpu", "tracking.wandb=disabled",
]  # fmt: skip


@pytest.fixture
def sweep(tmp_path, corpus, cache):
    """Start a sweep, with what it prints in the file `log`."""

    def start(*overrides, jobs=JOBS, **variables):
        env = {**os.environ, "ALIBI_CACHE": str(cache), "OMP_NUM_THREADS": "1", **variables}
        command = [sys.executable, str(ROOT / "train.py"), "-m", *jobs, f"data.path={corpus}", *overrides]
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
    long = tmp_path / ("long" * 20)  # a socket could have no name there
    long.mkdir()
    process = sweep("hydra/launcher=submitit_local", "train.max_steps=100000", "model=alibi", TMPDIR=str(long))
    wait_for(lambda: trained(tmp_path, "alibi"))
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 128 + signal.SIGINT
    assert "1 jobs: 1 stopped" in lines_of(tmp_path)[0]
    assert list(tmp_path.glob("outputs/alibi-*/checkpoints/step-*"))
    assert {p.name for p in tmp_path.iterdir()} == {"outputs", "corpus", "cache", "log", long.name}
    assert list(tmp_path.glob("outputs/.sweeps/*/.submitit/*/*.out")), "a place that all nodes see"


def test_one_folder_for_jobs_that_differ_is_refused_in_a_place_of_any_name(sweep, tmp_path):
    """The settings that differ are named, whether they change the weights or not, and the exit code says it."""
    home = tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(prefix="josé's {a, b}=$x") as odd:
        overrides = ["run_dir='~/run'", "train.max_steps=1", "train.eval_lengths=[8],[32]", "seed=0,1"]
        assert sweep(*overrides, TMPDIR=odd, HOME=str(home)).wait(300) == 1
        assert not list(Path(odd).glob("alibi-hydra-*"))
    head, *jobs = lines_of(tmp_path)
    assert "4 jobs: 1 ran, 3 failed" in head
    assert (
        f"job 0 trains in {home}/run too, with other settings: seed is 0 there and 1 now. Give each job a run_dir"
        in jobs[1]
    )
    assert "train.eval_lengths is [8] there and [32] now. Give each job a run_dir" in jobs[2]
    assert "seed is 0 there and 1 now; train.eval_lengths is [8] there and [32] now. Give" in jobs[3]
    assert {p.name for p in tmp_path.iterdir()} == {"home", "outputs", "corpus", "cache", "log"}


@pytest.fixture
def begin(monkeypatch):
    """The callback of a sweep, begun with overrides, and its settings; what it does to this process is undone."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr("atexit.register", lambda *call, **options: None)
    scratch_folder.cache_clear()
    register()

    def start(*overrides):
        with initialize_config_dir(CONFIGS, version_base="1.3"):
            config = compose("train", list(overrides), return_hydra_config=True)
        summary = Summary()
        summary.on_multirun_start(config)
        return summary, config

    yield start
    scratch_folder.cache_clear()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_sweeps_that_share_a_folder_know_nothing_of_each_other(begin, tmp_path, monkeypatch):
    """One that was stopped, one that goes on beside it, and one that comes later; what is left is the user's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine" / "stop").mkdir(parents=True)
    (stopped, config), (beside, _) = begin("hydra.sweep.dir='~/mine'"), begin("hydra.sweep.dir='~/mine'")
    stopped.sweep.record(Outcome(0, [], "stopped"))
    stopped.sweep.claim(tmp_path / "run", 0, {})
    stopped.sweep.stop(signal.SIGINT)
    assert (beside.sweep.stopped_by(), beside.sweep.outcomes()) == (0, [])
    assert beside.sweep.claim(tmp_path / "run", 1, {"seed": 1}) == (1, {"seed": 1})
    with pytest.raises(SystemExit) as end:
        stopped.on_multirun_end(config)
    assert end.value.code == 128 + signal.SIGINT
    beside.sweep.record(Outcome(1, [], "ran"))
    beside.on_multirun_end(config)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["stop"]
    assert config.hydra.sweep.dir == str(tmp_path / "mine")


def test_a_sweep_of_which_no_job_began_did_not_succeed(begin, tmp_path, capsys):
    summary, config = begin(f"hydra.sweep.dir={tmp_path}")
    with pytest.raises(SystemExit) as end:
        summary.on_multirun_end(config)
    assert (end.value.code, "0 jobs: none begun" in capsys.readouterr().out) == (1, True)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"hydra.sweep.dir: .*file"):
        begin(f"hydra.sweep.dir={tmp_path}/file")


@pytest.mark.parametrize(
    "name",
    [
        "josé", "it's", 'a"b', "a\\", "a\\'b", "${x}", "a${b", "\\${oc.env:HOME}", "a b,c={d}[e](f)", "a%b#$", "null",
        "~x", "\udcff",
    ],
)  # fmt: skip
def test_the_processes_of_a_sweep_are_told_its_folders_whatever_their_names(begin, tmp_path, name, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    (tmp_path / name).mkdir()
    summary, config = begin()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        told = compose("train", OmegaConf.to_container(config.hydra.overrides.hydra), return_hydra_config=True).hydra
    assert told.sweep.dir == config.hydra.sweep.dir == str(summary.sweep.folder.parent)
    assert told.callbacks.summary.folder == str(summary.sweep.folder)


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
    sweep, settings = Sweep(tmp_path), {"seed": 0}
    (tmp_path / "link").symlink_to("a")
    for name, number, first in (("a", 3, 3), ("a", 4, 3), ("b/../a", 5, 3), ("link", 6, 3), ("b", 4, 4)):
        assert sweep.claim(tmp_path / name, number, settings | {"number": number}) == (
            first,
            {"seed": 0, "number": first},
        )
    sweep.lead()
    assert sweep.stopped_by() == 0
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "leader").write_text(str(gone.pid))
    assert sweep.stopped_by() == signal.SIGTERM
    sweep.stop(signal.SIGINT)
    assert sweep.stopped_by() == signal.SIGINT


def test_a_sweep_over_two_origins_is_two_runs_that_are_skipped_when_asked_again(sweep, small_run, tmp_path):
    """In a child process, which does not have Hydra's own settings: what is typed wins there too."""
    for seed, name in enumerate("ab"):
        train(small_run("rotary", seed=seed, max_steps=1), tmp_path / name)
    overrides = ["train.init_from=a,b", "model=alibi", "model.dropout=0.2", "train.max_steps=2"]
    jobs = [job for job in JOBS if not job.startswith(("size", "tokenizer", "model"))]
    for head in ("2 jobs: 2 ran", "2 jobs: 2 skipped"):
        assert sweep(*overrides, jobs=jobs).wait(300) == 0, (tmp_path / "log").read_text()
        assert head in lines_of(tmp_path)[0]
    configs = [read_settings(path) for path in sorted(tmp_path.glob("outputs/alibi-custom-*/config.yaml"))]
    assert {one["origin"]["run"] for one in configs} == {"a", "b"}
    assert {(one["model"]["dropout"], one["model"]["d_model"]) for one in configs} == {(0.2, 16)}

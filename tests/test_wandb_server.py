"""wandb itself, in this process, against a server on the loopback: its faults, and variables of other jobs."""

import os
from pathlib import Path

import pytest
from offline_wandb import OfflineRun, read_offline_run
from servers.wandb_server import wandb_server

from alibi import wandb_run
from alibi.tracking import TrackingConfig, Wandb

pytestmark = pytest.mark.slow

LINES = [{"step": step, "tokens": 10 * step, "train/loss": 1 / step} for step in range(1, 9)]
WHOLE = [(line["tokens"], line["train/loss"]) for line in LINES]
FAULTS = pytest.mark.parametrize("fault", ["500", "401", "hang", "die"])


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A user's: a key, no settings of wandb."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_SERVICE", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "false")  # so that what is set here meanwhile is undone
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home"))
    yield monkeypatch
    teardown()


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def teardown() -> None:
    """End wandb's service: its files are whole then, and the environment is read again."""
    import wandb

    wandb.teardown()


def log(folder: Path, lines: list[dict], mode="online", run_id=None, earlier=()) -> Wandb:
    """One process of a run, from its start to its end."""
    wandb = Wandb(TrackingConfig(mode, "study"), folder, run_id, {"seed": 1}, "group", earlier)
    for line in lines:
        wandb.log_step(line)
    wandb.close()
    return wandb


def recorded(folder: Path) -> list[OfflineRun]:
    """What each process recorded offline."""
    teardown()
    return [read_offline_run(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def curve(run) -> list[tuple]:
    return [(row["train/tokens"], row["train/loss"]) for row in run.history]


@FAULTS
def test_a_server_that_takes_no_run_ends_in_an_offline_part_and_one_warning(environment, monkeypatch, folder, fault):
    monkeypatch.setattr(wandb_run, "START_SECONDS", 1)
    with wandb_server(fault) as server:
        environment.setenv("WANDB_BASE_URL", server.url)
        with pytest.warns(UserWarning, match="wandb failed to send the run .*recorded offline") as said:
            wandb = log(folder, LINES[:6])
        server.fault = ""
        monkeypatch.setattr(wandb_run, "START_SECONDS", 30)
        log(folder, LINES[6:], run_id=wandb.id, earlier=LINES[:6])
    assert {run_id: curve(run) for run_id, run in server.runs.items()} == {wandb.id: WHOLE}
    assert len(said) == 1
    assert f"wandb sync --include-online {folder}/wandb/*run-*" in str(said[0].message)
    assert wandb.mode == "offline", "evaluate.py does not wait again for its next run"
    assert [curve(run) for run in recorded(folder)] == [WHOLE[:6]]


@FAULTS
def test_a_server_lost_half_way_ends_in_one_warning_and_the_next_process_sends_what_it_lacks(
    environment, monkeypatch, folder, fault
):
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 1)
    with wandb_server(fault_at_rows=fault) as server:
        environment.setenv("WANDB_BASE_URL", server.url)
        with pytest.warns(UserWarning, match="wandb failed to send the run") as said:
            wandb = log(folder, LINES[:6])
        assert len(said) == 1
        assert curve(server.runs[wandb.id]) == WHOLE[:3]
        server.fault = ""
        monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 30)
        log(folder, LINES[4:], run_id=wandb.id, earlier=LINES[:6])  # from the checkpoint of step 4 on
    assert curve(server.runs[wandb.id]) == WHOLE
    assert len(list(folder.glob("wandb/run-*/*.wandb.synced"))) == 2, "wandb sync has nothing left to send"


def test_a_run_whose_earlier_part_cannot_be_sent_goes_on_offline(environment, monkeypatch, folder):
    monkeypatch.setattr(wandb_run, "SYNC_SECONDS", 1)
    wandb = log(folder, LINES[:2], "offline")
    with wandb_server("hang") as server:
        environment.setenv("WANDB_BASE_URL", server.url)
        with pytest.warns(UserWarning, match="did not take what earlier processes recorded") as said:
            log(folder, LINES[2:], run_id=wandb.id, earlier=LINES[:2])
    assert len(said) == 1
    assert [curve(run) for run in recorded(folder)] == [WHOLE[:2], WHOLE[2:]], "a sync sends them in this order"


STRANGE = {
    "RUN_ID": "stranger", "RESUME": "must", "PROJECT": "other", "RUN_GROUP": "other", "NAME": "other", "TAGS": "other",
    "NOTES": "other", "JOB_TYPE": "other", "DIR": "/nowhere", "MODE": "disabled", "FORK_FROM": "stranger?_step=1",
    "SERVICE": "3-1-unix-/nowhere", "SWEEP_ID": "gone", "CONFIG_PATHS": "/nowhere.yaml",
}  # fmt: skip


@pytest.mark.parametrize("bad", [{}, {"MODE": "on", "RESUME": "perhaps", "RUN_ID": "a/b"}])
def test_variables_of_another_job_change_nothing(environment, folder, bad):
    for name, value in (STRANGE | bad).items():
        environment.setenv(f"WANDB_{name}", value)
    wandb = log(folder, LINES, "offline", run_id="mine")
    [run] = recorded(folder)
    assert (wandb.id, run.id, run.project, run.group, run.name) == ("mine", "mine", "study", "group", "run")
    assert (run.job_type, run.tags, run.config) == ("", [], {"seed": 1})


def test_a_new_run_takes_the_id_of_a_sweeps_agent_and_keeps_it(environment, folder):
    def under_an_agent(run_id: str, own: str | None) -> str:
        for name, value in {"SWEEP_ID": "sweep", "RUN_ID": run_id, "PROJECT": "study", "NAME": "other"}.items():
            environment.setenv(f"WANDB_{name}", value)
        wandb = log(folder, LINES, "offline", own)
        teardown()
        return wandb.id

    assert under_an_agent("agent1", None) == "agent1"
    assert under_an_agent("agent2", "agent1") == "agent1"
    assert [(run.id, run.project, run.name) for run in recorded(folder)] == [("agent1", "study", "run")] * 2

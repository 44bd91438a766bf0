"""A run that is asked to stop: it finishes its step, saves, says how to go on, and loses nothing by it."""

import math
import signal
import threading
import time

import pytest
from torture import run_content

from alibi.processes import handling, stop_signals
from alibi.runs import RunFolder
from alibi.training import train
from alibi.training.stopping import StopRequest
from alibi.training.update import Updater


def same_end(one, other) -> bool:
    """Bit for bit; but a run that stopped has checkpoints of other steps as well."""
    first, second = run_content(one), run_content(other)
    assert first.pop("the list of checkpoints") != second.pop("the list of checkpoints"), "nothing was stopped"
    return first == second


def signalled(monkeypatch, number: int, step: int) -> None:
    """The signal comes in the middle of an update."""
    whole = Updater._gradient

    def gradient(self, current, *rest):
        nats = whole(self, current, *rest)
        if current == step:
            signal.raise_signal(number)
        return nats

    monkeypatch.setattr(Updater, "_gradient", gradient)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_after_its_step_and_the_same_command_goes_on(
    number, small_run, tmp_path, monkeypatch, capfd
):
    config = small_run(checkpoint_every=100, eval_every=100)
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        signalled(patch, number, step=3)
        with pytest.raises(SystemExit) as stopped:
            train(config, tmp_path / "stopped")
    assert stopped.value.code == 128 + number
    out, err = capfd.readouterr()
    assert f"{number.name}: stopping after this step" in err
    assert f"by {number.name} after step 3 of 6; checkpoint" in out
    assert "The same command goes on" in out
    assert RunFolder(tmp_path / "stopped").saved_steps() == [3]
    assert train(config, tmp_path / "stopped") == "ran"
    assert same_end(tmp_path / "whole", tmp_path / "stopped")


def test_a_signal_in_the_last_step_finds_the_run_finished(small_run, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        signalled(patch, signal.SIGINT, step=6)
        with pytest.raises(SystemExit) as stopped:
            train(small_run(), tmp_path / "run")
    assert stopped.value.code == 130, "a sweep must not go on to its next job"
    assert "finished   6 steps" in capfd.readouterr().out
    assert train(small_run(), tmp_path / "run") == "skipped"


def test_the_time_limit_stops_as_a_signal_does_and_a_run_of_many_pieces_is_the_whole(small_run, tmp_path, capsys):
    config = small_run()
    train(config, tmp_path / "whole")
    config.train.max_hours = 1e-9
    for step in range(1, 6):
        with pytest.raises(SystemExit) as stopped:
            train(config, tmp_path / "pieces")
        assert stopped.value.code == 128 + signal.SIGTERM
        assert RunFolder(tmp_path / "pieces").saved_steps()[-1] == step
        assert f"by train.max_hours after step {step} of 6" in capsys.readouterr().out
    with pytest.raises(SystemExit):  # the sixth step is the last, and over the limit as well
        train(config, tmp_path / "pieces")
    assert train(config, tmp_path / "pieces") == "skipped"
    assert same_end(tmp_path / "whole", tmp_path / "pieces")


def test_a_generous_limit_changes_nothing(small_run, tmp_path):
    config = small_run(max_steps=2)
    config.train.max_hours = 24.0
    assert train(config, tmp_path / "run") == "ran"


def test_handlers_are_put_back(small_run, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(small_run(max_steps=1), tmp_path / "run")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_under_nohup_a_closed_terminal_is_no_stop():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopRequest()
        with handling(stop_signals(), stop.note):
            signal.raise_signal(signal.SIGHUP)
            assert stop.wanted() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_no_handler_is_set():
    seen = []

    def work() -> None:
        stop = StopRequest()
        with handling(stop_signals(), stop.note):
            seen.append(stop.wanted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]


def test_the_clock_of_the_day_does_not_matter(monkeypatch):
    request = StopRequest(time.monotonic() + 3600)
    monkeypatch.setattr(time, "time", lambda: math.inf)
    assert request.wanted() == 0
    monkeypatch.setattr(time, "monotonic", lambda: math.inf)
    assert request.wanted() == signal.SIGTERM


def test_torchrun_passing_a_ctrl_c_on_is_not_a_second_one(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    request = StopRequest()
    request.note(signal.SIGINT, None)
    request.note(signal.SIGINT, None)  # would have ended this process
    assert request.wanted() == signal.SIGINT

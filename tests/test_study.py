"""scripts/study.py with stand-ins for the entries; scripts/studies/."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import study
import yaml

ROOT = Path(__file__).parents[1]
GOOD = {"train": [["a=1,2"]], "evaluate": [["b=1"], ["b=2"]], "report": {"runs": ["runs/*"], "out": "report"}}
ENTRY = """
import pathlib, sys, time
with open("calls", "a") as calls:
    print(pathlib.Path(sys.argv[0]).name, *sys.argv[1:], file=calls)
if pathlib.Path("wait").exists():
    time.sleep(60)
sys.exit(int("boom" in " ".join(sys.argv)))
"""


@pytest.fixture
def house(tmp_path):
    """A copy of the script beside entries that only say how they were called: start it."""
    for folder in ("scripts", "alibi"):
        (tmp_path / folder).mkdir()
    for name in ("train.py", "evaluate.py", "scripts/report.py"):
        (tmp_path / name).write_text(ENTRY)
    for name in ("scripts/study.py", "alibi/streams.py", "alibi/files.py"):
        (tmp_path / name).write_text((ROOT / name).read_text())

    def start(content, *more):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
        command = [sys.executable, "scripts/study.py", "study.yaml", *more]
        return subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return start


def until_called(process: subprocess.Popen, folder: Path) -> None:
    """Wait for the study's first command, as long as the study lives."""
    while not (folder / "calls").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def test_the_commands_in_order(house, tmp_path):
    process = house(GOOD, "--train", "x=1", "y=2", "--evaluate", "z=3")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert (tmp_path / "calls").read_text().splitlines() == [
        "train.py -m a=1,2 x=1 y=2",
        "evaluate.py eval.reuse=true b=1 z=3",
        "evaluate.py eval.reuse=true b=2 z=3",
        "report.py runs/* --out report",
    ]
    assert out.count("$ python") == 4


def test_what_fails_takes_nothing_along(house, tmp_path):
    process = house(GOOD | {"train": [["a=boom"], ["a=2"]]})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "1 of the study's commands failed" in err
    assert "train.py -m a=boom" in err
    assert len((tmp_path / "calls").read_text().splitlines()) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_command_and_the_study(house, tmp_path, number):
    (tmp_path / "wait").touch()
    process = house(GOOD)
    until_called(process, tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "same command goes on" in err
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_a_study_waits_for_what_a_killed_one_left_running(house, tmp_path):
    (tmp_path / "wait").touch()
    first = house(GOOD)
    until_called(first, tmp_path)
    first.kill()
    first.wait()
    (tmp_path / "wait").unlink()
    second = house(GOOD)
    assert "waiting for the processes of a study that writes report" in second.stdout.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.5)
    for folder in Path("/proc").glob("[0-9]*"):  # the orphan
        try:
            if os.readlink(folder / "cwd") == str(tmp_path) and b"train.py" in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            pass
    second.communicate(timeout=60)
    first.communicate(timeout=60)
    assert second.returncode == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"eval": []}, "eval is not a key of a study, which has evaluate, report, train"),
        ({"train": ["a=1"]}, "must be a list of lists of overrides"),
        ({"train": [[1]]}, "must be a list of lists of overrides"),
        ({"evaluate": []}, "evaluate .* must be a list of lists"),
        ({"report": {"runs": ["x"]}}, "lacks report.out; a study has report.out, report.runs"),
        ({"report": {"runs": "x", "out": "y"}}, r"report.runs \(x\) must be a list"),
        ({"report": {"runs": ["x"], "out": 1}}, r"report.out \(1\) must be a folder"),
        ({"report": None}, "report .* must have report.out, report.runs"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, change, told):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(ValueError, match=told):
        study.read_study(tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is not YAML"):
        study.read_study(tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_text("train: [")
    with pytest.raises(ValueError, match="is not YAML"):
        study.read_study(tmp_path / "study.yaml")


@pytest.mark.parametrize(
    ("path", "told"), [("/nope.yaml", "there is no such file or folder"), (".", "a file is needed")]
)
def test_a_study_that_cannot_be_opened_is_one_message(path, told):
    command = [sys.executable, ROOT / "scripts" / "study.py", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}: ")
    assert told in done.stderr
    assert "scripts/studies" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_report_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(GOOD | {"report": {"runs": ["~/runs/*"], "out": "~/report"}}))
    assert study.read_study(tmp_path / "study.yaml").out == tmp_path / "report"


@pytest.mark.parametrize("path", sorted((ROOT / "scripts" / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_read_and_begin_with_their_command(path):
    assert study.read_study(path).train
    assert path.read_text().startswith(f"# python scripts/study.py scripts/studies/{path.name}")

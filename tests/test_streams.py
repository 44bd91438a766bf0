"""stdout and stderr that fail in every way a stream can: the work goes on, and its exit code says how it ended."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alibi.processes import tell_now
from alibi.runs import RunFolder
from alibi.tracking import read_metrics

ROOT = Path(__file__).parents[1]
# Without `import alibi`, which takes torch's seconds.
WORK = f"""
import os, runpy, sys
streams = runpy.run_path({str(ROOT / "alibi" / "streams.py")!r})
streams["keep_streams"]()
with open("made", "w") as made:
    for number in range(3000):
        print("−0.5", "x" * 50)
        print("a line", file=sys.stderr)
    made.write(f"whole {{made.fileno() > 2}}")
"""


def work(folder: Path, stream, *python: str) -> tuple[int, str]:
    """Exit code of WORK with both streams there, and what it made."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, *python, "-c", WORK]
    if stream is None:
        command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    done = subprocess.run(command, cwd=folder, stdout=stream, stderr=stream, env=env, timeout=60)
    return done.returncode, (folder / "made").read_text()


@pytest.mark.parametrize("python", [(), ("-u",)], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("kind", ["closed", "full disk", "no reader", "closed terminal"])
def test_a_stream_that_takes_nothing_does_not_end_the_work(kind, python, tmp_path):
    stream, other = None, None
    if kind == "full disk":
        stream = os.open("/dev/full", os.O_WRONLY)
    elif kind != "closed":
        other, stream = os.pipe() if kind == "no reader" else pty.openpty()
        os.close(other)
    assert work(tmp_path, stream, *python) == (0, "whole True")
    if stream is not None:
        os.close(stream)


@pytest.mark.parametrize(("kind", "code"), [("closed", 0), ("full disk", 1), ("no reader", 0)])
def test_a_script_whose_product_found_no_place_says_so(kind, code, tmp_path):
    """A reader that has seen enough is fine; what a full disk did not take is an error."""
    script = f"""
import sys, types
sys.modules["alibi"] = package = types.ModuleType("alibi")  # without its __init__, which takes torch's seconds
package.__path__ = [{str(ROOT / "alibi")!r}]
from alibi.script import script
with script(): print("x" * 100000)
"""
    other, stream = os.pipe()
    os.close(other)
    if kind == "full disk":
        os.close(stream)
        stream = os.open("/dev/full", os.O_WRONLY)
    close = ">&-" if kind == "closed" else ""
    command = ["sh", "-c", f'exec "$@" {close}', "sh", sys.executable, "-c", script]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, env=env, timeout=60)
    os.close(stream)
    assert done.returncode == code
    assert ("stdout: the disk is full" in done.stderr) == bool(code)
    assert done.stderr.count("\n") == code


def test_a_stream_that_does_not_block_loses_nothing(tmp_path):
    """As after another program made the terminal so; then what is written comes back as 'try again'."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    counting = subprocess.Popen(["sh", "-c", "sleep 0.3; grep -c x$"], stdin=reader, stdout=subprocess.PIPE, text=True)
    os.close(reader)
    assert work(tmp_path, writer) == (0, "whole True")
    os.close(writer)
    assert counting.communicate()[0] == "3000\n"


def test_what_a_signal_handler_says_to_a_stream_that_is_gone_is_dropped(monkeypatch):
    def no_reader(*_):
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", no_reader)
    tell_now("from a signal handler")


def test_ctrl_c_that_ends_the_reader_too_leaves_a_checkpoint(small_run, tmp_path):
    """train.py 2>&1 | tee log."""
    config = small_run()
    command = [
        *("train.py", "size=tiny", "model.num_layers=1", "model.d_model=16", "model.num_heads=2", "tokenizer=byte"),
        *("data=wikitext2", f"data.path={config.data.path}", f"paths.cache={config.paths.cache}"),
        *(f"paths.outputs={config.paths.outputs}", f"run_dir={tmp_path / 'run'}", "tracking.wandb=disabled"),
        *("device=cpu", "precision=fp32", "train.seq_len=16", "train.batch_tokens=64", "train.max_steps=1000000"),
    ]
    run = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not read_metrics(tmp_path / "run" / "metrics.jsonl"):
        assert run.poll() is None
        time.sleep(0.1)
    run.stdout.close()
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 128 + signal.SIGINT
    assert RunFolder(tmp_path / "run").saved_steps()

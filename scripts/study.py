"""A whole study from a YAML: train, evaluate, report.

    python scripts/study.py scripts/studies/quickstart.yaml
    python scripts/study.py scripts/studies/wikitext2.yaml --train data.path=FOLDER hydra/launcher=joblib

    train:                                    # each a sweep: python train.py -m ...
      - [experiment=quickstart, "model=alibi,rotary", "seed=0,1"]
    evaluate:                                 # each: python evaluate.py eval.reuse=true ...
      - ["runs=outputs/quickstart/*-tiny-*", "eval.lengths=[64,512]"]
    report:                                   # python scripts/report.py RUNS --out OUT
      runs: ["outputs/quickstart/*-tiny-*"]
      out: outputs/quickstart/report

Prints and runs these commands. They skip finished work and resume the rest, so a study may be killed and started again
at any moment and ends with the same report. If a job fails, the others are evaluated and reported, and the exit code is
1. SIGTERM and Ctrl-C stop the running command and the study, with exit code 128 + the signal's number.
"""

import argparse
import fcntl
import runpy
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import yaml

ROOT = Path(__file__).parents[1]
# By path: `import alibi` would import torch, which takes seconds.
keep_streams = runpy.run_path(str(ROOT / "alibi" / "streams.py"))["keep_streams"]
explained = runpy.run_path(str(ROOT / "alibi" / "files.py"))["explained"]
PASS_ON_SECONDS = 1.0


@dataclass(frozen=True)
class Study:
    """
    Attributes:
        train: overrides of each sweep.
        evaluate: overrides of each evaluation.
        runs: result files, run folders and globs for the report.
        out: the report's folder.
    """

    train: list[list[str]]
    evaluate: list[list[str]]
    runs: list[str]
    out: Path

    def commands(self, train: list[str], evaluate: list[str]) -> list[list[str]]:
        """All commands in order; `train` and `evaluate` are overrides for every command of that kind."""
        report = [str(ROOT / "scripts" / "report.py"), *self.runs, "--out", str(self.out)]
        return [
            *([str(ROOT / "train.py"), "-m", *overrides, *train] for overrides in self.train),
            *([str(ROOT / "evaluate.py"), "eval.reuse=true", *overrides, *evaluate] for overrides in self.evaluate),
            report,
        ]


def read_study(path: Path) -> Study:
    """
    Raises:
        OSError, ValueError: the file cannot be read, or is not a study.
        RuntimeError: report.out names the home folder of an unknown user.
    """
    if not path.is_file():
        rule = "this is a folder, and a file is needed" if path.is_dir() else "there is no such file or folder"
        raise ValueError(f"{path}: {rule}; give the YAML of a study, such as those in scripts/studies.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    content = _keys(content, {"train", "evaluate", "report"}, path, "")
    report = _keys(content["report"], {"runs", "out"}, path, "report.")
    for name in ("train", "evaluate"):
        value = content[name]
        if not (isinstance(value, list) and value and all(_strings(one) for one in value)):
            raise ValueError(
                f"{path}: {name} ({value}) must be a list of lists of overrides, each a string; quote those with a "
                'comma, "seed=0,1".'
            )
    if not _strings(report["runs"]):
        raise ValueError(f"{path}: report.runs ({report['runs']}) must be a list of run folders or globs.")
    if not isinstance(report["out"], str):
        raise ValueError(f"{path}: report.out ({report['out']}) must be a folder.")
    return Study(content["train"], content["evaluate"], report["runs"], Path(report["out"]).expanduser())


def _keys(content: object, wanted: set[str], path: Path, prefix: str) -> dict:
    """Checks that `content` is a mapping with exactly these keys."""
    names = ", ".join(f"{prefix}{name}" for name in sorted(wanted))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {prefix.rstrip('.') or 'a study'} ({content}) must have {names}.")
    if unknown := content.keys() - wanted:
        raise ValueError(f"{path}: {prefix}{', '.join(map(str, unknown))} is not a key of a study, which has {names}.")
    if missing := wanted - content.keys():
        raise ValueError(f"{path} lacks {prefix}{', '.join(sorted(missing))}; a study has {names}.")
    return content


def _strings(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one for one in value)


@dataclass
class Runner:
    """Runs commands one after the other, and passes SIGTERM and Ctrl-C on to the running one."""

    lock: TextIO
    stopped: int = 0
    child: subprocess.Popen | None = field(default=None)

    def note(self, number: int, frame: object) -> None:
        """Signal handler."""
        self.stopped = self.stopped or number
        if self.child and number == signal.SIGTERM:
            self.child.terminate()

    def run(self, command: list[str]) -> int:
        """Returns the exit code; 128 + n if signal n ended the command, as a shell does."""
        print(f"\n$ python {shlex.join(command)}", flush=True)
        # The child holds the lock too: as long as it lives, even if the study was killed, no other study starts.
        self.child = subprocess.Popen([sys.executable, *command], pass_fds=[self.lock.fileno()])
        while True:
            try:
                code = self.child.wait(PASS_ON_SECONDS)
                return 128 - code if code < 0 else code
            except subprocess.TimeoutExpired:
                # A terminal sends Ctrl-C to all processes. A child that still runs a second later may have missed it;
                # SIGTERM does not count as a second Ctrl-C, which would stop it without a checkpoint.
                if self.stopped == signal.SIGINT:
                    self.child.terminate()


def hold(out: Path) -> TextIO:
    """Takes the study's lock, next to its report; waits for processes that a killed study left running."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = open(out.parent / f".{out.name}.study.lock", "w")  # noqa: SIM115, held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for the processes of a study that writes {out} to end", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form, allow_abbrev=False)
    parser.add_argument("study", type=Path, help="the YAML")
    parser.add_argument("--train", nargs="+", default=[], metavar="OVERRIDE", help="for every sweep")
    parser.add_argument("--evaluate", nargs="+", default=[], metavar="OVERRIDE", help="for every evaluation")
    options = parser.parse_args()
    try:
        study = read_study(options.study.expanduser())
        runner = Runner(hold(study.out))
    except OSError as error:
        sys.exit(f"error: {explained(error)}")
    except (ValueError, RuntimeError) as error:  # RuntimeError: ~name, of an unknown user
        sys.exit(f"error: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, runner.note)
    failed = []
    for command in study.commands(options.train, options.evaluate):
        code = 0 if runner.stopped else runner.run(command)
        if runner.stopped or code >= 128:
            print("stopped; the same command goes on from here", file=sys.stderr)
            sys.exit(128 + runner.stopped if runner.stopped else code)
        if code:
            failed.append(f"  exit code {code}: python {shlex.join(command)}")
    if failed:
        sys.exit("\n".join([f"{len(failed)} of the study's commands failed; the report has the rest:", *failed]))


if __name__ == "__main__":
    keep_streams()
    main()

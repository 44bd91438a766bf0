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

It runs these commands and prints each; skipping and resuming are theirs, so it may be killed and started again at any
moment and ends with the same report. Where a job fails, what is there is evaluated and reported, and the exit code
is 1; SIGTERM and Ctrl-C stop the command that runs, and the study with it, with 128 + the signal's number.
"""

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
# Not by `import alibi`, which takes torch's seconds.
keep_streams = runpy.run_path(str(ROOT / "alibi" / "streams.py"))["keep_streams"]
Options = runpy.run_path(str(ROOT / "alibi" / "options.py"))["Options"]
explained = runpy.run_path(str(ROOT / "alibi" / "faults.py"))["explained"]
PASS_ON_SECONDS = 1.0


@dataclass(frozen=True)
class Study:
    """
    Attributes:
        train: overrides of each sweep.
        evaluate: overrides of each evaluation.
        runs: what the report is of: result files, run folders, globs.
        out: its folder.
    """

    train: list[list[str]]
    evaluate: list[list[str]]
    runs: list[str]
    out: Path

    def commands(self, train: list[str], evaluate: list[str]) -> list[list[str]]:
        """All commands in order; `train` and `evaluate` are overrides for all of their kind."""
        report = [str(ROOT / "scripts" / "report.py"), *self.runs, "--out", str(self.out)]
        return [
            *([str(ROOT / "train.py"), "-m", *overrides, *train] for overrides in self.train),
            *([str(ROOT / "evaluate.py"), "eval.reuse=true", *overrides, *evaluate] for overrides in self.evaluate),
            report,
        ]


def read_study(path: Path) -> Study:
    """
    Raises:
        OSError, ValueError: a file that is not there, or no study.
        RuntimeError: report.out is in the home folder of nobody.
    """
    if not path.is_file():
        rule = "this is a folder, and a file is needed" if path.is_dir() else "there is no such file or folder"
        raise ValueError(f"{path}: {rule}; give the YAML of a study, such as those in scripts/studies.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    content = _keys(content, {"train", "evaluate", "report"}, path, "")
    report = _keys(content["report"], {"runs", "out"}, path, "report.")
    for name in ("train", "evaluate"):
        value = content[name]
        if not (isinstance(value, list) and value and all(_strings(one) for one in value)):
            raise ValueError(
                f"{path}: {name} ({value}) must be a list of lists of overrides, each a text; quote those with a "
                'comma, "seed=0,1".'
            )
    if not _strings(report["runs"]):
        raise ValueError(f"{path}: report.runs ({report['runs']}) must be a list of run folders or globs.")
    if not isinstance(report["out"], str):
        raise ValueError(f"{path}: report.out ({report['out']}) must be a folder.")
    return Study(content["train"], content["evaluate"], report["runs"], Path(report["out"]).expanduser())


def _keys(content: object, wanted: set[str], path: Path, prefix: str) -> dict:
    """The mapping, which has exactly these keys."""
    names = ", ".join(f"{prefix}{name}" for name in sorted(wanted))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {prefix.rstrip('.') or 'a study'} ({content}) must have {names}.")
    if unknown := content.keys() - wanted:
        raise ValueError(f"{path} has {prefix}{', '.join(map(str, unknown))}, which a study has not; it has {names}.")
    if missing := wanted - content.keys():
        raise ValueError(f"{path} lacks {prefix}{', '.join(sorted(missing))}; a study has {names}.")
    return content


def _strings(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one for one in value)


@dataclass
class Runner:
    """Runs one command after the other, and passes on the signal that stops it."""

    lock: TextIO
    stopped: int = 0
    child: subprocess.Popen | None = field(default=None)

    def note(self, number: int, frame: object) -> None:
        """Signal handler."""
        self.stopped = self.stopped or number
        if self.child and number == signal.SIGTERM:
            self.child.terminate()

    def run(self, command: list[str]) -> int:
        """Its exit code, a shell's 128 + n where a signal ended it."""
        print(f"\n$ python {shlex.join(command)}", flush=True)
        # The child has the lock too: while one lives, however the study ended, no other begins.
        self.child = subprocess.Popen([sys.executable, *command], pass_fds=[self.lock.fileno()])
        while True:
            try:
                code = self.child.wait(PASS_ON_SECONDS)
                return 128 - code if code < 0 else code
            except subprocess.TimeoutExpired:
                # A terminal sends Ctrl-C to all; what still runs a second later may not have had it, and SIGTERM is
                # never the second Ctrl-C, which would stop it without a checkpoint.
                if self.stopped == signal.SIGINT:
                    self.child.terminate()


def hold(out: Path) -> TextIO:
    """The study's lock, beside its report; waits for what a killed one left running."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = open(out.parent / f".{out.name}.study.lock", "w")  # noqa: SIM115, it is held to the end of the process
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for the processes of a study that writes {out} to end", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("study", type=Path, help="the YAML")
    parser.add_argument("--train", nargs="+", default=[], metavar="OVERRIDE", help="for every sweep")
    parser.add_argument("--evaluate", nargs="+", default=[], metavar="OVERRIDE", help="for every evaluation")
    options = parser.parse_args()
    try:
        study = read_study(options.study.expanduser())
        runner = Runner(hold(study.out))
    except OSError as error:
        sys.exit(f"error: {explained(error)}")
    except (ValueError, RuntimeError) as error:  # RuntimeError: ~name, where nobody has that name
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
        sys.exit(
            "\n".join([f"{len(failed)} of the study's commands failed; what went well is in the report:", *failed])
        )


if __name__ == "__main__":
    keep_streams()
    main()

"""Kill training, or a whole study, again and again at random moments, and check that nothing is lost.

    python scripts/torture.py --out outputs/torture --kills 60
    python scripts/torture.py --study --out outputs/torture-study --kills 5

One copy of each command runs undisturbed (`alone`). A second copy (`killed`) is killed with SIGKILL, its child
processes included, and started again with the same command until it has had its share of the kills. At the end
the two must be equal, bit for bit, apart from times and memory. The text is this project's own code. Exit code 1
if anything differs.

Without --study: one run for each method and tokenizer; every fifth kill waits for a checkpoint write to begin.
With --study: one study of all methods and seeds (train, evaluate, report).
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from alibi.paths import user_path
from alibi.script import script_parser

ROOT = Path(__file__).parents[1]
QUIET = ["tracking.wandb=disabled", "device=cpu", "paths.cache=cache"]
RUN = [
    "data=text", f"data.path={ROOT / 'alibi' / 'model'}", "data.pattern='**/*.py'", "size=tiny", "model.dropout=0.1",
    "train.seq_len=32", "train.batch_tokens=512", "train.micro_batch_tokens=128", "train.max_steps=24",
    "train.eval_every=5", "train.checkpoint_every=3", "run_dir=run", "paths.outputs=.", *QUIET,
]  # fmt: skip
TOKENIZERS = {"byte": [], "word": ["optimizer=nag"], "bpe": ["tokenizer.vocab_size=300"]}
SWEEP = [
    "data=text", f"data.path={ROOT / 'alibi'}", "data.pattern='**/*.py'", "tokenizer=byte", "size=tiny",
    "model.num_layers=1", "model.d_model=32", "train.seq_len=32", "train.batch_tokens=512", "train.max_steps=12",
    "train.eval_every=6", "train.checkpoint_every=2", "paths.outputs=runs", *QUIET,
]  # fmt: skip
EVALUATION = [
    "runs=runs/*-tiny-*", "eval.lengths=[32,64]", "eval.stride=[null,4]", "eval.max_tokens=2000", "paths.outputs=runs",
    *QUIET,
]  # fmt: skip
WRITE_EVERY = 5  # every fifth kill of a run is inside a checkpoint write
# Differ between two equal runs: times and memory, and the last two columns of the table of runs, which show them.
TIMINGS = re.compile(r"time|seconds|per_sec|memory")
SPEED_COLUMNS = re.compile(r"([|&][^|&\n]*){2}( \||\\\\)$", re.M)


@dataclass
class Trial:
    """One command, run undisturbed in the folder `alone` and killed again and again in `killed`.

    Attributes:
        command: script and arguments; paths in it are relative to the folder.
        content: reads from a folder what must be equal at the end.
        writes: glob, within the folder, of checkpoints that are being written.
        landed: for each kill, the training steps on disk and whether a checkpoint was being written.
    """

    folder: Path
    command: list[str]
    content: Callable[[Path], dict[str, object]]
    writes: str
    landed: list[tuple[int, bool]] = field(default_factory=list)

    def start(self, copy: str) -> multiprocessing.Process:
        (self.folder / copy).mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["alibi.config", "alibi.training"])  # imports take longer than a short run
        process = context.Process(target=run_script, args=(self.command, self.folder / copy))
        process.start()
        return process

    def finish(self, copy: str) -> float:
        """Runs to the end without a kill; returns seconds.

        Raises:
            RuntimeError: the command failed.
        """
        begun, process = time.monotonic(), self.start(copy)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{self.folder.name}: exit code {process.exitcode}; see {self.folder / copy / 'log'}")
        return time.monotonic() - begun

    def kill(self, seconds: float, in_a_write: bool) -> bool:
        """Starts, and kills after so many seconds or, with `in_a_write`, in the next checkpoint write after them.

        Returns:
            False if the command ended first.
        """
        place, process = self.folder / "killed", self.start("killed")
        process.join(seconds)
        while in_a_write and process.is_alive() and not any(place.glob(self.writes)):
            time.sleep(0.0002)
        if not process.is_alive():
            return False
        kill_group(process)
        self.landed.append((num_steps(place), any(place.glob(self.writes))))
        return True

    def differences(self) -> list[str]:
        alone, killed = (self.content(self.folder / copy) for copy in ("alone", "killed"))
        names = sorted(alone.keys() | killed.keys())
        return [f"{self.folder.name}: {name} differs" for name in names if alone.get(name) != killed.get(name)]


def run_script(command: list[str], folder: Path) -> None:
    """Runs the script as `python COMMAND` would, in a process group of its own, with its output in `log`."""
    os.setsid()
    os.chdir(folder)
    handle = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


def kill_group(process: multiprocessing.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not yet made its group, hence has no children
        process.kill()
    process.join()


def num_steps(place: Path) -> int:
    logs = place.glob("**/metrics.jsonl")
    return sum(len(path.read_text().splitlines()) for path in logs)


def run_content(run: Path) -> dict[str, object]:
    """What must be equal in two run folders: pointers, weights, training state, metrics without perf/*."""
    checkpoints = run / "checkpoints"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, object] = {
        "metrics.jsonl": [{k: v for k, v in line.items() if not k.startswith("perf/")} for line in lines],
        "the list of checkpoints": sorted(p.name for p in checkpoints.iterdir()),
    }
    for pointer in ("last", "best"):
        found[pointer] = os.readlink(checkpoints / pointer)
        found[f"{pointer}/model.safetensors"] = (checkpoints / pointer / "model.safetensors").read_bytes()
        for path in sorted((checkpoints / pointer).glob("training_state.*")):
            found[f"{pointer}/{path.name}"] = path.read_bytes()
    return found


def study_content(folder: Path) -> dict[str, object]:
    """What must be equal in two folders of a study: comparison, tables, results and weights."""
    report = folder / "report"
    found: dict[str, object] = {"comparison.json": untimed(json.loads((report / "comparison.json").read_text()))}
    runs, _, others = (report / "tables.md").read_text().partition("\n**")  # that of costs is the first table
    found["tables.md"] = SPEED_COLUMNS.sub("", runs) + others
    for run in sorted(folder.glob("runs/*-tiny-*")):
        weights = (run / "checkpoints" / "last" / "model.safetensors").read_bytes()
        found[f"weights of {run.name}"] = hashlib.sha256(weights).hexdigest()
        for result in sorted(run.glob("evaluation/*.json")):
            found[f"{result.name} of {run.name}"] = untimed(json.loads(result.read_text()))
    return found


def untimed(value: object) -> object:
    """Without times and memory, and without a file's checksum of its own content, which covers them."""
    if isinstance(value, dict):
        kept = {key: untimed(inner) for key, inner in value.items() if not TIMINGS.search(key)}
        return {key: inner for key, inner in kept.items() if not (key == "sha256" and "rows" in value)}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


def run_trials(out: Path, methods: list[str], tokenizers: list[str]) -> list[Trial]:
    return [
        Trial(
            out / f"{method}-{tokenizer}",
            [str(ROOT / "train.py"), *RUN, f"model={method}", f"tokenizer={tokenizer}", *TOKENIZERS[tokenizer]],
            lambda place: run_content(place / "run"),
            "run/checkpoints/.step-*",
        )
        for method in methods
        for tokenizer in tokenizers
    ]


def study_trial(out: Path, methods: list[str], seeds: int, launcher: str | None) -> Trial:
    """Writes the study's YAML into `out`."""
    sweep = [*SWEEP, f"model={','.join(methods)}", f"seed={','.join(map(str, range(seeds)))}"]
    report = {"runs": ["runs/*-tiny-*"], "out": "report"}
    out.mkdir(parents=True)
    study = out / "study.yaml"
    study.write_text(json.dumps({"train": [sweep], "evaluate": [EVALUATION], "report": report}, indent=1))
    more = ["--train", f"hydra/launcher={launcher}"] if launcher else []
    command = [str(ROOT / "scripts" / "study.py"), str(study), *more]
    return Trial(out / "study", command, study_content, "runs/*/checkpoints/.step-*")


def torture(trials: list[Trial], kills: int, in_writes: bool, draw: random.Random) -> list[str]:
    """Runs every trial alone, shares out the kills, and returns what differs."""
    seconds = [trial.finish("alone") for trial in trials]
    wrong = []
    for number in range(kills):
        trial = trials[number % len(trials)]
        # The kills of a trial fall, on average, within the time that the whole command takes.
        share = max(1, kills // len(trials))
        longest = seconds[number % len(trials)] * min(1, 2 / share)
        while not trial.kill(draw.uniform(0, longest), in_writes and number % WRITE_EVERY == 0):
            wrong += trial.differences()
            shutil.rmtree(trial.folder / "killed")
    for trial in trials:
        trial.finish("killed")
        wrong += trial.differences()
        landed = ", ".join(f"{step}{' in a write' if written else ''}" for step, written in trial.landed)
        print(f"{trial.folder.name}: {len(trial.landed)} kills, after steps {landed}", flush=True)
    return wrong


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--out", type=user_path, required=True, help="folder for the runs; must not exist")
    parser.add_argument("--study", action="store_true", help="kill a study instead of runs")
    parser.add_argument("--kills", type=int, help="in all (60; 5 with --study)")
    parser.add_argument("--methods", nargs="+", default=["alibi", "none", "rotary", "sinusoidal", "t5"])
    parser.add_argument("--tokenizers", nargs="+", choices=list(TOKENIZERS), help="of the runs (all)")
    parser.add_argument("--seeds", type=int, help="with --study: runs of each method (2)")
    parser.add_argument("--launcher", help="with --study: a Hydra launcher, joblib or submitit_local")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (0)")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"--out ({options.out}) exists; give a new folder")
    if options.kills is not None and options.kills < 1:
        parser.error(f"--kills ({options.kills}) must be at least 1")
    if options.study and options.tokenizers:
        parser.error("--tokenizers would be ignored with --study; leave it out")
    if not options.study and (options.seeds is not None or options.launcher):
        parser.error("--seeds and --launcher would be ignored without --study; leave them out")
    return options


def main() -> None:
    options = parse()
    out = options.out.absolute()
    if options.study:
        trials = [study_trial(out, options.methods, options.seeds or 2, options.launcher)]
    else:
        trials = run_trials(out, options.methods, options.tokenizers or list(TOKENIZERS))
    kills = options.kills or (5 if options.study else 60)
    wrong = torture(trials, kills, not options.study, random.Random(options.seed))
    in_writes = sum(written for trial in trials for _, written in trial.landed)
    print(f"{kills} kills, {in_writes} inside a checkpoint write, {len(wrong)} differences")
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()

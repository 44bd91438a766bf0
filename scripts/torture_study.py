"""Kill a whole study again and again, at random moments, and see whether its report is the same.

    python scripts/torture_study.py --out outputs/torture-study --kills 5

One study (five methods, two seeds: train, evaluate, report) is left alone; the same one is killed `kills` times
(SIGKILL for all its processes) and started again each time with the same command. At the end comparison.json,
all tables and every run's weights must be equal. The text is this project's own code. Exit code 1 if anything differs.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from alibi.paths import user_path

ROOT = Path(__file__).parents[1]
TRAIN = [
    "data=text", f"data.path={ROOT / 'alibi'}", "data.pattern='**/*.py'", "tokenizer=byte", "size=tiny",
    "model.num_layers=1", "model.d_model=32", "train.seq_len=32", "train.batch_tokens=512", "train.max_steps=12",
    "train.eval_every=6", "train.checkpoint_every=2", "tracking.wandb=disabled", "device=cpu", "paths.outputs=runs",
    "paths.cache=cache",
]  # fmt: skip
EVALUATE = [
    "runs=runs/*-tiny-*", "eval.lengths=[32,64]", "eval.stride=[null,4]", "eval.max_tokens=2000",
    "tracking.wandb=disabled", "device=cpu", "paths.outputs=runs", "paths.cache=cache",
]  # fmt: skip
# What differs between two runs of the same: how fast, with how much memory; and a result file's checksum of itself.
TIMINGS = re.compile(r"time|seconds|per_sec|memory")
SPEED_COLUMNS = re.compile(r"([|&][^|&\n]*){2}( \||\\\\)$", re.M)  # the last two of the table of runs


def write_study(path: Path, methods: list[str], seeds: int) -> None:
    sweep = [*TRAIN, f"model={','.join(methods)}", f"seed={','.join(map(str, range(seeds)))}"]
    report = {"runs": ["runs/*-tiny-*"], "out": "report"}
    path.write_text(json.dumps({"train": [sweep], "evaluate": [EVALUATE], "report": report}, indent=1))


def start(study: Path, folder: Path, more: list[str]) -> subprocess.Popen:
    """The study, in a process group of its own and in a folder of its own, with what it prints in its log."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log", "a") as log:
        command = [sys.executable, str(ROOT / "scripts" / "study.py"), str(study), *more]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def finish(study: Path, folder: Path, more: list[str]) -> float:
    """Seconds to the end of a study that nobody kills.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.monotonic()
    if code := start(study, folder, more).wait():
        raise RuntimeError(f"exit code {code}, see {folder / 'log'}")
    return time.monotonic() - begun


def kill(study: Path, folder: Path, more: list[str], seconds: float) -> bool:
    """Start, and kill all its processes after so many seconds; False if it came to its end first."""
    process = start(study, folder, more)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def progress(folder: Path) -> str:
    steps = sum(len(path.read_text().splitlines()) for path in folder.glob("runs/*-tiny-*/metrics.jsonl"))
    checkpoints = len(list(folder.glob("runs/*-tiny-*/checkpoints/step-*")))
    results = len(list(folder.glob("runs/*-tiny-*/evaluation/*.json")))
    return f"{steps} steps, {checkpoints} checkpoints, {results} result files"


def content(folder: Path) -> dict[str, object]:
    """All that must be equal: the report's numbers, its tables, the weights of every run."""
    report = folder / "report"
    found: dict[str, object] = {"comparison.json": untimed(json.loads((report / "comparison.json").read_text()))}
    for path in sorted(report.glob("tables/*")):
        found[path.name] = SPEED_COLUMNS.sub("", path.read_text()) if path.stem == "runs" else path.read_text()
    for path in sorted(folder.glob("runs/*-tiny-*")):
        weights = (path / "checkpoints" / "last" / "model.safetensors").read_bytes()
        found[f"weights of {path.name}"] = hashlib.sha256(weights).hexdigest()
        for result in sorted(path.glob("evaluation/*.json")):
            scored = untimed(json.loads(result.read_text()))
            del scored["sha256"]
            found[f"{result.name} of {path.name}"] = scored
    return found


def untimed(value: object) -> object:
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if not TIMINGS.search(key)}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


def differences(one: Path, other: Path) -> list[str]:
    alone, killed = content(one), content(other)
    return [f"{what} differs" for what in sorted(alone.keys() | killed.keys()) if alone.get(what) != killed.get(what)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=user_path, required=True, help="folder for the studies; must not exist")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=["alibi", "none", "rotary", "sinusoidal", "t5"])
    parser.add_argument("--seeds", type=int, default=2, help="runs of each method (2)")
    parser.add_argument("--launcher", help="Hydra's, in place of one job after the other: joblib, submitit_local")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"--out ({options.out}) exists; give a new folder.")
    return options


def main() -> None:
    options = parse()
    out, draw = options.out.absolute(), random.Random(options.seed)
    more = ["--train", f"hydra/launcher={options.launcher}"] if options.launcher else []
    out.mkdir(parents=True)
    study = out / "study.yaml"
    write_study(study, options.methods, options.seeds)
    seconds = finish(study, out / "alone", more)
    print(f"left alone {seconds:.0f} s: {progress(out / 'alone')}", flush=True)
    kills = 0
    while kills < options.kills:
        moment = draw.uniform(0, 2 * seconds / options.kills)
        if kill(study, out / "killed", more, moment):
            kills += 1
            print(f"kill {kills}     after {moment:.1f} s: {progress(out / 'killed')}", flush=True)
        else:  # it came to its end first
            kills = 0
            shutil.rmtree(out / "killed")
    finish(study, out / "killed", more)
    wrong = differences(out / "alone", out / "killed")
    runs = len(options.methods) * options.seeds
    print(f"{runs} jobs, {kills} kills, {len(content(out / 'alone'))} things compared, {len(wrong)} differences")
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()

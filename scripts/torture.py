"""Kill training again and again, at random moments, and see whether anything is lost.

    python scripts/torture.py --out outputs/torture --kills 60

For each method and tokenizer (words with the optimizer nag, the others with adamw) one run is left
alone, and one with the same command is killed (SIGKILL) `kills` times in all, the same command given
again each time: at random moments, from the reading of the text on, and every fifth time in the middle
of a checkpoint write. At the end weights, pointers, training state and metrics.jsonl (perf/* apart)
must be equal, bit for bit. The text is code of this project.
Exit code 1 if anything differs.
"""

import argparse
import json
import multiprocessing
import os
import random
import runpy
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from alibi.paths import user_path

ROOT = Path(__file__).parents[1]
RECIPE = [
    "data=text", f"data.path={ROOT / 'alibi' / 'model'}", "data.pattern='**/*.py'", "size=tiny", "model.dropout=0.1",
    "train.seq_len=32", "train.batch_tokens=512", "train.micro_batch_tokens=128", "train.max_steps=24",
    "train.eval_every=5", "train.checkpoint_every=3", "tracking.wandb=disabled", "device=cpu",
]  # fmt: skip
# Words with the paper's optimizer, the others with AdamW.
TOKENIZERS = {"byte": [], "word": ["optimizer=nag"], "bpe": ["tokenizer.vocab_size=300"]}
IN_A_WRITE = 5  # every so manieth kill waits for a checkpoint write to begin


@dataclass
class Trial:
    """One method and tokenizer.

    Attributes:
        landed: for each kill, the step it came after, and whether a checkpoint was being written.
    """

    folder: Path
    method: str
    tokenizer: str
    landed: list[tuple[int, bool]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.method}-{self.tokenizer}"

    def start(self, run: str) -> multiprocessing.Process:
        """A process with the command of the run `alone` or `killed`."""
        place = self.folder / self.name / run
        overrides = [
            *RECIPE, f"model={self.method}", f"tokenizer={self.tokenizer}", *TOKENIZERS[self.tokenizer],
            f"run_dir={place / 'run'}", f"paths.cache={place / 'cache'}", f"paths.outputs={place}",
        ]  # fmt: skip
        process = multiprocessing.get_context("forkserver").Process(target=train, args=(overrides, place / "log"))
        process.start()
        return process

    def finish(self, run: str) -> float:
        """Seconds to the end of a run that nobody kills.

        Raises:
            RuntimeError: it failed.
        """
        begun, process = time.monotonic(), self.start(run)
        process.join()
        if process.exitcode:
            raise RuntimeError(
                f"{self.name}, {run}: exit code {process.exitcode}, see {self.folder / self.name / run}/log"
            )
        return time.monotonic() - begun

    def kill(self, seconds: float, in_a_write: bool) -> None:
        """Start, and kill after so many seconds, or then in the next checkpoint write."""
        run = self.folder / self.name / "killed" / "run"
        process = self.start("killed")
        process.join(seconds)
        while in_a_write and process.is_alive() and not being_written(run):
            time.sleep(0.0002)
        if process.is_alive():
            process.kill()
            process.join()
            self.landed.append((last_step(run), being_written(run)))

    def differences(self) -> list[str]:
        alone, killed = (content(self.folder / self.name / run / "run") for run in ("alone", "killed"))
        return [f"{self.name}: {what} differs" for what in alone if alone[what] != killed[what]]


def train(overrides: list[str], log: Path) -> None:
    """`python train.py OVERRIDES` in a process that has its imports already."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = [str(ROOT / "train.py"), *overrides]
    runpy.run_path(sys.argv[0], run_name="__main__")


def being_written(run: Path) -> bool:
    return any((run / "checkpoints").glob(".step-*"))


def last_step(run: Path) -> int:
    lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def content(run: Path) -> dict[str, object]:
    """All that must be equal: pointers, checkpoints, metrics."""
    checkpoints = run / "checkpoints"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, object] = {
        "metrics.jsonl": [{k: v for k, v in line.items() if not k.startswith("perf/")} for line in lines],
        "the list of checkpoints": sorted(p.name for p in checkpoints.iterdir()),
    }
    for pointer in ("last", "best"):
        found[pointer] = os.readlink(checkpoints / pointer)
        found[f"{pointer}/model.safetensors"] = (checkpoints / pointer / "model.safetensors").read_bytes()
        state = torch.load(checkpoints / pointer / "training_state.pt", weights_only=True)
        found[f"{pointer}/training_state.pt"] = plain(state)
    return found


def plain(state: object) -> object:
    """A state to compare bit for bit; the file itself may name its parts in another order."""
    if isinstance(state, torch.Tensor):
        return str(state.dtype), tuple(state.shape), state.numpy().tobytes()
    if isinstance(state, dict):
        return {name: plain(value) for name, value in state.items()}
    return [plain(value) for value in state] if isinstance(state, list | tuple) else state


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=user_path, required=True, help="folder for the runs; must not exist")
    parser.add_argument("--kills", type=int, default=60, help="in all (60)")
    parser.add_argument("--methods", nargs="+", default=["alibi", "none", "rotary", "sinusoidal", "t5"])
    parser.add_argument("--tokenizers", nargs="+", choices=list(TOKENIZERS), default=list(TOKENIZERS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"--out ({options.out}) exists; give a new folder.")
    if options.kills < 1:
        parser.error(f"--kills ({options.kills}) must be at least 1.")
    return options


def main() -> None:
    options = parse()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["alibi.config", "alibi.training"])
    pairs = [(method, tokenizer) for method in options.methods for tokenizer in options.tokenizers]
    trials = [Trial(options.out.absolute(), *pair) for pair in pairs]
    draw, wrong = random.Random(options.seed), []
    seconds = {trial.name: trial.finish("alone") for trial in trials}
    for number in range(options.kills):
        trial = trials[number % len(trials)]
        wanted = len(trial.landed) + 1
        while len(trial.landed) < wanted:
            trial.kill(draw.uniform(0, seconds[trial.name]), number % IN_A_WRITE == 0)
            if len(trial.landed) < wanted:  # it came to its end first: what is finished is compared, and begun anew
                wrong += trial.differences()
                shutil.rmtree(trial.folder / trial.name / "killed")
    for trial in trials:
        trial.finish("killed")
        wrong += trial.differences()
        landed = ", ".join(f"{step}{' in a write' if written else ''}" for step, written in trial.landed)
        print(f"{trial.name}: {len(trial.landed)} kills, after steps {landed}", flush=True)
    kills = [kill for trial in trials for kill in trial.landed]
    in_writes = sum(written for _, written in kills)
    print(f"{len(kills)} kills, {in_writes} inside a checkpoint write, {len(wrong)} differences")
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()

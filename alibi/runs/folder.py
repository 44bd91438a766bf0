"""The run folder: its checkpoints, the pointers to them, and what `runs=` means."""

import glob
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from alibi.data import Tokenizer
from alibi.files import refuse_links_out
from alibi.model import LanguageModel
from alibi.pointers import BEST, LAST, LATEST, expand, follow, point
from alibi.runs.checkpoint import WRITTEN, Checkpoint
from alibi.runs.layout import CONFIG, MANIFEST
from alibi.runs.writing import write_checkpoint


def step_name(step: int) -> str:
    return f"step-{step:08d}"


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def saved_steps(self) -> list[int]:
        """Steps with a checkpoint, in order."""
        found = (p.name for p in self.checkpoints.glob("step-*") if not p.is_symlink())
        steps = (int(digits) for name in found if (digits := name.removeprefix("step-")).isdecimal())
        return sorted(step for step in steps if (self.checkpoints / step_name(step)).exists())

    def last(self) -> Path | None:
        """The last checkpoint by its pointer; where that is gone (a copy without links), the highest whole one.

        Raises:
            ValueError: a pointer that leads out of its folder: what is made of that checkpoint would be written there.
        """
        pointer = self.checkpoints / LAST
        if pointer.is_symlink() or follow(pointer) != pointer:
            return _pointed_to(pointer)
        steps = [self.checkpoints / step_name(step) for step in self.saved_steps()]
        # The manifest is written last. What has one and is damaged all the same is refused, not passed over.
        whole = [step.resolve() for step in (*steps, pointer) if (step / MANIFEST).is_file()]
        return whole[-1] if whole else None

    def save_checkpoint(
        self,
        step: int,
        model: LanguageModel,
        state: dict,
        config: str,
        tokenizer: Tokenizer,
        texts: dict[str, str],
        weights: dict[str, torch.Tensor] | None = None,
        fingerprint: dict | None = None,
    ) -> None:
        """Write checkpoints/step-<step> and point `last` to it; see write_checkpoint.

        Raises:
            ValueError: the folder holds a link that leads out of it.
        """
        refuse_links_out(self.path, WRITTEN)
        target = self.checkpoints / step_name(step)
        write_checkpoint(target, step, model, state, config, tokenizer, texts, weights, fingerprint)
        point(self.checkpoints / LAST, step_name(step))

    def point_best(self, step: int) -> None:
        point(self.checkpoints / BEST, step_name(step))

    def point_latest(self, outputs: Path) -> None:
        """Point outputs/latest to this run."""
        outputs.mkdir(parents=True, exist_ok=True)
        place = self.path.absolute()
        # `..` in a link counts from where the link really is, and either folder may itself be behind a link.
        real = Path(os.path.realpath(place.parent), place.name)
        point(outputs / LATEST, os.path.relpath(real, os.path.realpath(outputs)))

    def put_back(self) -> None:
        """What was set aside for a newer checkpoint of its step, which a kill kept from its place (write_checkpoint).

        The caller holds the run's lock.
        """
        for path in self.checkpoints.glob(".step-*.before.*"):
            place = self.checkpoints / path.name.split(".")[1]
            if not os.path.lexists(place):
                os.replace(path, place)

    def remove_leftovers(self) -> None:
        """What a killed process had begun, beside its place: .<name>.<process>. The caller holds the run's lock."""
        for path in (*self.path.glob(".*"), *self.checkpoints.glob(".*")):
            if re.fullmatch(r"\..+\.\d+", path.name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def keep(self, last: int) -> None:
        """Delete all but the newest `last` checkpoints and the best."""
        pointed = {follow(self.checkpoints / name).name for name in (BEST, LAST)}
        for step in self.saved_steps()[:-last]:
            if step_name(step) not in pointed:
                shutil.rmtree(self.checkpoints / step_name(step))


def checkpoint_of(path: Path) -> Path:
    """The checkpoint a path means: itself, or the last one of a run folder.

    Raises:
        FileNotFoundError: neither.
        ValueError: a pointer that leads out of its folder.
    """
    if path.parent.name == "checkpoints":
        return _pointed_to(path)
    path = follow(path)
    if (path / MANIFEST).is_file():
        return path.resolve()
    if checkpoint := RunFolder(path).last():
        return checkpoint
    if (path / CONFIG).is_file():
        raise FileNotFoundError(f"{path} has no checkpoint yet; train it further, or choose another run with runs=.")
    raise FileNotFoundError(f"{path} is neither a run folder nor a checkpoint folder; give one of them in runs=.")


def _pointed_to(path: Path) -> Path:
    checkpoint = Path(os.path.realpath(follow(path)))
    if checkpoint.parent != Path(os.path.realpath(path.parent)):
        raise ValueError(f"{path} points to {checkpoint}, out of its folder; give the checkpoint folder itself.")
    return checkpoint


def latest_run(outputs: Path) -> Path:
    """The run that `latest` in the outputs leads to; where that is gone (a copy without links), the newest.

    Raises:
        FileNotFoundError: no run, or one that is gone.
    """
    pointer = outputs / LATEST
    run = follow(pointer)
    if pointer.is_symlink() or pointer.is_file():
        if not run.exists():
            raise FileNotFoundError(f"{pointer} points to {run}, which is gone; name a run in runs=.")
        return run
    if RunFolder(run).last():
        return run
    runs = [path.parent for path in outputs.glob(f"*/{CONFIG}") if RunFolder(path.parent).last()]
    if not runs:
        raise FileNotFoundError(f"there is no run yet ({pointer} does not exist); python train.py makes one.")
    newest = max(runs, key=lambda run: (run / CONFIG).stat().st_mtime)  # written when training begins or goes on
    print(f"note       {pointer} is no pointer to a run; {newest} is the newest")
    return newest


def resolve_runs(runs: str | Iterable[str], outputs: Path) -> list[Path]:
    """Checkpoint folders that `runs=` means: latest, a run or checkpoint folder, a glob, or a list of these.

    Raises:
        FileNotFoundError: no run yet, nothing there, or a glob that matches no run.
        ValueError: an empty list.
    """
    if not isinstance(runs, str | Iterable):
        raise ValueError(
            f"runs ({runs}) must be latest, a run folder, a checkpoint folder, a glob, or a list of these."
        )
    if not isinstance(runs, str):
        found = [path for one in runs for path in resolve_runs(one, outputs)]
        if not found:
            raise ValueError("runs is an empty list; give latest, a run folder, a checkpoint folder or a glob.")
        return list(dict.fromkeys(found))
    if runs == LATEST:
        return [checkpoint_of(latest_run(outputs))]
    if not glob.has_magic(runs) or Path(runs).exists():
        if not Path(runs).exists():
            raise FileNotFoundError(f"runs={runs} does not exist; give a run folder, a checkpoint folder or a glob.")
        return [checkpoint_of(Path(runs))]
    folders = [p for p in expand(runs) if (p / MANIFEST).is_file() or (p / CONFIG).is_file()]
    if not folders:
        raise FileNotFoundError(f"runs={runs} matches no run and no checkpoint; python train.py makes one.")
    ready = [p for p in folders if (p / MANIFEST).is_file() or RunFolder(p).last()]
    for path in folders:
        if ready and path not in ready:  # of a sweep, a job that failed early
            print(f"note       {path} has no checkpoint yet, and is passed over")
    return list(dict.fromkeys(checkpoint_of(p) for p in ready or folders))


def load_model(path: str | Path, device: str | torch.device = "cpu") -> LanguageModel:
    """The model of a run folder (its last checkpoint) or of a checkpoint folder, in evaluation mode.

    Raises:
        FileNotFoundError: no such folder, or no checkpoint in it.
        DamagedCheckpoint: the checkpoint is cut short or altered.
        ChangedModel: the code was edited since.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a run folder or a checkpoint folder.")
    return Checkpoint(checkpoint_of(path)).load_model(device)

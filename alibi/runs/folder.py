"""The run folder: its checkpoints, the pointers to them, and what `runs=` resolves to."""

import glob
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from alibi.data import Tokenizer
from alibi.files import put_back
from alibi.model import LanguageModel
from alibi.pointers import BEST, CONFIG, LAST, LATEST, MANIFEST, expand, follow, point
from alibi.runs.checkpoint import Checkpoint
from alibi.runs.checkpoint_files import write_checkpoint


def step_name(step: int) -> str:
    return f"step-{step:08d}"


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def at(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.checkpoints / step_name(step)

    def saved_steps(self) -> list[int]:
        """Steps that have a checkpoint, in order."""
        digits = (path.name.removeprefix("step-") for path in self.checkpoints.glob("step-*"))
        return sorted(int(step) for step in digits if step.isdecimal())

    def last(self) -> Path | None:
        """The last checkpoint by its pointer; without one (a copy without links), the highest complete one."""
        pointer = self.checkpoints / LAST
        if pointer.is_symlink() or follow(pointer) != pointer:
            return _step_folder(pointer)
        # One with a manifest was complete once: if it is damaged now, that is an error and no reason to skip it.
        steps = (*map(self.at, self.saved_steps()), pointer)
        complete = [step.resolve() for step in steps if (step / MANIFEST).is_file()]
        return complete[-1] if complete else None

    def save_checkpoint(self, step: int, *args, **kwargs) -> None:
        """Write checkpoints/step-<step>, with the arguments of `write_checkpoint`, and point `last` to it."""
        write_checkpoint(self.at(step), step, *args, **kwargs)
        point(self.checkpoints / LAST, step_name(step))

    def point_best(self, step: int) -> None:
        point(self.checkpoints / BEST, step_name(step))

    def point_latest(self, outputs: Path) -> None:
        """Point outputs/latest to this run."""
        outputs.mkdir(parents=True, exist_ok=True)
        place = self.path.absolute()
        # `..` in a link counts from the link's real folder, and either folder may itself be reached by a link.
        real = Path(os.path.realpath(place.parent), place.name)
        point(outputs / LATEST, os.path.relpath(real, os.path.realpath(outputs)))

    def clear_up(self) -> None:
        """Undo what killed processes left: restore checkpoints set aside (`replace_folder`), remove temporary files.

        The caller holds the run's lock.
        """
        for aside in self.checkpoints.glob(".step-*.before"):
            put_back(self.checkpoints / aside.name.split(".")[1])
        for path in (*self.path.glob(".*"), *self.checkpoints.glob(".*")):
            if re.fullmatch(r"\..+\.(\d+|before)", path.name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def keep(self, last: int, also: int | None = None) -> None:
        """Delete all checkpoints but the newest `last` ones, the best, and that of step `also`."""
        pointed = {follow(self.checkpoints / name).name for name in (BEST, LAST)}
        for step in self.saved_steps()[:-last]:
            if step_name(step) not in pointed and step != also:
                shutil.rmtree(self.at(step))


def checkpoint_of(path: Path) -> Path:
    """The checkpoint folder that a path means: itself, or the last one of a run folder.

    Raises:
        FileNotFoundError: it is neither.
    """
    if path.parent.name == "checkpoints":
        return _step_folder(path)
    path = follow(path)
    if (path / MANIFEST).is_file():
        return path.resolve()
    if checkpoint := RunFolder(path).last():
        return checkpoint
    if (path / CONFIG).is_file():
        raise FileNotFoundError(f"{path} has no checkpoint yet; train it further, or choose another run with runs=.")
    raise FileNotFoundError(f"{path} is neither a run folder nor a checkpoint folder; give one of them in runs=.")


def _step_folder(path: Path) -> Path:
    """The folder of a step or of a pointer to it, restored first if a kill left it set aside."""
    folder = Path(os.path.realpath(follow(path)))
    put_back(folder)
    return folder


def latest_run(outputs: Path) -> Path:
    """The run that outputs/latest points to; without the pointer (a copy without links), the newest run.

    Raises:
        FileNotFoundError: there is no run, or it is gone.
    """
    pointer = outputs / LATEST
    run = follow(pointer)
    if pointer.is_symlink() or pointer.is_file():
        if not run.exists():
            raise FileNotFoundError(f"{pointer} points to {run}, which is gone; name a run in runs=.")
        return run
    if RunFolder(run).last():
        return run
    configs = [path for path in outputs.glob(f"*/{CONFIG}") if RunFolder(path.parent).last()]
    if not configs:
        raise FileNotFoundError(f"there is no run yet ({pointer} does not exist); python train.py makes one.")
    newest = max(configs, key=lambda path: path.stat().st_mtime).parent  # written whenever training starts or resumes
    print(f"note       {pointer} is no pointer to a run; {newest} is the newest")
    return newest


def resolve_runs(runs: str | Iterable[str], outputs: Path) -> list[Path]:
    """The checkpoint folders that `runs=` means: latest, a run or checkpoint folder, a glob, or a list of these.

    Raises:
        FileNotFoundError: there is no run yet, a path does not exist, or a glob matches no run.
        ValueError: an empty list.
    """
    if isinstance(runs, Iterable) and not isinstance(runs, str):
        found = [path for one in runs for path in resolve_runs(one, outputs)]
        if not found:
            raise ValueError("runs is an empty list; give latest, a run folder, a checkpoint folder or a glob.")
        return list(dict.fromkeys(found))
    runs = str(runs)
    if runs == LATEST:
        return [checkpoint_of(latest_run(outputs))]
    if not glob.has_magic(runs) or Path(runs).exists():
        put_back(follow(Path(runs)))  # `last` may point to a step that a kill left set aside
        if not Path(runs).exists():
            raise FileNotFoundError(f"runs={runs} does not exist; give a run folder, a checkpoint folder or a glob.")
        return [checkpoint_of(Path(runs))]
    folders = [p for p in expand(runs) if (p / MANIFEST).is_file() or (p / CONFIG).is_file()]
    if not folders:
        raise FileNotFoundError(f"runs={runs} matches no run and no checkpoint; python train.py makes one.")
    ready = [p for p in folders if (p / MANIFEST).is_file() or RunFolder(p).last()] or folders
    for path in folders:
        if path not in ready:  # a job of a sweep that failed early
            print(f"note       {path} has no checkpoint yet; skipped")
    return list(dict.fromkeys(map(checkpoint_of, ready)))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a run folder (its last checkpoint) or of a checkpoint folder.

    Raises:
        FileNotFoundError: no checkpoint there.
        DamagedCheckpoint: the checkpoint is damaged.
    """
    return Checkpoint(checkpoint_of(Path(path))).load_tokenizer()


def load_model(path: str | Path, device: str | torch.device = "cpu") -> LanguageModel:
    """The model of a run folder (its last checkpoint) or of a checkpoint folder, in evaluation mode.

    Raises:
        FileNotFoundError: no checkpoint there.
        DamagedCheckpoint: the checkpoint is damaged.
        ChangedModel: the code was edited since.
    """
    return Checkpoint(checkpoint_of(Path(path))).load_model(device)

"""Opening a run folder: a new run, a run to resume, or a refusal."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from filelock import Timeout

from alibi.files import hold
from alibi.pointers import refuse_pointer
from alibi.runs import CONFIG, Checkpoint, DamagedCheckpoint, RunFolder, checkpoint_of, differences, read_settings
from alibi.training.run_data import RunData
from alibi.training.schedule import how_to_extend
from alibi.training.training_settings import RunConfig

LOCK = ".lock"


def find_checkpoint(config: RunConfig, folder: RunFolder, say: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint to resume from, by `train.resume`; None starts a new run.

    Raises:
        ValueError: the folder holds a run with other settings, or any run where resume is false; it is a pointer;
            resume is the last step of another run; or the checkpoint's format can only be evaluated.
        FileNotFoundError, DamagedCheckpoint: train.resume is a path without a sound checkpoint.
    """
    refuse_pointer(folder.path)
    path, resume = folder.path, config.train.resume
    if (path / CONFIG).is_file():
        if resume == "false":
            raise ValueError(f"{path} holds a run; go on with it by train.resume=auto, or choose another run_dir.")
        _same_settings(read_settings(path / CONFIG), config, path, path)
    elif path.exists() and any(p.name != "wandb" and p.name[0] != "." for p in path.iterdir()):
        raise ValueError(f"run_dir {path} is not empty and holds no run; choose an empty or a new folder.")
    checkpoint = _newest_sound(folder, say) if resume in ("auto", "false") else _named(resume, config, folder)
    if checkpoint and not checkpoint.is_last and not checkpoint.resumable:
        raise ValueError(
            f"{checkpoint.path} has a training state of checkpoint format 1: it can be evaluated, but not trained "
            f"further. Use the version that wrote it (see manifest.json), or train anew: the same command without "
            f"train.resume, with {checkpoint.beside}."
        )
    return checkpoint


def _named(resume: str, config: RunConfig, folder: RunFolder) -> Checkpoint:
    """The checkpoint that `train.resume` names by its path."""
    if not Path(resume).exists():
        raise FileNotFoundError(f"train.resume={resume} does not exist; give auto, false or a checkpoint folder.")
    checkpoint = Checkpoint(checkpoint_of(Path(resume)))
    _same_settings(checkpoint.config, config, checkpoint.path, checkpoint.run)
    if later := [step for step in folder.saved_steps() if step > checkpoint.step]:
        raise ValueError(
            f"{folder.path} holds checkpoints later than train.resume={resume}, up to step {later[-1]}; choose "
            "another run_dir, or train.resume=auto."
        )
    if checkpoint.is_last and checkpoint.run.resolve() != folder.path.resolve():
        raise ValueError(
            f"train.resume={resume} is at step {checkpoint.step} of {config.train.max_steps}: nothing is left to "
            f"train in {folder.path}; give an earlier checkpoint."
        )
    return checkpoint


def _newest_sound(folder: RunFolder, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is not damaged; None if there is no checkpoint.

    Raises:
        DamagedCheckpoint: all are damaged. A new run would overwrite them.
    """
    damaged = None
    for step in reversed(folder.saved_steps()):
        try:
            sound = Checkpoint(folder.at(step))
            if damaged:
                say(f"{damaged} Going on from step {step}, the one before.")
            return sound
        except DamagedCheckpoint as error:
            damaged = error
    if damaged:
        raise DamagedCheckpoint(f"{damaged} No sound checkpoint is left in {folder.path}; choose another run_dir.")
    return None


def _same_settings(stored: dict, config: RunConfig, where: Path, run: Path) -> None:
    if changed := differences(stored, asdict(config)):
        told = "; ".join(changed)
        longer = stored["train"]["max_steps"] < config.train.max_steps and len(changed) == 1
        extend = f" {how_to_extend(stored, run)}" if longer else ""
        raise ValueError(f"{where} holds a run with other settings: {told}. Choose these, or another run_dir.{extend}")


def open_folder(config: RunConfig, folder: RunFolder, data: RunData, held: ExitStack) -> Checkpoint | None:
    """Lock the run folder until `held` is closed; returns the checkpoint to resume from, None for a new run.

    Raises:
        ValueError: another process trains this run; as `find_checkpoint`; or the text or the tokenizer is not what
            the checkpoint was trained with.
        ChangedModel: the code was edited since the checkpoint was written, and computes something else.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    try:
        held.enter_context(hold(folder.path / LOCK, timeout=0))
    except Timeout as error:
        raise ValueError(f"another process is training {folder.path}; wait, or choose another run_dir.") from error
    folder.clear_up()
    checkpoint = find_checkpoint(config, folder, print)
    if not checkpoint:
        return None
    stored = checkpoint.texts | {"tokenizer": checkpoint.load_tokenizer().sha256}
    found = data.sha256 | {"tokenizer": data.tokenizer.sha256}
    for what in ("train", "validation", "tokenizer"):
        then, now = stored[what], found[what]
        if then != now:
            raise ValueError(
                f"sha256 of {what} is {now[:12]}... now and {then[:12]}... in {checkpoint.path}; restore the text and "
                "the tokenizer's settings, or choose another run_dir."
            )
    if checkpoint.source_changed(checkpoint.load_model()):
        print(
            f"note       the position method was edited since {checkpoint.path} was written, and computes the same. "
            f"If you changed its initial values, train it beside this run, with {checkpoint.beside}"
        )
    return checkpoint

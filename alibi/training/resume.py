"""Opening a run folder: a new run, one to go on with, or a refusal."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import yaml

from alibi.runs import CONFIG, Checkpoint, DamagedCheckpoint, RunFolder, checkpoint_of, step_name
from alibi.training.identity import differences
from alibi.training.settings import RunConfig


def find_checkpoint(config: RunConfig, folder: RunFolder, say: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint that a run goes on from, by `train.resume`; None begins anew.

    Raises:
        ValueError: the folder holds another configuration, or a run where resume is false.
        FileNotFoundError, DamagedCheckpoint: of a checkpoint named by its path.
    """
    resume = config.train.resume
    if (folder.path / CONFIG).is_file():
        if resume == "false":
            raise ValueError(
                f"{folder.path} holds a run already, and train.resume is false; use train.resume=auto to go on with "
                "it, or another run_dir."
            )
        _same_settings(yaml.safe_load((folder.path / CONFIG).read_text(encoding="utf-8")), config, folder.path)
    elif folder.path.exists() and any(p.name != "wandb" for p in folder.path.iterdir()):
        raise ValueError(f"run_dir {folder.path} is not empty and holds no run; choose an empty or a new folder.")
    if resume not in ("auto", "false"):
        if not Path(resume).exists():
            raise FileNotFoundError(f"train.resume={resume} does not exist; give auto, false or a checkpoint folder.")
        checkpoint = Checkpoint(checkpoint_of(Path(resume)))
        _same_settings(checkpoint.config, config, checkpoint.path)
        return checkpoint
    for step in reversed(folder.saved_steps()):
        try:
            return Checkpoint(folder.checkpoints / step_name(step))
        except DamagedCheckpoint as error:
            say(f"{error} Going on from the one before.")
    return None


def _same_settings(stored: dict, config: RunConfig, where: Path) -> None:
    if changed := differences(stored, asdict(config)):
        raise ValueError(
            f"{where} holds a run with other settings: {'; '.join(changed)}. "
            "Choose another run_dir, or the same settings."
        )


def check_same_text(checkpoint: Checkpoint, texts: dict[str, str], tokenizer_sha256: str) -> None:
    """
    Raises:
        ValueError: the text or the tokenizer is not what the checkpoint was trained with.
    """
    for split, sha256 in texts.items():
        if checkpoint.texts[split] != sha256:
            raise ValueError(
                f"the {split} text has sha256 {sha256[:12]}... and {checkpoint.path} was trained with "
                f"{checkpoint.texts[split][:12]}...; restore the text, or choose another run_dir."
            )
    if (known := checkpoint.load_tokenizer().sha256) != tokenizer_sha256:
        raise ValueError(
            f"the tokenizer has sha256 {tokenizer_sha256[:12]}... and {checkpoint.path} was trained with "
            f"{known[:12]}...; restore its settings and text, or choose another run_dir."
        )

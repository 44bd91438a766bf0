"""How a new run begins from the weights of its origin: order of the text, and on request the optimizer's moments."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from alibi.data import Cursor
from alibi.model import LanguageModel
from alibi.runs import Checkpoint, checkpoint_of
from alibi.runs.checkpoint_files import stored_shapes
from alibi.training.parallel import load_moments
from alibi.training.schedule import warmup_in_words
from alibi.training.train_state import TrainState
from alibi.training.training_settings import RunConfig

MOST_NAMES = 3  # of parameters in a sentence


def open_origin(config: RunConfig) -> Checkpoint:
    """The checkpoint that `train.init_from` names.

    Raises:
        ValueError: it has other weights than when the settings were read, or no optimizer to take.
        ChangedModel: the code was edited since it was written, and computes something else.
        FileNotFoundError, DamagedCheckpoint: there is no sound checkpoint.
    """
    origin, settings = Checkpoint(checkpoint_of(Path(config.train.init_from))), config.optimizer
    if origin.sha256 != config.origin.sha256:
        raise ValueError(
            f"train.init_from={config.train.init_from} has other weights now ({origin.sha256[:12]}...) than when this "
            f"command began ({config.origin.sha256[:12]}...); give one of its checkpoints, such as {origin.path}."
        )
    if config.train.init_optimizer:
        anew = "leave train.init_optimizer out: the optimizer starts anew"
        if not _has_state(origin):
            raise ValueError(f"train.init_optimizer: {origin.path} has no optimizer that could be taken; {anew}.")
        if (name := origin.config["optimizer"]["name"]) != settings.name:
            raise ValueError(f"optimizer.name is {settings.name} here and {name} in {origin.path}; {anew}.")
    origin.load_model()
    return origin


def _has_state(origin: Checkpoint) -> bool:
    """Whether it can be resumed, unlike one that was imported or has format 1."""
    return origin.resumable and "cursor" in origin.state


def check_form(form: str, origin: Checkpoint) -> None:
    """
    Args:
        form: of the new run's text.

    Raises:
        ValueError: WikiText's other form, for which the origin's tokenizer was not made.
    """
    if (then := origin.manifest.get("text_form")) and {form, then} == {"raw", "tokens"}:
        raise ValueError(
            f"the text has the form {form} here and {then} in {origin.path}, whose tokenizer was made for that form; "
            f"give a data.path with the files wiki.{{train,valid,test}}.{then}."
        )


def begin(
    config: RunConfig,
    origin: Checkpoint,
    text_sha256: str,
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, str],
) -> tuple[TrainState, list[str]]:
    """The state of a new run from an origin, whose moments are put into the optimizer if they are asked for.

    Args:
        text_sha256: of the training text.
        model: with the origin's weights in it.
        kept: its parameters that are the origin's, each with the name it has there.

    Returns:
        The state, and sentences on what was taken and what starts anew.
    """
    cursor, where = _cursor(config, origin, text_sha256)
    state, taken = TrainState(cursor=cursor), "optimizer and schedule start anew"
    if config.train.init_optimizer:
        load_moments(_kept_moments(origin, kept), model, optimizer)
        taken = "the optimizer's moments are the origin's, and the schedule starts anew"
        state.updates_before = origin.state.get("updates_before", 0) + origin.step
        before, now = origin.config["train"], config.train
        if (before["batch_tokens"], before["seq_len"]) == (now.batch_tokens, now.seq_len):
            state.micro_batch_tokens = origin.state["micro_batch_tokens"]
    said = [f"{taken}, {warmup_in_words(config.optimizer, config.train.max_steps)}; {where}"]
    if anew := [name for name, _ in model.named_parameters() if name not in kept]:
        said.append(f"from seed {config.seed} start anew: {_some(anew)}")
    if dropped := sorted(stored_shapes(origin.path).keys() - set(kept.values())):
        said.append(f"the new model lacks, and leaves behind: {_some(dropped)}")
    return state, said


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _cursor(config: RunConfig, origin: Checkpoint, text_sha256: str) -> tuple[Cursor, str]:
    """Where the order of the text begins, and why, in words. In an epoch that the origin began, the same seed would
    repeat sequences."""
    if not _has_state(origin):
        return Cursor(), "the order starts at epoch 0, since the origin's is not known"
    cursor, then = Cursor(**origin.state["cursor"]), origin.config
    next_epoch = Cursor(cursor.epoch + bool(cursor.index), 0)
    starts = f"the order starts at epoch {next_epoch.epoch}"
    if not config.train.init_optimizer:
        return next_epoch, starts
    pairs = {
        "text": (text_sha256, origin.texts["train"]),
        "train.seq_len": (config.train.seq_len, then["train"]["seq_len"]),
        "seed": (config.seed, then["seed"]),
    }
    if other := [name for name, (now, before) in pairs.items() if now != before]:
        return next_epoch, f"{starts}, since {' and '.join(other)} changed"
    return cursor, f"the order goes on at epoch {cursor.epoch}, sequence {cursor.index}"


def _kept_moments(origin: Checkpoint, kept: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """The moments of the parameters that are kept, under their new names."""
    for key, whole in origin.load_moments():
        source, _, moment = key.rpartition(".")
        for name in (name for name, of in kept.items() if of == source):
            yield f"{name}.{moment}", whole.clone()  # a shared set may have become one for each layer

"""The learning rate of each update, and how a run with this schedule is extended.

    cosine    a linear warm-up to `lr`, then one cosine to `min_lr`
    constant  a warm-up, then `lr` to the end
    wsd       a warm-up, a stable phase at `lr`, then a linear decay to `min_lr`

A finished cosine cannot be extended, because its rate depends on where it ends. A stable phase can: the checkpoint at
its end is kept, and a new run from it is bit for bit the run that never stopped.

Source: Hu et al., "MiniCPM", arXiv 2404.06395 (wsd); Hägele et al., arXiv 2405.18392 (its linear decay).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alibi.runs import RunFolder
from alibi.training.optimizer import OptimizerConfig


def check_schedule(config: OptimizerConfig, max_steps: int) -> None:
    """
    Raises:
        ValueError: the warm-up is longer than the run, the cosine ends before the run does, or warm-up and decay
            together are longer than the run.
    """
    warmup, use = _warmup_steps(config, max_steps), max_steps // 20
    if warmup >= max_steps:
        raise ValueError(f"optimizer.warmup_steps ({warmup}) must be below train.max_steps ({max_steps}); use {use}.")
    left = max_steps - warmup
    if config.cosine_steps is not None and config.cosine_steps < left:
        raise ValueError(
            f"optimizer.cosine_steps ({config.cosine_steps}) must be at least the {left} updates after the warm-up; "
            f"use {left}, or null."
        )
    if config.schedule == "wsd" and (decay := _decay_steps(config.decay_steps, max_steps)) > left:
        raise ValueError(
            f"optimizer.decay_steps ({decay}) must be at most the {left} updates after the warm-up; use "
            f"{min(left, max(1, max_steps // 10))}."
        )


def learning_rate(config: OptimizerConfig, update: int, max_steps: int) -> float:
    """The learning rate of update 0, 1, ... max_steps - 1.

    By default update 0 has lr / warmup_steps, and the last update of a cosine or a decay has `min_lr`. With
    `warmup_init_lr` and `cosine_steps` it is fairseq's schedule (CosineLRSchedule): update 0 has `warmup_init_lr`, and
    the first update after the cosine would have `min_lr`.
    """
    warmup = _warmup_steps(config, max_steps)
    if update < warmup:
        if config.warmup_init_lr is None:
            return config.lr * (update + 1) / warmup
        return config.warmup_init_lr + update * (config.lr - config.warmup_init_lr) / warmup
    if config.schedule == "cosine":
        progress = (update - warmup) / (config.cosine_steps or max(1, max_steps - 1 - warmup))
        return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * progress)) / 2
    left = max_steps - 1 - update  # updates after this one
    decay = _decay_steps(config.decay_steps, max_steps)
    if config.schedule == "constant" or left >= decay:
        return config.lr
    return config.min_lr + (config.lr - config.min_lr) * left / decay


def stable_step(config: OptimizerConfig, max_steps: int) -> int | None:
    """The step at which the stable phase of wsd ends, whose checkpoint is kept; None without such a phase."""
    return max_steps - _decay_steps(config.decay_steps, max_steps) if config.schedule == "wsd" else None


def warmup_in_words(config: OptimizerConfig, max_steps: int) -> str:
    steps = _warmup_steps(config, max_steps)
    return f"warm-up of {steps:,} steps" if steps else "no warm-up"


def how_to_extend(settings: Mapping[str, Any], run: Path) -> str:
    """What to do to train a run for longer than its train.max_steps, in one or two sentences.

    Args:
        settings: of its config.yaml.
        run: its folder.
    """
    optimizer, max_steps = settings["optimizer"], settings["train"]["max_steps"]
    schedule = optimizer.get("schedule", "cosine")
    more = "with the further updates in train.max_steps, and another run_dir if it names one"
    if schedule == "cosine":
        return (
            "A cosine ends with its last update and cannot be extended. To train longer, repeat the command with "
            f"train.init_from={run}, which has a warm-up and a cosine of its own, {more}. A run with "
            "optimizer.schedule=wsd or constant can be extended."
        )
    decay = _decay_steps(optimizer.get("decay_steps"), max_steps) if schedule == "wsd" else 0
    checkpoint = RunFolder(run).at(max_steps - decay)
    return (
        f"To train longer, repeat the command with train.init_from={checkpoint} train.init_optimizer=true "
        f"optimizer.warmup_steps=0, {more}."
    )


def _warmup_steps(config: OptimizerConfig, max_steps: int) -> int:
    return max_steps // 20 if config.warmup_steps is None else config.warmup_steps


def _decay_steps(steps: int | None, max_steps: int) -> int:
    return max(1, max_steps // 10) if steps is None else steps

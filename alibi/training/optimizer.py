"""The optimizer and its learning rate."""

import math
from dataclasses import dataclass

import torch

from alibi.model import LanguageModel


@dataclass
class OptimizerConfig:
    """AdamW with linear warm-up and one cosine.

    Attributes:
        name: adamw.
        lr: the peak.
        min_lr: where the cosine ends.
        warmup_steps: updates from 0 to the peak; None means a twentieth of train.max_steps.
        weight_decay: of matrices only, and of no parameter of a position method.
        clip: largest norm of the gradient.
    """

    name: str = "adamw"
    lr: float = 1e-3
    min_lr: float = 1e-4
    warmup_steps: int | None = None
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.name != "adamw":
            raise ValueError(f"optimizer.name ({self.name}) must be adamw.")
        if not self.lr > 0 or not 0 <= self.min_lr <= self.lr:
            raise ValueError(
                f"optimizer.lr ({self.lr}) must be above 0 and optimizer.min_lr ({self.min_lr}) in [0, lr]."
            )
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"optimizer.{name} ({getattr(self, name)}) must be at least 0 and below 1.")
        if self.eps <= 0 or self.clip <= 0 or self.weight_decay < 0:
            raise ValueError(
                f"optimizer.eps ({self.eps}) and optimizer.clip ({self.clip}) must be above 0, "
                f"optimizer.weight_decay ({self.weight_decay}) at least 0."
            )
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(f"optimizer.warmup_steps ({self.warmup_steps}) must be at least 0.")


def check_warmup(config: OptimizerConfig, max_steps: int) -> None:
    """
    Raises:
        ValueError: the warm-up is longer than the run.
    """
    if config.warmup_steps is not None and config.warmup_steps >= max_steps:
        raise ValueError(
            f"optimizer.warmup_steps ({config.warmup_steps}) must be below train.max_steps ({max_steps}); "
            f"use {max_steps // 20}, or null."
        )


def learning_rate(config: OptimizerConfig, update: int, max_steps: int) -> float:
    """Of update 0, 1, ... max_steps - 1: up in a line to `lr`, then in a cosine to `min_lr`, which the last one has."""
    warmup = max_steps // 20 if config.warmup_steps is None else config.warmup_steps
    if update < warmup:
        return config.lr * (update + 1) / warmup
    progress = (update - warmup) / max(1, max_steps - 1 - warmup)
    return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * progress)) / 2


def build_optimizer(config: OptimizerConfig, model: LanguageModel) -> torch.optim.Optimizer:
    """Two groups of parameters: decayed (matrices) and not (vectors, and all that belongs to the position method)."""
    of_position = set(model.transformer.position.parameters())
    decayed = [p for p in model.parameters() if p.dim() >= 2 and p not in of_position]
    rest = [p for p in model.parameters() if p.dim() < 2 or p in of_position]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr

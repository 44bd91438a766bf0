"""The optimizer and its learning rate."""

import math
from dataclasses import dataclass

import torch

from alibi.model import LanguageModel, check_kinds

# What belongs to one optimizer alone, with what None means there.
OWN_SETTINGS = {
    "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1},
    "nag": {"momentum": 0.99, "weight_decay": 0.0},
}


@dataclass
class OptimizerConfig:
    """AdamW, or Nesterov's accelerated gradient, with linear warm-up and one cosine.

    Attributes:
        name: adamw or nag.
        lr: the peak.
        min_lr: where the cosine ends.
        warmup_steps: updates before the peak; None means a twentieth of train.max_steps.
        warmup_init_lr: of update 0, the warm-up going on from it in a line; None begins one part above 0.
        cosine_steps: updates from the peak to min_lr, which may be more than the run has; None: the last has min_lr.
        beta1, beta2, eps: of adamw; None means 0.9, 0.95 and 1e-8.
        momentum: of nag; None means 0.99.
        weight_decay: of matrices only, and of no parameter of a position method; None means 0.1 for adamw. nag has
            none.
        clip: largest norm of the gradient; a large number, 1e9, clips nothing.
    """

    name: str = "adamw"
    lr: float = 1e-3
    min_lr: float = 1e-4
    warmup_steps: int | None = None
    warmup_init_lr: float | None = None
    cosine_steps: int | None = None
    beta1: float | None = None
    beta2: float | None = None
    eps: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    clip: float = 1.0

    def __post_init__(self) -> None:
        check_kinds(self, "optimizer.")
        self._settle_own()
        if not self.lr > 0 or not 0 <= self.min_lr <= self.lr:
            raise ValueError(
                f"optimizer.lr ({self.lr}) must be above 0 and optimizer.min_lr ({self.min_lr}) in [0, lr]."
            )
        if self.clip <= 0:
            raise ValueError(f"optimizer.clip ({self.clip}) must be above 0.")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(f"optimizer.warmup_steps ({self.warmup_steps}) must be at least 0.")
        if self.cosine_steps is not None and self.cosine_steps < 1:
            raise ValueError(f"optimizer.cosine_steps ({self.cosine_steps}) must be at least 1.")
        if self.warmup_init_lr is not None:
            if not 0 <= self.warmup_init_lr <= self.lr:
                raise ValueError(
                    f"optimizer.warmup_init_lr ({self.warmup_init_lr}) must be in [0, optimizer.lr ({self.lr})]."
                )
            if self.warmup_steps == 0:
                raise ValueError(
                    f"optimizer.warmup_init_lr ({self.warmup_init_lr}) would be ignored with optimizer.warmup_steps=0; "
                    "remove it."
                )

    def _settle_own(self) -> None:
        """Fill in what belongs to the optimizer, and refuse what belongs to another."""
        if self.name not in OWN_SETTINGS:
            raise ValueError(f"optimizer.name ({self.name}) must be one of: {', '.join(OWN_SETTINGS)}.")
        own = OWN_SETTINGS[self.name]
        for name in sorted({name for settings in OWN_SETTINGS.values() for name in settings}):
            value = getattr(self, name)
            if name not in own and value is not None:
                raise ValueError(f"optimizer.{name} ({value}) would be ignored by {self.name}; remove it.")
            if name in own and value is None:
                setattr(self, name, own[name])
        for name in {"beta1", "beta2", "momentum"} & own.keys():
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"optimizer.{name} ({getattr(self, name)}) must be at least 0 and below 1.")
        if "eps" in own and self.eps <= 0:
            raise ValueError(f"optimizer.eps ({self.eps}) must be above 0.")
        if self.weight_decay < 0:
            raise ValueError(f"optimizer.weight_decay ({self.weight_decay}) must be at least 0.")
        if self.name == "nag" and not self.momentum:
            raise ValueError("optimizer.momentum (0) must be above 0 for nag, which is momentum; the paper uses 0.99.")
        if self.name == "nag" and self.weight_decay:
            raise ValueError(
                f"optimizer.weight_decay ({self.weight_decay}) must be 0 for nag, which has none here: "
                "torch's is another than fairseq's; remove it."
            )


def check_warmup(config: OptimizerConfig, max_steps: int) -> None:
    """
    Raises:
        ValueError: the warm-up is longer than the run, or the cosine ends before it.
    """
    if config.warmup_steps is not None and config.warmup_steps >= max_steps:
        raise ValueError(
            f"optimizer.warmup_steps ({config.warmup_steps}) must be below train.max_steps ({max_steps}); "
            f"use {max_steps // 20}, or null."
        )
    left = max_steps - _warmup_steps(config, max_steps)
    if config.cosine_steps is not None and config.cosine_steps < left:
        raise ValueError(
            f"optimizer.cosine_steps ({config.cosine_steps}) must be at least the {left} updates of train.max_steps "
            f"({max_steps}) that follow the warm-up; use {left}, or null."
        )


def _warmup_steps(config: OptimizerConfig, max_steps: int) -> int:
    return max_steps // 20 if config.warmup_steps is None else config.warmup_steps


def learning_rate(config: OptimizerConfig, update: int, max_steps: int) -> float:
    """Of update 0, 1, ... max_steps - 1: up in a line to `lr`, then in a cosine to `min_lr`.

    As it stands, update 0 is one part above nothing, and the last one has `min_lr`. With `warmup_init_lr` and
    `cosine_steps` it is fairseq's (CosineLRSchedule): update 0 has `warmup_init_lr`, and `min_lr` would be that of
    the update after the last one of the cosine.
    """
    warmup = _warmup_steps(config, max_steps)
    if update < warmup:
        if config.warmup_init_lr is None:
            return config.lr * (update + 1) / warmup
        return config.warmup_init_lr + update * (config.lr - config.warmup_init_lr) / warmup
    progress = (update - warmup) / (config.cosine_steps or max(1, max_steps - 1 - warmup))
    return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * progress)) / 2


def build_optimizer(config: OptimizerConfig, model: LanguageModel) -> torch.optim.Optimizer:
    """Two groups of parameters: decayed (matrices) and not (vectors, and all that belongs to the position method)."""
    of_position = set(model.transformer.position.parameters())
    decayed = [p for p in model.parameters() if p.dim() >= 2 and p not in of_position]
    rest = [p for p in model.parameters() if p.dim() < 2 or p in of_position]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    if config.name == "nag":
        # Algebraically fairseq's NAG, whose buffer is -lr times torch's and is rescaled when lr changes.
        # Tensor by tensor: the fused kernel takes no shards, and foreach makes another copy of all gradients.
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True, foreach=False)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr

"""The optimizer and its settings."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from alibi.model import LanguageModel
from alibi.settings import check_kinds

SCHEDULES = ("cosine", "constant", "wsd")
# Settings that belong to one optimizer alone, and their values where they are None.
OWN_SETTINGS = {
    "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1},
    "nag": {"momentum": 0.99, "weight_decay": 0.0},
}


@dataclass
class OptimizerConfig:
    """AdamW, or Nesterov's accelerated gradient, with a schedule of the learning rate (schedule.py).

    Attributes:
        name: adamw or nag.
        lr: peak learning rate.
        schedule: cosine, constant or wsd (warm-up, stable, decay).
        min_lr: where the cosine or the decay ends; constant does not use it.
        warmup_steps: updates before the peak; None: a twentieth of train.max_steps.
        warmup_init_lr: learning rate of update 0, from which the warm-up is linear; None: lr / warmup_steps.
        cosine_steps: updates from the peak to min_lr, at least as many as the run has left; None: the last update
            has min_lr.
        decay_steps: of wsd: updates of the decay; None: a tenth of train.max_steps.
        beta1, beta2, eps: of adamw; None: 0.9, 0.95 and 1e-8.
        momentum: of nag; None: 0.99.
        weight_decay: of matrices outside the position method; None: 0.1 for adamw. nag has none.
        clip: largest norm of the gradient; 1e9 never clips.
        position_lr_multiplier: the position method's own parameters learn at this many times the rate; None: 1. A bias
            of a few units needs it in short runs, since AdamW moves a number by about the rate in each update.
    """

    name: str = "adamw"
    schedule: str = "cosine"
    lr: float = 1e-3
    min_lr: float = 1e-4
    warmup_steps: int | None = None
    warmup_init_lr: float | None = None
    cosine_steps: int | None = None
    decay_steps: int | None = None
    beta1: float | None = None
    beta2: float | None = None
    eps: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    clip: float = 1.0
    position_lr_multiplier: float | None = None

    def __post_init__(self) -> None:
        check_kinds(self, "optimizer.")
        self._fill_in_own()
        self._check(lambda value: value > 0, "above 0", "lr", "eps", "clip", "position_lr_multiplier")
        self._check(lambda value: value >= 0, "at least 0", "warmup_steps", "weight_decay")
        self._check(lambda value: value >= 1, "at least 1", "cosine_steps", "decay_steps")
        self._check(lambda value: 0 <= value < 1, "at least 0 and below 1", "beta1", "beta2")
        self._check(lambda value: 0 < value < 1, "above 0 for nag, and below 1; the paper uses 0.99", "momentum")
        ends = ("min_lr", "warmup_init_lr") if self.schedule != "constant" else ("warmup_init_lr",)
        self._check(lambda lr: 0 <= lr <= self.lr, f"in [0, optimizer.lr ({self.lr})]", *ends)
        self._check(lambda one: one in SCHEDULES, f"one of: {', '.join(SCHEDULES)}", "schedule")
        for name, schedule in (("cosine_steps", "cosine"), ("decay_steps", "wsd")):
            if (steps := getattr(self, name)) is not None and self.schedule != schedule:
                raise ValueError(f"optimizer.{name} ({steps}) would be ignored by {self.schedule}; remove it.")
        if self.name == "nag":
            # torch decays the gradient, fairseq the weights: their runs would not be comparable.
            self._check(lambda decay: decay == 0, "0 for nag, which has none here; remove it", "weight_decay")
        if (first := self.warmup_init_lr) is not None and self.warmup_steps == 0:
            raise ValueError(f"optimizer.warmup_init_lr ({first}) would be ignored with warmup_steps=0; remove it.")

    def _fill_in_own(self) -> None:
        """Fill in the settings of this optimizer, and refuse those of the other one."""
        if self.name not in OWN_SETTINGS:
            raise ValueError(f"optimizer.name ({self.name}) must be one of: {', '.join(OWN_SETTINGS)}.")
        own = OWN_SETTINGS[self.name]
        for name in OWN_SETTINGS["adamw"] | OWN_SETTINGS["nag"]:
            if (value := getattr(self, name)) is None:
                setattr(self, name, own.get(name))
            elif name not in own:
                raise ValueError(f"optimizer.{name} ({value}) would be ignored by {self.name}; remove it.")

    def _check(self, holds: Callable[[float], bool], rule: str, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ValueError(f"optimizer.{name} ({value}) must be {rule}.")


def build_optimizer(config: OptimizerConfig, model: LanguageModel) -> torch.optim.Optimizer:
    """Parameter groups, each with its multiple of the learning rate: matrices, which decay; vectors; and the position
    method's own parameters, if it has any."""
    own = model.position_parameters()
    others = [p for p in model.parameters() if p not in set(own)]
    matrices, vectors = ([p for p in others if (p.dim() >= 2) == wide] for wide in (True, False))
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay, "multiplier": 1.0},
        {"params": vectors, "weight_decay": 0.0, "multiplier": 1.0},
        {"params": own, "weight_decay": 0.0, "multiplier": config.position_lr_multiplier or 1.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "nag":
        # Algebraically fairseq's NAG, whose buffer is -lr times torch's and is rescaled when lr changes.
        # foreach=False: the fused kernel does not take shards, and foreach copies all gradients once more.
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True, foreach=False)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)

"""What a checkpoint's training state must be before a run goes on from it: a checksum says nothing of its kind."""

from collections.abc import Iterable

import torch

LARGEST = 2**62  # of the counts; more would not fit torch's integers


def check_saved(saved: dict, fresh: object, optimizer: torch.optim.Optimizer, where: object) -> None:
    """
    Args:
        saved: as it was read.
        fresh: a state as it is at the beginning: its fields, and what kind each has. A field that `saved` lacks
            keeps this value, as older versions did not have them all.
        where: what it comes from, for the message.

    Raises:
        ValueError: naming the field.
    """
    if wrong := _wrong_field(saved, vars(fresh)) or _wrong_optimizer(saved["optimizer"], optimizer):
        raise ValueError(
            f"the training state of {where} cannot be gone on from: {wrong}. Choose another checkpoint, by "
            "train.resume=, or another run_dir."
        )


def _wrong_field(saved: dict, fields: dict) -> str | None:
    for name in ("step", "tokens", "cursor", "optimizer"):
        if name not in saved:
            return f"{name} is missing"
    if unknown := sorted(str(name) for name in saved if name not in fields and name != "optimizer"):
        return f"{', '.join(unknown)[:80]} is nothing that this version knows; a newer one may"
    for name, value in saved.items():
        if name == "cursor":
            right = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_count, value))
        elif name == "optimizer":
            right = isinstance(value, dict)
        elif name == "wandb_id":
            right = value is None or isinstance(value, str)
        else:
            right = _is_count(value) if type(fields[name]) is int else type(value) in (int, float)
        if not right:
            return f"{name} is {_shown(value)}"
    return None


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def _wrong_optimizer(saved: dict, optimizer: torch.optim.Optimizer) -> str | None:
    """Whether it has the groups of this optimizer, and numbers of the shape of each parameter."""
    groups, values = saved.get("param_groups"), saved.get("state")
    own = optimizer.state_dict()["param_groups"]
    if not isinstance(groups, list) or not isinstance(values, dict) or len(groups) != len(own):
        return f"the optimizer's state is no state of {len(own)} groups"
    for group, wanted in zip(groups, own, strict=True):
        if not isinstance(group, dict) or group.get("params") != wanted["params"] or wanted.keys() - group.keys():
            return "the optimizer's groups are not this run's"
    parameters = list(_parameters(optimizer))
    for index, moments in values.items():
        if type(index) is not int or not 0 <= index < len(parameters) or not isinstance(moments, dict):
            return f"the optimizer's state has an entry {_shown(index)}"
        for name, value in moments.items():
            shape = tuple(parameters[index].shape)
            if isinstance(value, torch.Tensor) and value.dim() and tuple(value.shape) != shape:
                return f"the optimizer's {_shown(name)} of parameter {index} is {tuple(value.shape)} for {shape}"
    return None


def _parameters(optimizer: torch.optim.Optimizer) -> Iterable[torch.Tensor]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def _shown(value: object) -> str:
    return str(value)[:60] if isinstance(value, (str, int, float, list, tuple)) else f"a {type(value).__name__}"

"""A run's identity: the settings that change its weights, and the names made of them."""

import hashlib
import json
import re
from collections.abc import Callable

# Settings of how a run is executed, tracked and stored. All others change the weights.
EXECUTED = {"micro_batch_tokens", "resume", "max_hours", "skip_nonfinite", "compile", "parallel", "skip_far_keys"}
RECORDED = {"eval_every", "eval_lengths", "checkpoint_every", "keep_last", "log_every"}
NOT_WEIGHTS = {
    "": {"run_dir", "device", "tracking", "paths"},
    "data": {"path"},
    "train": EXECUTED | RECORDED,
    "model": {"size"},
}
# Settings added later. None is what runs did before, and is not hashed, so that stored runs keep their names.
LATER = {
    "model": {"adaptive_cutoffs", "adaptive_factor", "adaptive_dropout"},
    "tokenizer": {"pad_to_multiple_of"},
    "optimizer": {"warmup_init_lr", "cosine_steps", "momentum"},
}


def all_settings(config: dict) -> dict[str, object]:
    """Every setting but the run's folder, by its full name: {"model.num_layers": 6, ...}."""
    return _flat(config, {"": {"run_dir"}})


def weight_settings(config: dict) -> dict[str, object]:
    """Settings that change the weights, by their full name."""
    flat = _flat(config, NOT_WEIGHTS)
    if config["data"]["name"] == "text":
        flat["data.path"] = config["data"]["path"]  # the folder is the only name that such a text has
    return flat


def _flat(values: dict, left_out: dict[str, set[str]], prefix: str = "") -> dict[str, object]:
    flat = {}
    for name, value in values.items():
        full = f"{prefix}.{name}" if prefix else name
        if name in left_out.get(prefix, ()) or (value is None and name in LATER.get(prefix, ())):
            continue
        flat |= _flat(value, left_out, full) if isinstance(value, dict) else {full: value}
    return flat


def run_name(config: dict) -> str:
    """<model>-<size>-<data>-L<seq_len>-seed<seed>-<8 hex of the settings that change the weights>."""
    return _name(config, f"seed{config['seed']}-", weight_settings(config))


def group_name(config: dict, text_sha256: str) -> str:
    """<model>-<size>-<data>-L<seq_len>-<8 hex of the training text and of the same settings without the seed>."""
    return _name(config, "", weight_settings(config) | {"seed": None, "text_sha256": text_sha256})


def _name(config: dict, seed: str, hashed: dict) -> str:
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:8]
    model, data, seq_len = config["model"], config["data"]["name"], config["train"]["seq_len"]
    name = f"{model['position']['name']}-{model['size']}-{data}-L{seq_len}-{seed}{digest}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def differences(
    stored: dict, current: dict, settings_of: Callable[[dict], dict[str, object]] = weight_settings
) -> list[str]:
    """One sentence for each setting that differs, by default among those that change the weights."""
    old, new = settings_of(stored), settings_of(current)
    absent = "not set"
    return [
        f"{name} is {old.get(name, absent)} there and {new.get(name, absent)} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, absent) != new.get(name, absent)
    ]

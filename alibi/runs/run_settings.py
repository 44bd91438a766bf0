"""A run's settings: config.yaml read and written, which of them change the weights, and the names made of these."""

import hashlib
import json
import re
from pathlib import Path

import yaml

from alibi.data import LATER_SETTINGS
from alibi.model.model_config import method_name

CHOOSE = "choose another run_dir, or another run by runs="
PARTS = {"seed", "model", "data", "tokenizer", "train", "tracking"}
# Settings of how a run is executed, tracked and stored. All others change the weights.
EXECUTED = {"micro_batch_tokens", "max_hours", "skip_nonfinite", "compile", "parallel", "skip_far_keys"}
SOURCES = {"resume", "init_from"}  # paths; the sha256 of an origin's weights counts in their place
RECORDED = {"eval_every", "eval_lengths", "checkpoint_every", "keep_last", "log_every"}
NOT_WEIGHTS = {
    "": {"run_dir", "device", "tracking", "paths"},
    "data": {"path"},
    "train": EXECUTED | SOURCES | RECORDED,
    "model": {"size", "name"},
    "origin": {"run", "step", "tokens"},
}
# Settings added later, with the value that stands for what runs did before. It is not hashed, so that stored runs keep
# their names.
LATER: dict[str, dict[str, object]] = {
    "": {"origin": None},
    "model": dict.fromkeys(("adaptive_cutoffs", "adaptive_factor", "adaptive_dropout", "embedding_std"))
    | dict.fromkeys(("name", "window", "sink_tokens", "pattern", "block_keys", "positions_in_cache")),
    "model.query_scale": dict.fromkeys(("name", "length", "beta", "init")),
    "model.position": dict.fromkeys(("shared", "scaling")),
    "model.layer_types.*": dict.fromkeys(("block_keys", "positions_in_cache")),
    "tokenizer": dict.fromkeys(LATER_SETTINGS),
    "optimizer": dict.fromkeys(("warmup_init_lr", "cosine_steps", "momentum", "position_lr_multiplier", "decay_steps"))
    | {"schedule": "cosine"},
    "data": {"task": None},
    "train": {"init_from": None, "init_optimizer": False, "stop_at": None, "random_offset": None},
}
NEVER = object()  # equal to no value
# What was in configs/ before, for each change: the same command then made a run of another name.
EARLIER_DEFAULTS = (
    # experiment=wikitext2
    {"train.batch_tokens": 4096, "train.max_steps": 800, "optimizer.lr": 3e-3, "optimizer.min_lr": 3e-4},
)


def read_settings(path: Path) -> dict:
    """The settings in a config.yaml.

    Raises:
        ValueError: it is not YAML, or lacks a part that every run has; the message names file and part.
        OSError: it cannot be read.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} cannot be read: it is not YAML ({str(error).splitlines()[0]}); {CHOOSE}.") from error
    if missing := PARTS - settings.keys() if isinstance(settings, dict) else PARTS:
        raise ValueError(f"{path} cannot be read: it lacks {', '.join(sorted(missing))}; {CHOOSE}.")
    return settings


def settings_text(settings: dict) -> str:
    """The content of a config.yaml with these settings.

    Raises:
        ValueError: a setting that OmegaConf would read back as an interpolation.
    """
    text = yaml.safe_dump(settings, sort_keys=False)
    if found := re.search(r".*\$\{.*", text):
        line = found[0].strip()[:80]
        raise ValueError(f"a run cannot be stored with these settings: {line!r}: ${{ starts an interpolation.")
    return text


def weight_settings(config: dict) -> dict[str, object]:
    """Settings that change the weights, by their full name: {"model.num_layers": 6, ...}."""
    flat = _flat(config, NOT_WEIGHTS)
    if config["data"]["name"] == "text":
        flat["data.path"] = config["data"]["path"]  # the folder is the only name that such a text has
    return flat


def _flat(values: dict, left_out: dict[str, set[str]], prefix: str = "") -> dict[str, object]:
    flat = {}
    for name, value in values.items():
        full = f"{prefix}.{name}" if prefix else name
        kind = "model.layer_types.*" if re.fullmatch(r"model\.layer_types\.[^.]+", prefix) else prefix
        if name in left_out.get(prefix, ()) or value == LATER.get(kind, {}).get(name, NEVER):
            continue
        flat |= _flat(value, left_out, full) if isinstance(value, dict) else {full: value}
    return flat


def run_name(config: dict) -> str:
    """<model>-<size>-<data>-L<seq_len>-seed<seed>-<8 hex of the settings that change the weights>."""
    return _name(config, f"seed{config['seed']}-", weight_settings(config))


def earlier_runs(config: dict) -> dict[str, str]:
    """Names that the run of the same command had before defaults changed, each with the settings that go on with it."""
    found = {}
    for earlier in EARLIER_DEFAULTS:
        before = config
        for name, value in earlier.items():
            part, setting = name.split(".")
            before = before | {part: before[part] | {setting: value}}
        found[run_name(before)] = " ".join(f"{name}={json.dumps(value)}" for name, value in earlier.items())
    return {name: settings for name, settings in found.items() if name != run_name(config)}


def group_name(config: dict, text_sha256: str) -> str:
    """<model>-<size>-<data>-L<seq_len>-<8 hex of the training text and of the same settings without the seed>."""
    return _name(config, "", weight_settings(config) | {"seed": None, "text_sha256": text_sha256})


def _name(config: dict, seed: str, hashed: dict) -> str:
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:8]
    model, data, seq_len = config["model"], config["data"]["name"], config["train"]["seq_len"]
    name = f"{method_name(model)}-{model['size']}-{data}-L{seq_len}-{seed}{digest}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def differences(stored: dict, current: dict, weights_only: bool = True) -> list[str]:
    """One sentence for each setting that differs.

    Args:
        weights_only: compare settings that change the weights; otherwise all but the run's folder.
    """
    old, new = (weight_settings(s) if weights_only else _flat(s, {"": {"run_dir"}}) for s in (stored, current))
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name, "") != new.get(name, ""))
    return [f"{name} is {_in_yaml(name, old)} there and {_in_yaml(name, new)} now" for name in changed]


def _in_yaml(name: str, settings: dict) -> str:
    """A value as a config.yaml has it: null, true, [512, 1024]."""
    value = settings.get(name, "not set")
    return value if isinstance(value, str) else json.dumps(value)

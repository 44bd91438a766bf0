"""What can be set: setting names, from the dataclasses and YAMLs; groups and their choices, from the YAMLs."""

from dataclasses import asdict
from functools import cache
from pathlib import Path

import yaml

from alibi.commands import EvaluateCommand
from alibi.training import RunConfig

CONFIGS = str(Path(__file__).parents[2] / "configs")
SCHEMAS = {"train": RunConfig, "evaluate": EvaluateCommand}
LISTS = ("eval.lengths", "train.eval_lengths")  # settings that are lists of numbers


def choices(group: str) -> list[str]:
    """The YAMLs of a group."""
    return sorted(path.stem for path in Path(CONFIGS, group).glob("*.yaml"))


@cache
def groups(entry: str) -> dict[str, str | None]:
    """The groups of an entry and their defaults, in the order of its defaults list."""
    defaults = yaml.safe_load(Path(CONFIGS, f"{entry}.yaml").read_text(encoding="utf-8"))["defaults"]
    named = (next(iter(one.items())) for one in defaults if isinstance(one, dict))
    return {group: default for group, default in named if not group.startswith("override ")}


def package(group: str, text: str) -> str:
    """The package of a group's YAML: the one in its first line, or the group's name."""
    first = text.partition("\n")[0]
    return first.removeprefix("# @package ").strip() if first.startswith("# @package ") else group


@cache
def setting_names(entry: str) -> dict[str, tuple[str, ...]]:
    """All settings of an entry; for `model.position.theta` and the like, the choices that have it (`model=rotary`)."""
    always = dict.fromkeys(_keys(asdict(SCHEMAS[entry]())), ())
    of_choices: dict[str, tuple[str, ...]] = {}
    for group in groups(entry):
        for choice in choices(group):
            text = Path(CONFIGS, group, f"{choice}.yaml").read_text(encoding="utf-8")
            if (place := package(group, text)) != "_global_":
                for name in _keys(yaml.safe_load(text), f"{place}."):
                    of_choices[name] = (*of_choices.get(name, ()), f"{group}={choice}")
    return of_choices | always


def _keys(content: dict | None, prefix: str = "") -> list[str]:
    names = []
    for name, value in (content or {}).items():
        names += _keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return names

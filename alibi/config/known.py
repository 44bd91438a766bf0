"""What can be set, from the dataclasses and YAMLs: groups and their choices, setting names, and the text of --help."""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig

from alibi.commands import EvaluateCommand
from alibi.training import RunConfig

CONFIGS = str(Path(__file__).parents[2] / "configs")
SCHEMAS = {"train": RunConfig, "evaluate": EvaluateCommand}
FILLED_IN = ("origin",)  # what no command sets
LISTS = ("eval.lengths", "train.eval_lengths")  # settings that are lists of numbers


def _yaml(*parts: str) -> str:
    return Path(CONFIGS, *parts).with_suffix(".yaml").read_text(encoding="utf-8")


def choices(group: str) -> list[str]:
    """The YAMLs of a group."""
    return sorted(path.stem for path in Path(CONFIGS, group).glob("*.yaml"))


@cache
def groups(entry: str) -> dict[str, str | None]:
    """The groups of an entry and their defaults, in the order of its defaults list."""
    named = (next(iter(one.items())) for one in yaml.safe_load(_yaml(entry))["defaults"] if isinstance(one, dict))
    return {group: default for group, default in named if not group.startswith("override ")}


def package_of(group: str, text: str) -> str:
    """The package of a group's YAML: the one in its first line, or the group's name."""
    found = re.match(r"# @package (\S+)", text)
    return found[1] if found else group


@cache
def setting_names(entry: str) -> dict[str, tuple[str, ...]]:
    """All settings of an entry; for `model.position.theta` and the like, the choices that have it (`model=rotary`)."""
    of_choices: dict[str, tuple[str, ...]] = {}
    for group in groups(entry):
        for choice in choices(group):
            text = _yaml(group, choice)
            if (place := package_of(group, text)) != "_global_":
                for name in setting_keys(yaml.safe_load(text), f"{place}."):
                    of_choices[name] = (*of_choices.get(name, ()), f"{group}={choice}")
    settings = {name: value for name, value in asdict(SCHEMAS[entry]()).items() if name not in FILLED_IN}
    return of_choices | dict.fromkeys(setting_keys(settings), ())


def setting_keys(content: dict | None, prefix: str = "") -> list[str]:
    """Full names of the settings in the content of a YAML."""
    names = []
    for name, value in (content or {}).items():
        names += setting_keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return names


def refuse_filled_in(overrides: Iterable[str]) -> None:
    """
    Raises:
        ValueError: a setting among them that no command sets.
    """
    for text in overrides:
        if (name := re.split(r"[.=]", text.lstrip("+~"))[0]) in FILLED_IN:
            raise ValueError(f"{text}: {name} is filled in; set train.init_from to a run folder or a checkpoint.")


def help_text(entry: str) -> str:
    """The text of --help: groups with their choices, then settings with their comments. A template for Hydra."""
    text = _yaml(entry)
    listed = []
    for group, default in groups(entry).items():
        comment = re.search(rf"^  - {group}: \S+ +(#.*)$", text, re.M)
        one_of = ", ".join(sorted(choices(group), key=lambda choice: choice != default))
        listed.append(f"  {group:<10} {one_of:<55} {comment[1] if comment else ''}".rstrip())
    blocks = [block for block in re.split(r"\n+(?=\S)", text) if not re.match("#|defaults:|hydra:", block)]
    settings = "\n".join([*blocks, *_chosen_settings(entry)])
    more = [n for n, of in setting_names(entry).items() if not of and f"{n.rpartition('.')[2]}:" not in settings]
    parts = [
        text.partition("\n")[0].removeprefix("# "),
        "Groups (choose one option of each): group=choice",
        "\n".join(listed),
        "Settings: group.name=value",
        settings,
        textwrap.fill(f"More: {', '.join(more)}", 110),
        f"Several values, one after the other: python {entry}.py -m name=value,value\nHydra's flags: --hydra-help",
    ]
    return "\n\n".join(parts).replace("$", "$$")


def _chosen_settings(entry: str) -> list[str]:
    """The settings of the chosen YAML of each group; if none is chosen, of the one with the longest text."""
    sections: dict[str, str] = {}
    for group in groups(entry):
        chosen = HydraConfig.get().runtime.choices.get(group)
        text = _yaml(group, chosen) if chosen else max((_yaml(group, one) for one in choices(group)), key=len)
        if (place := package_of(group, text)) != "_global_":
            own = re.sub(r"^#.*\n" if chosen else r"^(#|name:).*\n", "", text, flags=re.M)
            sections[place] = sections.get(place, f"{place}:\n") + textwrap.indent(own, "  ")
    return [section.rstrip() for section in sections.values()]

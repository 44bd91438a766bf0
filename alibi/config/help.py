"""The text of --help: groups with their choices, then settings with their comments, from the YAMLs."""

import re
import textwrap
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from alibi.config.known import CONFIGS, choices, groups, package, setting_names


def help_text(entry: str) -> str:
    """A template for Hydra, in which $ is written as $$."""
    text = Path(CONFIGS, f"{entry}.yaml").read_text(encoding="utf-8")
    told = "\n".join([*_blocks(text), *_chosen_settings(entry)])
    more = [name for name, of in setting_names(entry).items() if not of and f"{name.rpartition('.')[2]}:" not in told]
    parts = [
        text.partition("\n")[0].removeprefix("# "),
        "Groups, of which one is chosen each: group=choice",
        "\n".join(_group_line(text, group, default) for group, default in groups(entry).items()),
        "Settings: group.name=value",
        told,
        *([textwrap.fill(f"More: {', '.join(more)}", 110)] if more else []),
        f"Several values, one after the other: python {entry}.py -m name=value,value\nHydra's flags: --hydra-help",
    ]
    return "\n\n".join(parts).replace("$", "$$")


def _group_line(text: str, group: str, default: str | None) -> str:
    """A group, its choices with the default first, and its comment in the entry's YAML."""
    comment = re.search(rf"^  - {group}: \S+ +(#.*)$", text, re.M)
    listed = ", ".join(sorted(choices(group), key=lambda one: one != default))
    return f"  {group:<10} {listed:<55} {comment[1] if comment else ''}".rstrip()


def _blocks(text: str) -> list[str]:
    """The settings in an entry's YAML, without Hydra's."""
    blocks = re.split(r"\n+(?=\S)", text.rstrip())
    return [block for block in blocks if not block.startswith(("#", "defaults:", "hydra:"))]


def _chosen_settings(entry: str) -> list[str]:
    """The settings of the chosen YAML of each group; if none is chosen, of the one with the longest text."""
    sections: dict[str, str] = {}
    for group in groups(entry):
        texts = {one: Path(CONFIGS, group, f"{one}.yaml").read_text(encoding="utf-8") for one in choices(group)}
        chosen = HydraConfig.get().runtime.choices.get(group)
        text = texts[chosen or max(texts, key=lambda one: len(texts[one]))]
        if (place := package(group, text)) != "_global_":
            own = re.sub(r"^#.*\n" if chosen else r"^(#|name:).*\n", "", text, flags=re.M)
            sections[place] = sections.get(place, f"{place}:\n") + textwrap.indent(own, "  ")
    return [section.rstrip() for section in sections.values()]

"""What a user wrote wrong on the command line, as one message that says what to write instead."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from alibi.config.known import LISTS, choices, groups, setting_names

KINDS = {"to Integer": "a whole number", "to Float": "a number", "to Boolean": "true or false", "bool": "true or false"}


def escaped(path: str | os.PathLike) -> str:
    """The path as a text in OmegaConf, in which `${` does not begin an interpolation."""
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", str(path))


def quoted(path: str | os.PathLike) -> str:
    """The path as a value in Hydra's grammar of overrides, whatever characters it has."""
    return QuotedString(escaped(path), Quote.single).with_quotes()


def for_shell(override: str) -> str:
    """An override as one word of a shell, in double quotes if they suffice, as its value may have single ones."""
    return shlex.quote(override) if re.search(r'["$`\\!]', override) else f'"{override}"'


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a refusal: the nearest name, as a question, or a full stop."""
    by_lower = {one.lower(): one for one in sorted(known)}
    last = name.lower().rpartition(".")[2]
    same = [one for one in by_lower if one.rpartition(".")[2] == last]
    found = get_close_matches(name.lower(), same or by_lower, n=1, cutoff=0.0 if same else 0.6)
    return f"; did you mean {by_lower[found[0]]}?" if found else "."


def unknown_setting(name: str, entry: str) -> str:
    here, other = setting_names(entry), "evaluate" if entry == "train" else "train"
    if of := here.get(name):
        section, _, last = name.rpartition(".")
        of_run = (
            f" Of a task's run: '{section}={{{last}: VALUE}}'." if (entry, section) == ("evaluate", "data.task") else ""
        )
        return f"{name} is a setting of {', '.join(of)} alone.{of_run}"
    if name in groups(other) or name in setting_names(other):
        of_the_run = "; evaluate.py takes it from the run that runs= names."
        meant = of_the_run if entry == "evaluate" else did_you_mean(name, here)
        return f"{name} is a setting of {other}.py, not of {entry}.py{meant}"
    meant = did_you_mean(name, [*here, *groups(entry)])
    return f"{name} is not a setting of {entry}.py{meant} python {entry}.py --help lists them."


def unknown_choice(group: str, choice: str, known: Sequence[str]) -> str:
    return f"there is no {group}={choice}{did_you_mean(choice, known)} Choose one of: {', '.join(known)}."


def refused(error: Exception, entry: str, overrides: Sequence[str]) -> str:
    """Why a command line was refused, and what to write instead.

    Args:
        error: of Hydra or OmegaConf; its own first line is used where nothing better is known.
        entry: train or evaluate.
        overrides: as given on the command line.
    """
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return unknown_choice(group, choice, error.options)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None) or ""
    for text in overrides:
        if why := _wrong_with(text, entry, f"{error} {cause}", key):
            return why
    return (f"{key}: " if key else "") + str(cause).splitlines()[0]


def _wrong_with(text: str, entry: str, error: str, key: str) -> str | None:
    """What is wrong with one override, or None.

    Args:
        key: the setting that the error is about, if it says so.
    """
    name, equals, value = text.partition("=")
    if not name or (not equals and not text.startswith("~")):
        return _no_equals(text, entry)
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        return unknown_choice(name, value, choices(name)) if name in groups(entry) else _quoting(name, value)
    name, names = override.key_or_group, setting_names(entry)
    several = override.is_sweep_override()
    if several and "Ambiguous value" in error:
        return _comma(name, value, entry)
    if name in groups(entry):
        may_be = several or override.is_delete() or groups(entry)[name] is None or value in choices(name)
        return None if may_be else unknown_choice(name, value, choices(name))
    if name.startswith("hydra"):
        return None
    if key == name and any(one.startswith(f"{name}.") for one in names):
        return f"{name} holds settings, and is none itself; write {name}.NAME=VALUE."
    if name not in names or (names[name] and key == name):
        return unknown_setting(name, entry)
    if "${" in value:
        return _quoting(name, value)
    if not key.startswith(name):
        return None
    if name in LISTS and not value.startswith("["):
        return f"{name} ({value}) must be a list; write {for_shell(f'{name}=[{value}]')}."
    kind = next((words for found, words in KINDS.items() if found in error), None)
    return f"{name} ({value}) must be {kind}{', in a list' if name in LISTS else ''}." if kind else None


def _no_equals(text: str, entry: str) -> str:
    of = [group for group in groups(entry) if text in choices(group)] or (["runs"] if entry == "evaluate" else [])
    if text in setting_names(entry) or text in groups(entry):
        meant = f"{text}=VALUE, without a space around ="
    else:
        meant = f"{of[0]}={text}" if of else f"name=value; python {entry}.py --help lists the settings"
    return f"{text!r} has no =; write {meant}."


def _quoting(name: str, value: str) -> str:
    """For what Hydra cannot read."""
    if value.startswith("="):
        return f"{name}={value} has one = too many; write {name}={value.lstrip('=')}."
    if value.startswith("[") and "]" not in value:
        return f"{name}={value} is a list that does not end; put quotes around it, {for_shell(f'{name}=[A, B]')}."
    plain = for_shell(f"{name}={quoted(value)}")
    return f"{name} has characters that mean something else here; in two kinds of quotes they are plain text: {plain}"


def _comma(name: str, value: str, entry: str) -> str:
    if name in LISTS:
        return f"{name}={value} has several values; write {for_shell(f'{name}=[{value}]')} for a list."
    one = "" if name in groups(entry) else f" For one value write {for_shell(f'{name}={quoted(value)}')}"
    return f"{name}={value} has several values; for several runs add -m: python {entry}.py -m {name}={value}.{one}"

"""What a user wrote wrong on the command line, as one message that says what to write instead."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from alibi.config.known import PATHS, choices, groups, is_list, setting_names

MISSING = re.compile(
    r"(In '.*?': )?Could not find '(?P<group>.+)/(?P<choice>[^/]*)'\s+Available options in '.*':\n"
    r"(?P<known>(\t.*\n?)*)"
)
KINDS = {"to Integer": "a whole number", "to Float": "a number", "to Boolean": "true or false", "bool": "true or false"}
OTHER = {"train": "evaluate", "evaluate": "train"}


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
    here, other = setting_names(entry), OTHER[entry]
    if of := here.get(name):
        return f"{name} is a setting of {' and '.join(of)} alone."
    if name in groups(other) or name in setting_names(other):
        meant = did_you_mean(name, here) if "." in name else "."
        if meant == ".":
            meant = (
                "; evaluate.py takes it from the run that runs= names." if entry == "evaluate" else "; leave it out."
            )
        return f"{name} is a setting of {other}.py, not of {entry}.py{meant}"
    meant = did_you_mean(name, [*here, *groups(entry)])
    return f"{name} is not a setting of {entry}.py{meant} python {entry}.py --help lists them."


def unknown_choice(group: str, choice: str, known: Sequence[str]) -> str:
    return f"{group}={choice} is not there{did_you_mean(choice, known)} It may be {', '.join(known)}."


def refused(error: Exception, entry: str, overrides: Sequence[str]) -> str:
    """Why a command line was refused, and what to write instead.

    Args:
        error: of Hydra or OmegaConf; its own first line is used where nothing better is known.
        entry: train or evaluate.
        overrides: as given on the command line.
    """
    if missing := MISSING.match(str(error)):
        return unknown_choice(missing["group"], missing["choice"], missing["known"].split())
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None)
    for text in overrides:
        if why := _wrong_with(text, entry, f"{error} {cause}", key):
            return why
    return (f"{key}: " if key else "") + str(cause).splitlines()[0]


def _wrong_with(text: str, entry: str, error: str, key: str | None) -> str | None:
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
        is_choice = name in groups(entry) and not value.startswith(("[", "="))
        return unknown_choice(name, value, choices(name)) if is_choice else _not_in_the_grammar(name, value)
    name, names = override.key_or_group, setting_names(entry)
    several = override.is_sweep_override()
    if several and "Ambiguous value" in error:
        return _comma(name, value, entry)
    if name in groups(entry):
        may_be = several or override.is_delete() or groups(entry)[name] is None or value in choices(name)
        return None if may_be else unknown_choice(name, value, choices(name))
    if name.startswith("hydra"):
        return None
    if any(one.startswith(f"{name}.") for one in names):
        return f"{name} holds settings, and is none itself; write {name}.NAME=VALUE." if key == name else None
    if name not in names or (names[name] and key == name):
        return unknown_setting(name, entry)
    if name in PATHS and (key == name or ("${" in value and "nterpolation" in error)):
        return _quoting(name, value)
    if key is None or not key.startswith(name):
        return None
    in_list = is_list(entry, name)
    if in_list and not value.startswith("["):
        return f"{name} ({value}) must be a list; write {for_shell(f'{name}=[{value}]')}."
    kind = next((words for found, words in KINDS.items() if found in error), None)
    return f"{name} ({value}) must be {kind}{', in a list' if in_list else ''}." if kind else None


def _no_equals(text: str, entry: str) -> str:
    if text in setting_names(entry) or text in groups(entry):
        return f"{text!r} has no =; write {text}=VALUE, without a space around =."
    of = [group for group in groups(entry) if text in choices(group)] or (["runs"] if entry == "evaluate" else [])
    if of:
        return f"{text!r} has no =; write {of[0]}={text}."
    return f"{text!r} is not a setting, which is written name=value; python {entry}.py --help lists them."


def _not_in_the_grammar(name: str, value: str) -> str:
    if value.startswith("="):
        return f"{name}={value} has one = too many; write {name}={value.lstrip('=')}."
    if value.startswith("[") and "]" not in value:
        return f"{name}={value} is a list that does not end; put quotes around it, {for_shell(f'{name}=[A, B]')}."
    return _quoting(name, value)


def _quoting(name: str, value: str) -> str:
    return (
        f"{name} has characters that mean something else on this command line; in two kinds of quotes they stand for "
        f"themselves: {for_shell(f'{name}={quoted(value)}')}"
    )


def _comma(name: str, value: str, entry: str) -> str:
    instead = f"for several runs add -m: python {entry}.py -m {name}={value}"
    if is_list(entry, name):
        instead = f"write {for_shell(f'{name}=[{value}]')} for a list"
    elif name in PATHS:
        instead = f"write {for_shell(f'{name}={quoted(value)}')} for one path, and -m for several runs"
    return f"{name}={value} has several values; {instead}."

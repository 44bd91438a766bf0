"""What a user wrote wrong on the command line, as one message with what to write instead."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from alibi.config.known import PATHS, choices, groups, is_list, setting_names

MISSING = re.compile(
    r"(In '.*?': )?Could not find '(?P<group>.+)/(?P<choice>[^/]*)'\s+Available options in '.*':\n"
    r"(?P<known>(\t.*\n?)*)"
)
KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
OTHER = {"train": "evaluate", "evaluate": "train"}


def escaped(path: str | os.PathLike) -> str:
    """The path as OmegaConf's text of just that: `${` in it begins no interpolation."""
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", str(path))


def quoted(path: str | os.PathLike) -> str:
    """The path as a value in Hydra's grammar of overrides, whatever characters it has."""
    return QuotedString(escaped(path), Quote.single).with_quotes()


def for_shell(override: str) -> str:
    """An override as one word of a shell, in the quotes that are easiest to read."""
    if not override.isprintable():  # bytes that are no text among them
        return "$'" + "".join(c if c.isprintable() and c not in "'\\" else _as_bytes(c) for c in override) + "'"
    return shlex.quote(override) if re.search(r'["$`\\!]', override) else f'"{override}"'


def _as_bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was most likely meant: the same in its last part, else the one most alike in its letters."""
    by_lower = {one.lower(): one for one in sorted(known)}
    last = name.lower().rpartition(".")[2]
    same = [one for one in by_lower if one.rpartition(".")[2] == last]
    found = get_close_matches(name.lower(), same or by_lower, n=1, cutoff=0.0 if same else 0.6)
    if not found:
        by_last = {one.rpartition(".")[2]: one for one in by_lower}
        found = [by_last[one] for one in get_close_matches(last, by_last, n=1, cutoff=0.75)]
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to put behind a refusal, or its full stop."""
    found = nearest(name, known)
    return f"; did you mean {found}?" if found else "."


def unknown_setting(name: str, entry: str) -> str:
    """A name that the entry does not have."""
    here, other = setting_names(entry), OTHER[entry]
    if of := here.get(name):
        return f"{name} is a setting of {' and '.join(of)} alone."
    there = {*groups(other), *setting_names(other)}
    if name in there or any(one.startswith(f"{name}.") for one in there):
        same = nearest(name, here) if "." in name else None
        instead = "evaluate.py takes it from the run that runs= names." if entry == "evaluate" else "leave it out."
        return f"{name} is a setting of {other}.py, not of {entry}.py; {f'did you mean {same}?' if same else instead}"
    meant = did_you_mean(name, [*here, *groups(entry)])
    return f"{name} is not a setting of {entry}.py{meant} python {entry}.py --help lists them."


def unknown_choice(group: str, choice: str, known: Sequence[str]) -> str:
    """A choice that the group does not have."""
    return f"{group}={choice} is not there{did_you_mean(choice, known)} It may be {', '.join(known)}."


def several_choices(group: str, chosen: str, entry: str) -> str:
    """A list where one is chosen."""
    several = chosen.strip("[]").replace(" ", "")
    return f"{group}={chosen} is a list, and one is chosen; for several runs: python {entry}.py -m {group}={several}"


def refused(error: Exception, entry: str, overrides: Sequence[str]) -> str:
    """Why a command line could not be composed, and what to write instead.

    Args:
        error: of Hydra or OmegaConf, whose own first line stands where nothing better is known.
        entry: train or evaluate.
        overrides: as they were given.
    """
    if missing := MISSING.match(str(error)):
        return unknown_choice(missing["group"], missing["choice"], missing["known"].split())
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    for text in overrides:
        if why := _wrong_with(text, entry, error, getattr(cause, "full_key", None)):
            return why
    where = f"{cause.full_key}: " if getattr(cause, "full_key", None) else ""
    return where + str(cause).splitlines()[0]


def _wrong_with(text: str, entry: str, error: Exception, key: str | None) -> str | None:
    """What is wrong with one override, or nothing.

    Args:
        key: the setting that the error is about, where it says so.
    """
    name, equals, value = text.partition("=")
    if not name:
        return f"{text} has no name; a setting is written name=value."
    if not equals and not text.startswith("~"):
        return _no_equals(text, entry)
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        return (
            unknown_choice(name, value, choices(name))
            if name in groups(entry) and not value.startswith(("[", "="))
            else _not_in_the_grammar(name, value)
        )
    name = override.key_or_group
    if override.is_sweep_override() and "Ambiguous value" in str(error):
        return _comma(name, value, entry)
    if name in groups(entry):
        return _wrong_choice(override, value, entry)
    if name.startswith("hydra"):
        return None
    if any(one.startswith(f"{name}.") for one in setting_names(entry)):
        return f"{name} holds settings, and is none itself; write {name}.NAME=VALUE." if key == name else None
    if name not in setting_names(entry) or (setting_names(entry)[name] and key == name):
        return unknown_setting(name, entry)
    if name in PATHS and (key == name or ("${" in value and "nterpolation" in str(error))):
        return _quoting(name, value)
    return _wrong_kind(name, value, entry, str(error.__cause__ or error)) if key and key.startswith(name) else None


def _wrong_kind(name: str, value: str, entry: str, why: str) -> str | None:
    """A value that its setting cannot hold."""
    if is_list(entry, name) and not value.startswith("["):
        return f"{name} ({value}) must be a list; write {for_shell(f'{name}=[{value}]')}."
    kind = next((words for kind, words in KINDS.items() if f"could not be converted to {kind}" in why), None)
    kind = kind or ("true or false" if "is not a valid bool" in why else None)
    return f"{name} ({value}) must be {kind}{', in a list' if is_list(entry, name) else ''}." if kind else None


def _no_equals(text: str, entry: str) -> str:
    """Hydra takes name=value and nothing else."""
    of = [group for group in groups(entry) if text in choices(group)]
    if of:
        write = f"{of[0]}={text}"
    elif text in setting_names(entry) or text in groups(entry):
        write = f"{text}=VALUE, without a space around ="
    elif entry == "evaluate" and ("/" in text or text == "latest" or os.path.exists(text)):
        write = for_shell(f"runs={text}")
    else:
        return f"{text!r} is not a setting, which is written name=value; python {entry}.py --help lists them."
    return f"{text!r} has no =; write {write}."


def _not_in_the_grammar(name: str, value: str) -> str:
    if value.startswith("="):
        return f"{name}={value} has one = too many; write {name}={value.lstrip('=')}."
    if value.startswith("[") and "]" not in value:
        return f"{name}={value} is a list that does not end; put quotes around it, {for_shell(f'{name}=[A, B]')}."
    return _quoting(name, value)


def _quoting(name: str, value: str) -> str:
    """How to write a value whose characters mean something to Hydra."""
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


def _wrong_choice(override: Override, value: str, entry: str) -> str | None:
    """A group takes the name of one of its YAMLs."""
    name, chosen = override.key_or_group, override.value()
    if override.is_add():
        return f"{name} is chosen already; write {name}={value} without the +."
    if override.is_sweep_override() or override.is_delete() or chosen in choices(name) or groups(entry)[name] is None:
        return None
    return unknown_choice(name, value, choices(name))

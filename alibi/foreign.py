"""Text files that a stranger may have made: read with bounds, and taken for no more than plain values.

A leaf: imports nothing of this project. Whoever reads says which file it was and what to do.
"""

import json
import os
import stat
from pathlib import Path

import yaml

# No file of this project is nested deeper than eight.
DEEPEST = 32


def check_file(path: Path) -> int:
    """Its size in bytes.

    Raises:
        ValueError: a link, which may lead anywhere, or a device or pipe, which may have no end.
        OSError: it is not there.
    """
    told = os.lstat(path)
    if not stat.S_ISREG(told.st_mode):
        what = "a link" if stat.S_ISLNK(told.st_mode) else "no regular file"
        raise ValueError(f"it is {what}, and nothing but a file is read here")
    return told.st_size


def read_text(path: Path, most_bytes: int) -> str:
    """UTF-8 text of at most so many bytes.

    Raises:
        ValueError: larger, not UTF-8, or no regular file.
        OSError: it cannot be read.
    """
    if (size := check_file(path)) > most_bytes:
        raise ValueError(f"it has {size:,} bytes, and such a file has at most {most_bytes:,}")
    return path.read_text(encoding="utf-8")


def parse_json(text: str) -> object:
    """
    Raises:
        ValueError: no JSON, nested deeper than any file of this project, or an integer of thousands of digits.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    check_depth(content)
    return content


def check_depth(content: object) -> None:
    """
    Raises:
        ValueError: nested deeper than any file of this project: readers here may call themselves on what is inside.
    """
    level = [content]
    for _ in range(DEEPEST):
        inner = [value.values() if isinstance(value, dict) else value for value in level]
        level = [v for values in inner for v in values if isinstance(v, (dict, list))]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: ten lines of them can stand for a billion values."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias (*name), which this project never writes")
        return super().compose_node(parent, index)


def parse_settings(text: str) -> dict:
    """A resolved config.yaml as plain values.

    Raises:
        ValueError: no YAML of plain values; an alias; an interpolation, which would be filled in from this machine.
    """
    try:
        content = yaml.load(text, _PlainLoader)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except yaml.YAMLError as error:
        raise ValueError(f"it is no plain YAML ({str(error).splitlines()[0]})") from error
    except (TypeError, AttributeError, LookupError, OverflowError) as error:  # PyYAML's own, of values that are none
        raise ValueError(f"it is no plain YAML ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise ValueError("it holds no settings")
    check_depth(content)
    _check_plain(content, "")
    return content


def _check_plain(value: object, name: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{name or 'it'} has a name that is no text ({str(key)[:40]})")
            _check_plain(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, name)
    elif isinstance(value, str):
        if "${" in value:
            raise ValueError(f"{name} is an interpolation ({value[:60]}), and a run's settings are resolved")
    elif value is not None and not isinstance(value, (bool, int, float)):
        raise ValueError(f"{name} is a {type(value).__name__}, and settings are numbers, texts, lists and mappings")

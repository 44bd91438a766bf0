"""Paths as people write them. A leaf: imports nothing of this project."""

import os
from pathlib import Path


def expanded(path: str) -> str:
    """The path, with `~` or `~name` at its start replaced by that person's home folder.

    A shell does this for a bare word only: not inside quotes, after `=`, in a YAML file or in a variable.

    Raises:
        ValueError: nobody of that name has a home folder here.
    """
    full = os.path.expanduser(path)
    if full.startswith("~"):
        raise ValueError(
            f"{path} starts with ~, a home folder, and {path.partition('/')[0]} has none on this machine; "
            f"write ./{path} for a folder of that name."
        )
    return full


def user_path(path: str) -> Path:
    """As `expanded`, for the arguments of scripts."""
    return Path(expanded(path))

"""Where outputs and caches lie, and `~` in paths. A leaf: imports nothing of this project."""

import os
from dataclasses import dataclass
from pathlib import Path


def expanded(path: str) -> str:
    """The path, with a leading `~` or `~name` replaced by the home folder.

    A shell expands only bare words: not inside quotes, after `=`, in a YAML file or in a variable.

    Raises:
        ValueError: no user of that name has a home folder here.
    """
    full = os.path.expanduser(path)
    if full.startswith("~"):
        raise ValueError(f"{path} starts with ~, and there is no such user here; write ./{path} for such a folder.")
    return full


def user_path(path: str) -> Path:
    """`expanded` as an argparse type, for scripts."""
    return Path(expanded(path))


@dataclass
class PathsConfig:
    """
    Attributes:
        outputs: folder of run folders and the pointer `latest`.
        cache: folder of tokenizers and token files; None: ALIBI_CACHE, else .cache beside the code.
    """

    outputs: str = "outputs"
    cache: str | None = None

    def __post_init__(self) -> None:
        beside_code = str(Path(__file__).parents[1] / ".cache")
        self.cache = self.cache or expanded(os.environ.get("ALIBI_CACHE", "")) or beside_code

"""config.yaml of a run or checkpoint: its resolved settings as plain values."""

from pathlib import Path

import yaml

CHOOSE = "choose another run_dir, or another run by runs="
PARTS = {"seed", "model", "data", "tokenizer", "train", "tracking"}


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
    missing = PARTS - settings.keys() if isinstance(settings, dict) else PARTS
    if missing:
        raise ValueError(f"{path} cannot be read: it lacks {', '.join(sorted(missing))}; {CHOOSE}.")
    return settings


def settings_text(settings: dict) -> str:
    """The content of a config.yaml with these settings.

    Raises:
        ValueError: a setting that OmegaConf would read back as an interpolation.
    """
    text = yaml.safe_dump(settings, sort_keys=False)
    for line in text.splitlines():
        if "${" in line:
            raise ValueError(
                f"a run cannot be stored with these settings: {line.strip()[:80]!r} holds ${{, which starts an "
                "interpolation; choose a name without it."
            )
    return text

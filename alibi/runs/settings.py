"""config.yaml of a run or checkpoint: plain values, of which those that are used have the kind that they need."""

from pathlib import Path

import yaml

from alibi.foreign import parse_settings, read_text
from alibi.model import LARGEST
from alibi.runs.layout import CONFIG, MOST_BYTES

NEEDED = {
    "seed": int,
    "model.position.name": str,
    "data.name": str,
    "tokenizer.name": str,
    "train.seq_len": int,
    "train.batch_tokens": int,
    "train.max_steps": int,
    "tracking.project": str,
}
KINDS = {int: f"a whole number from 0 to {LARGEST - 1}", str: "a text", dict: "a mapping"}


def read_settings(path: Path) -> dict:
    """The settings in a config.yaml.

    Raises:
        ValueError: with the reason why they cannot be used, in a few words.
        OSError: it cannot be read.
    """
    return _checked(read_text(path, MOST_BYTES[CONFIG]))


def settings_text(settings: dict) -> str:
    """What a config.yaml of these settings holds.

    Raises:
        ValueError: settings that no reader of it would take: a run of them could be neither evaluated nor resumed.
    """
    text = yaml.safe_dump(settings, sort_keys=False)
    if len(text) > MOST_BYTES[CONFIG]:
        raise ValueError(f"these settings have {len(text):,} bytes, and a run's have at most {MOST_BYTES[CONFIG]:,}.")
    try:
        _checked(text)
    except ValueError as error:
        raise ValueError(f"a run cannot be stored with these settings: {error}.") from error
    return text


def _checked(text: str) -> dict:
    settings = parse_settings(text)
    for name, kind in NEEDED.items():
        value, walked = settings, []
        for part in name.split("."):
            walked.append(part)
            if not isinstance(value, dict) or part not in value:
                raise ValueError(f"{'.'.join(walked)} is missing")
            value = value[part]
        if type(value) is not kind or (kind is int and not 0 <= value < LARGEST):
            raise ValueError(f"{name} is {str(value)[:40]!r}, and must be {KINDS[kind]}")
    return settings

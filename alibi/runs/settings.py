"""config.yaml of a run or checkpoint: plain values, of which those that are used have the kind that they need."""

from pathlib import Path

from alibi.foreign import parse_settings, read_text
from alibi.runs.layout import CONFIG, MOST_BYTES

# Larger integers are no count of anything, and no float holds them exactly.
LARGEST = 2**53
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
KINDS = {int: f"a whole number from 0 to {LARGEST}", str: "a text", dict: "a mapping"}


def read_settings(path: Path) -> dict:
    """The settings in a config.yaml.

    Raises:
        ValueError: with the reason why they cannot be used, in a few words.
        OSError: it cannot be read.
    """
    settings = parse_settings(read_text(path, MOST_BYTES[CONFIG]))
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

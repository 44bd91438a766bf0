"""Result files: the rows of one checkpoint, text, protocol and precision, in JSON.

A later evaluation of the same adds its lengths; the same length is replaced. Written beside and
renamed. Fields are added, never renamed without a new schema number.
"""

import json
import math
from pathlib import Path

from alibi.runs import write_atomically

SCHEMA = 1
NEEDED = {"checkpoint": ("sha256",), "data": ("name", "split", "sha256", "tokens"), "protocol": ("name",)}


def protocol_name(stride: int | None) -> str:
    return "nonoverlapping" if stride is None else f"stride-{stride}"


def read_result(path: Path) -> dict | None:
    """The result file at `path`, or None where there is none.

    Raises:
        ValueError: it cannot be read, or is of another schema.
    """
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        schema = result["schema"]
        if schema == SCHEMA:
            _ = [result[part][key] for part, keys in NEEDED.items() for key in keys]
            _ = [row["length"] for row in result["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result file ({type(error).__name__}: {error}); move it away.") from error
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, and this version writes {SCHEMA}; move it away.")
    return result


def same_part(result: dict, head: dict) -> bool:
    """Whether two results score the same text, in the same part."""
    return all(result["data"][key] == head["data"][key] for key in ("name", "split", "sha256", "tokens"))


def result_path(folder: Path, step_name: str, head: dict, own_text: bool, whole: bool) -> Path:
    """Where a result belongs: the name says checkpoint, text, protocol and precision.

    A text that is not the run's own has eight digits of its hash in the name. A part of the run's own
    (`eval.max_tokens`) has the plain name as long as nothing else has it; the whole always has it, and
    a part that stands there makes room, under the name with its hash.
    """
    plain, hashed = _path(folder, step_name, head, False), _path(folder, step_name, head, True)
    if not own_text:
        return hashed
    there = read_result(plain)
    if there is None or same_part(there, head):
        return plain
    if not whole:
        return hashed
    plain.replace(_path(folder, step_name, there, True))
    return plain


def _path(folder: Path, step_name: str, head: dict, hashed: bool) -> Path:
    data = head["data"]
    name = f"{data['name']}-{data['sha256'][:8]}" if hashed else data["name"]
    precision = "" if head["precision"] == "fp32" else f"-{head['precision']}"
    return folder / f"{step_name}-{name}-{data['split']}-{head['protocol']['name']}{precision}.json"


def earlier_rows(path: Path, head: dict) -> dict[int, dict]:
    """Rows by length that an earlier evaluation of the same weights left at `path`."""
    there = read_result(path)
    if there is None or there["checkpoint"]["sha256"] != head["checkpoint"]["sha256"] or not same_part(there, head):
        return {}
    return {row["length"]: row for row in there["rows"]}


def write_result(path: Path, head: dict, rows: dict[int, dict]) -> None:
    """Write `rows`, shortest length first, under `head`.

    Raises:
        ValueError: a number that JSON cannot hold; such a row should carry an error instead.
    """
    for row in rows.values():
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"row {row['length']}: {name} is {value}, which JSON cannot hold.")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**head, "rows": [rows[length] for length in sorted(rows)]}
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

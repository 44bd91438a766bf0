"""Result files: the rows of one checkpoint, text, protocol and precision, in JSON.

Each row says what it was `made_with`; the file's own `made_with` is that of the row written last, and of rows of
earlier versions, which have none. `unfinished` lists the lengths of rows whose command has not ended yet.
Fields are added, never renamed without a new schema number.
"""

import glob
import hashlib
import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from alibi.analysis.curves import how_far, measured_perplexities
from alibi.files import write_atomically
from alibi.pointers import expand

SCHEMA = 1
# Texts that become part of file names, and so must be no way out of the folder.
NAMES = {
    "checkpoint": ("sha256",),
    "data": ("name", "split", "sha256"),
    "protocol": ("name",),
}


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
        if result["schema"] == SCHEMA and ("sha256" not in result or _has_own_sha256(result)):
            _check_parts(result)
            return result
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no result file ({type(error).__name__}: {error}); move it away.") from error
    if result["schema"] == SCHEMA:
        raise ValueError(f"{path} was changed by hand: its content has another sha256 than it states; move it away.")
    raise ValueError(f"{path} has schema {str(result['schema'])[:40]}, and this version writes {SCHEMA}; move it away.")


def _check_parts(result: dict) -> None:
    """Whether what is read of an earlier file has its kind."""
    names = [(f"{part}.{key}", result[part][key]) for part, keys in NAMES.items() for key in keys]
    names += [("precision", result["precision"]), ("scorer", result.get("scorer", "full"))]
    for name, value in names:
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", value):
            raise ValueError(f"{name} is {str(value)[:60]!r}, and must be a name of letters, digits, '.', '_' and '-'")
    if type(result["data"]["tokens"]) is not int or type(result["checkpoint"].get("seq_len") or 0) is not int:
        raise ValueError("data.tokens and checkpoint.seq_len, where it is known, must be whole numbers")
    if not _is_number(result.get("how_far", {}).get("within_percent", 1)) or not isinstance(result["rows"], list):
        raise ValueError("how_far.within_percent must be a number, and rows a list")
    if not isinstance(left := result.get("unfinished", []), list) or not all(type(n) is int for n in left):
        raise ValueError("unfinished must be a list of lengths")
    if not all(isinstance(part.get("made_with", {}), dict) for part in (result, *result["rows"])):
        raise ValueError("made_with must be an object")
    groups = (result.get("groups") or {}).get("tokens", [])
    for row in result["rows"]:
        numbers = [row.get("perplexity", 1), *(sums := row.get("group_nats", [])), *groups]
        sizes = row["length"], row.get("stride", 1)
        if not all(type(n) is int and 0 < n < 2**53 for n in sizes) or not all(map(_is_number, numbers)):
            raise ValueError("a row must have a length, and numbers for its stride, perplexity and sums by group")
        if "group_nats" in row and len(sums) != len(groups):
            raise ValueError(f"a row has {len(sums)} sums for {len(groups)} groups")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def find_results(wanted: Iterable[str]) -> list[Path]:
    """Result files that are meant by files, run folders (all of theirs), and globs of these; each once.

    Raises:
        FileNotFoundError: something is not there, or holds no result.
    """
    found: dict[Path, Path] = {}
    for name in wanted:
        literal = Path(name).exists() or not glob.has_magic(name)
        files = [file for place in ([Path(name)] if literal else expand(name)) for file in _results_in(place)]
        if not files:
            what = "does not exist" if literal and not Path(name).exists() else "holds no result file"
            raise FileNotFoundError(f"{name} {what}; python evaluate.py runs=RUN makes one.")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _results_in(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted((place / "evaluation").glob("*.json")) or sorted(place.glob("step-*.json"))


def same_model(result: dict, head: dict) -> bool:
    """Whether two results are of the same weights, fed the same ids where the text is the same.

    Beside the text, ids depend on the tokenizer, on the token between documents and on the first input. Older
    files do not tell all of it.
    """

    def told(content: dict) -> tuple:
        data = content["data"]
        return (
            content["checkpoint"]["sha256"],
            content["protocol"].get("first_input"),
            (data.get("tokenizer") or {}).get("sha256"),
            data.get("tokens_sha256") if same_part(result, head) else None,
        )

    return all(one == other or None in (one, other) for one, other in zip(told(result), told(head), strict=True))


def same_part(result: dict, head: dict) -> bool:
    """Whether two results score the same text, in the same part."""
    return all(result["data"][key] == head["data"][key] for key in ("name", "split", "sha256", "tokens"))


def result_path(folder: Path, step_name: str, head: dict, plain: bool) -> Path:
    """Where a result belongs: the name says checkpoint, text, protocol and precision.

    Args:
        plain: the whole of the run's own text. A part, or another text, has eight digits of its hash in the name.
    """
    data = head["data"]
    name = data["name"] if plain else f"{data['name']}-{data['sha256'][:8]}"
    precision = "" if head["precision"] == "fp32" else f"-{head['precision']}"
    scorer = "" if head.get("scorer", "full") == "full" else f"-{head['scorer']}"
    return folder / f"{step_name}-{name}-{data['split']}-{head['protocol']['name']}{precision}{scorer}.json"


def same_targets(path: Path) -> dict[Path, dict]:
    """The results beside `path`, itself included, of the same weights, targets and groups, precision and scorer."""

    def asked(result: dict) -> tuple:
        return result["precision"], result.get("scorer", "full"), result.get("groups")

    mine, found = read_result(path), {}
    for other in sorted(path.parent.glob("*.json")):
        with suppress(ValueError, OSError):  # a damaged file is named when it is asked for
            result = read_result(other)
            same = asked(result) == asked(mine) and same_model(result, mine) and same_part(result, mine)
            if result["rows"] and same:
                found[other] = result
    return found


def write_result(path: Path, head: dict, rows: Iterable[dict], within_percent: float) -> None:
    """Write `rows`, shortest length first, under `head`, with what follows from them and a checksum.

    Raises:
        ValueError: a number that JSON cannot hold; such a row should carry an error instead.
    """
    rows = sorted(rows, key=lambda row: row["length"])
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"row {row['length']}: {name} is {value}, which JSON cannot hold.")
    reach = how_far(measured_perplexities(rows), head["checkpoint"]["seq_len"], within_percent)
    content = {**head, "how_far": reach, "rows": rows}
    if not content.get("unfinished"):
        content.pop("unfinished", None)
    content["sha256"] = content_sha256(content)
    write_atomically(path, _json(content))


def rewrite_result(path: Path, within_percent: float | None = None, **more: object) -> None:
    """Write a result anew with another margin, or with more fields: what was measured stays, and what with."""
    result = read_result(path)
    margin = result["how_far"]["within_percent"] if within_percent is None else within_percent
    write_result(path, result | more, result["rows"], margin)


def content_sha256(content: dict) -> str:
    """Of all that a result file says but its own hash."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _has_own_sha256(result: dict) -> bool:
    try:
        return result["sha256"] == content_sha256(result)
    except ValueError:  # NaN or infinity, which write_result never writes
        return False


def _json(content: dict) -> str:
    """Indented, with a list of numbers on one line."""
    text = json.dumps(content, indent=1, allow_nan=False)
    return re.sub(r"\[\s+[-\d][^\[\]{}\"]*\]", lambda found: " ".join(found[0].split()), text) + "\n"

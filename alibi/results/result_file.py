"""Result files on disk: found, read and checked, and written with a checksum."""

import hashlib
import json
import re
import reprlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import ValidationError

from alibi.files import hold, write_atomically
from alibi.pointers import expand
from alibi.results.result import Result
from alibi.results.schema import SCHEMA, Content

REMEDY = "Move the file away, and evaluate again."


def find_results(wanted: Iterable[str]) -> list[Path]:
    """Result files named by files, run folders (all of theirs), and globs of these; each once.

    Raises:
        FileNotFoundError: something is not there, or holds no result.
    """
    found: dict[Path, Path] = {}
    for name in wanted:
        places = [Path(name)] if Path(name).exists() else expand(name)
        files = [file for place in places for file in _results_in(place)]
        if not files:
            raise FileNotFoundError(f"there is no result file at {name}; python evaluate.py runs=RUN makes one.")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _results_in(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = list((place / "evaluation").glob("*.json")) or list(place.glob("step-*.json"))
    return sorted(found, key=lambda path: path.stem)  # a method before what adapts it


def load_results(paths: Iterable[Path]) -> list[Result]:
    """Result files, in the order given; see load_result."""
    return [load_result(Path(path)) for path in paths]


def load_result(path: Path) -> Result:
    """A result file, checked. A row with NaN or infinity becomes a row with an `error`.

    Raises:
        ValueError: a file that is not a whole result file of this schema, or that does not match its checksum.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no result file ({type(error).__name__}: {error}). {REMEDY}") from error
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r:.40}; this version reads {SCHEMA}. {REMEDY}")
    if "sha256" in content and content["sha256"] != checksum(content):
        raise ValueError(f"{path} does not match its own sha256: it was changed by hand, or cut off. {REMEDY}")
    if isinstance(content.get("rows"), list):
        content["rows"] = [_without_nan(row) if isinstance(row, dict) else row for row in content["rows"]]
    try:
        if _canonical(content) is None:
            raise ValueError("outside its rows it has a NaN or an infinity")
        return Result(path, Content.model_validate(content))
    except ValueError as error:
        problem = _first_problem(error) if isinstance(error, ValidationError) else error
        raise ValueError(f"{path} is no result file: {problem}. {REMEDY}") from error


def _first_problem(error: ValidationError) -> str:
    """rows[0].perplexity is -1, and must be greater than 0."""
    problem = error.errors(include_url=False)[0]
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    rule = re.sub(r"^(Value error, |(Input|String|List) should )", "", problem["msg"])
    if problem["type"] == "missing":
        return f"{name} is missing"
    if problem["type"] == "value_error":
        return f"{name}: {rule}" if name else rule
    return f"{name} is {reprlib.repr(problem['input'])}, and must {rule}"


def _without_nan(row: dict) -> dict:
    for name, value in row.items():
        if _canonical(value) is None:
            stated = value if isinstance(value, float) else "not finite"
            kept = {name: row[name] for name in ("length", "stride") if name in row}
            return kept | {"error": row.get("error") or f"not a number: {name} is {stated}"}
    return row


def _canonical(value: object) -> str | None:
    """The same JSON for the same value; None where it is no JSON, because of a NaN or an infinity."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return None


def checksum(content: dict) -> str | None:
    """sha256 of all that a result file says but its own; None where it has a NaN or an infinity."""
    text = _canonical({name: value for name, value in content.items() if name != "sha256"})
    return text and hashlib.sha256(text.encode()).hexdigest()


def write_result(path: Path, content: Content) -> None:
    """Write a result file with its checksum, shortest length first."""
    fields = content.model_dump(by_alias=True, exclude_unset=True)
    fields["rows"].sort(key=lambda row: row["length"])
    if not fields.get("unfinished"):
        fields.pop("unfinished", None)
    fields["sha256"] = checksum(fields)
    text = json.dumps(fields, indent=1, allow_nan=False)
    # A list of numbers goes on one line.
    text = re.sub(r"\[\s+[-\d][^\[\]{}\"]*\]", lambda found: " ".join(found[0].split()), text)
    write_atomically(path, text + "\n")


def lock(result: Path) -> AbstractContextManager:
    """The lock on the results of a run. It lies beside evaluation/, which holds results only."""
    return hold(result.parents[1] / ".evaluation.lock")

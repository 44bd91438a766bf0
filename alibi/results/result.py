"""Result files, read and verified. Reporting knows nothing else of the project."""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from alibi.results.schema import check_fields

SCHEMA = 1
# A file of ten runs' worth of rows and groups is some MiB; what is larger than this is something else.
LARGEST_BYTES = 64 * 2**20
# Of these a number is of the words and bytes of a text, whatever tokens cover of them.
TEXT_UNITS = ("word_perplexity", "bits_per_byte")
REMEDY = "Evaluate again, or move the file away."


@dataclass(frozen=True)
class Result:
    """One result file: a checkpoint's rows on one text, by one protocol, in one precision.

    Attributes:
        checked: the file holds a checksum, and its content fits it. Older files hold none.
    """

    path: Path
    content: dict
    checked: bool = False

    @property
    def rows(self) -> dict[int, dict]:
        """By length, shortest first. A row has the numbers, or an `error`."""
        return {row["length"]: row for row in sorted(self.content["rows"], key=lambda row: row["length"])}

    @property
    def numbers(self) -> dict[int, dict]:
        """The rows that have numbers, without those that may not stand beside another run's."""
        return {
            length: {name: value for name, value in row.items() if not self.is_marked(name)}
            for length, row in self.rows.items()
            if "error" not in row
        }

    def is_marked(self, metric: str) -> bool:
        """Whether a metric is of the whole text, of which the tokenizer covers a part: marked, and not compared."""
        return metric in TEXT_UNITS and self.not_covered is not None

    @property
    def not_covered(self) -> str | None:
        """`text not covered: ...`, how much of it; None where tokens cover it, or nothing says that they do not."""
        lost, whole = self.content["data"].get("uncovered_bytes"), self.content["data"]["bytes"]
        return (
            f"text not covered: no token stands for {lost:,} of {whole:,} bytes ({lost / whole:.2%})" if lost else None
        )

    def made_with(self, length: int) -> dict:
        """Machine, versions and processes of a row; rows of earlier versions have those of the file."""
        return self.rows[length].get("made_with") or self.content.get("made_with") or {}

    def machine(self, length: int) -> str:
        """What a row's speed and memory depend on: `cpu: EPYC, 2 threads, 4 processes`; empty where it is not told."""
        told = self.made_with(length)
        counts = (f"{told[name]} {name}" for name in ("threads", "processes") if name in told)
        return ", ".join([told["device"], *counts]) if "device" in told else ""

    @property
    def method(self) -> str:
        return self.content["checkpoint"]["model"]

    @property
    def seq_len(self) -> int | None:
        """The training length; None where nobody knows it, as of some models that were not trained here."""
        return self.content["checkpoint"].get("seq_len")

    @property
    def seed(self) -> int | None:
        """None of a model that was not trained here."""
        return self.content["checkpoint"].get("seed")

    @property
    def step(self) -> int:
        return self.content["checkpoint"]["step"]

    @property
    def folder(self) -> Path:
        """The run folder, which holds evaluation/, which holds the file."""
        return self.path.absolute().parents[1]

    @property
    def run(self) -> str:
        return self.folder.name

    @property
    def protocol(self) -> str:
        """What was measured, from the file's own name: wikitext103-validation-nonoverlapping."""
        return re.sub(r"^step-\d+-", "", self.path.stem)

    @property
    def level(self) -> float:
        """Of its intervals."""
        return (self.content.get("intervals") or {}).get("level") or 0.95

    @property
    def has_intervals(self) -> bool:
        """Whether any number has one; where there can be none, evaluation writes null under each name."""
        return any(pair for row in self.numbers.values() for pair in (row.get("interval") or {}).values())

    @property
    def why_no_intervals(self) -> str | None:
        """`3 groups, 10 needed`; None where there are intervals, or no number that could have one."""
        if self.has_intervals or not self.numbers:
            return None
        groups = self.content.get("groups")
        if not groups:
            return "no sums by group of the text"
        number, needed = len(groups["tokens"]), (self.content.get("intervals") or {}).get("least_units") or 10
        if number < needed:
            return f"{number} group{'' if number == 1 else 's'}, {needed} needed"
        return "some resample is above the largest float"


def load_results(paths: Iterable[Path]) -> list[Result]:
    """Result files, in the order given.

    Raises:
        ValueError: a file that is no whole result file, is of another schema, lacks a field or has one of another
            kind, or does not fit its own checksum.
    """
    return [load_result(Path(path)) for path in paths]


def load_result(path: Path) -> Result:
    """One result file. Rows with a number that is none (NaN) become rows with an `error`."""
    try:
        return _load(path)
    except RecursionError as error:
        raise ValueError(f"{path} is no result file: it is nested too deep. {REMEDY}") from error


def _load(path: Path) -> Result:
    try:
        if not path.is_file():
            raise ValueError("no regular file")
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError(f"larger than {LARGEST_BYTES // 2**20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
        # Lone surrogates are JSON, and no text that anyone can print.
        json.dumps(content, ensure_ascii=False).encode()
        schema = content["schema"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no result file ({type(error).__name__}: {error}). {REMEDY}") from error
    if isinstance(schema, bool) or schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}; this version reads {SCHEMA}. {REMEDY}")
    checked = "sha256" in content
    if checked and content["sha256"] != checksum(content):
        raise ValueError(f"{path} does not fit its own sha256: it was changed by hand, or cut off. {REMEDY}")
    content = _without_null(content)
    wrong = check_fields(content) or _broken_outside_rows(content)
    if wrong:
        raise ValueError(f"{path} is no result file of schema {SCHEMA}: {wrong}. {REMEDY}")
    return Result(path, content | {"rows": [_without_nan(row) for row in content["rows"]]}, checked)


def _without_null(content: dict) -> dict:
    """What is null is not told, like what is missing."""
    told = {name: value for name, value in content.items() if value is not None}

    def named(part: object) -> object:
        return {name: value for name, value in part.items() if value is not None} if isinstance(part, dict) else part

    told |= {name: named(told[name]) for name in ("checkpoint", "data") if name in told}
    if isinstance(told.get("rows"), list):
        told["rows"] = [named(row) for row in told["rows"]]
    return told


def checksum(content: dict) -> str | None:
    """What `sha256` must be; None where the content can have no checksum (NaN is no JSON)."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    try:
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def _broken_outside_rows(content: dict) -> str | None:
    for name, value in content.items():
        if name != "rows" and (at := _not_finite(value, name)):
            return f"{at[0]} is {at[1]}, not a number"
    return None


def _without_nan(row: dict) -> dict:
    at = _not_finite(row, "")
    if at is None:
        return row
    kept = {"length": row["length"], **({"stride": row["stride"]} if "stride" in row else {})}
    return kept | {"error": row.get("error") or f"not a number: {at[0]} is {at[1]}"}


def _not_finite(value: object, name: str) -> tuple[str, float] | None:
    """Where a NaN or an infinity stands, as (name, value)."""
    if isinstance(value, float) and not math.isfinite(value):
        return name, value
    if isinstance(value, dict):
        items = [(f"{name}.{key}" if name else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        items = [(name, inner) for inner in value]
    else:
        return None
    return next((found for key, inner in items if (found := _not_finite(inner, key))), None)

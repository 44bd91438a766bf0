"""Which fields a result file must have, and of what kind: every reader below may lean on them."""

import math
import unicodedata
from collections.abc import Callable
from typing import Any

# Integers beyond this are no longer exact in a browser, and no honest count.
LARGEST = 2**53
# What rounding may do to a number that follows from others.
SAME = 1e-6


def _is_number(value: Any) -> bool:
    """Finite or not; NaN is told apart later. Integers that no float can hold are refused here."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**300)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _is_length(value: Any) -> bool:
    return _is_count(value) and value > 0


def _is_text(value: Any) -> bool:
    """No control characters: they would move a terminal's cursor, and no XML may hold them."""
    return isinstance(value, str) and not any(unicodedata.category(c) == "Cc" for c in value)


def _is_reason(value: Any) -> bool:
    return isinstance(value, str)


def _is_perplexity(value: Any) -> bool:
    return _is_number(value) and (value > 0 or math.isnan(value))


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_is_number(v) for v in value)


def _is_pair(value: Any) -> bool:
    return _is_numbers(value) and len(value) == 2


def _is_splits(value: Any) -> bool:
    parts = {"longer_context": NUMBER, "early_tokens": NUMBER, "whole": NUMBER}
    entry = {"length": LENGTH, **parts, "?interval": {f"?{part}": PAIR for part in parts}}
    return isinstance(value, list) and all(isinstance(v, dict) and _check(v, entry, "") is None for v in value)


def _is_settings(value: Any) -> bool:
    return isinstance(value, dict)


Kind = tuple[str, Callable[[Any], bool]]
NUMBER: Kind = ("a number", _is_number)
COUNT: Kind = ("a whole number from 0", _is_count)
INTEGER: Kind = ("a whole number", lambda v: _is_count(v) or (isinstance(v, int) and _is_count(-v)))
LENGTH: Kind = ("a whole number from 1", _is_length)
TEXT: Kind = ("text without control characters", _is_text)
REASON: Kind = ("text", _is_reason)
PERPLEXITY: Kind = ("a number above 0", _is_perplexity)
NUMBERS: Kind = ("a list of numbers", _is_numbers)
PAIR: Kind = ("a pair of numbers", _is_pair)
SPLITS: Kind = ("a list of two-part splits by length", _is_splits)
FLAT: Kind = ("an object", _is_settings)

# name: kind, or a dict of the fields inside. A name that begins with "?" may be missing or null.
CONTENT = {
    "checkpoint": {
        "model": TEXT, "sha256": TEXT, "?seq_len": LENGTH, "?seed": INTEGER, "step": COUNT,
        "?parameters": COUNT, "?run": TEXT, "?settings": FLAT,
        "?parameters_in": {"?position": COUNT, "?embedding": COUNT, "?rest": COUNT},
        "?training": {"?tokens": NUMBER, "?flops": NUMBER, "?text_sha256": TEXT},
    },
    "data": {
        "name": TEXT, "split": TEXT, "sha256": TEXT, "tokens": LENGTH, "words": LENGTH, "bytes": LENGTH, "?form": TEXT,
        "?documents": COUNT, "?documents_in_text": COUNT,
        "?tokenizer": {"name": TEXT, "vocab_size": COUNT, "sha256": TEXT}, "?tokens_sha256": TEXT,
        "?uncovered_bytes": COUNT,
    },
    "protocol": {"name": TEXT, "?first_input": TEXT},
    "precision": TEXT,
    "?scorer": TEXT,
    "?intervals": {
        "?level": NUMBER, "?resamples": COUNT, "?units": COUNT, "?least_units": COUNT,
        "?method": TEXT, "?holds_for": TEXT,
    },
    "?how_far": {"within_percent": NUMBER, "?length": LENGTH, "?breaks_at": LENGTH, "?reason": TEXT},
    "?change": {"against": LENGTH, "stride": LENGTH, "lengths": SPLITS},
    "?made_with": FLAT,
    "?groups": {"tokens": NUMBERS, "words": NUMBERS, "bytes": NUMBERS},
    "?sha256": TEXT,
}  # fmt: skip
ROW = {
    "length": LENGTH, "?stride": LENGTH, "perplexity": PERPLEXITY, "?word_perplexity": PERPLEXITY,
    "?bits_per_byte": NUMBER, "nll_nats": NUMBER, "?scored_tokens": COUNT, "?tokens_per_sec": NUMBER,
    "?peak_memory_mib": NUMBER, "?group_nats": NUMBERS, "?made_with": FLAT,
    "?context": {"up_to": NUMBERS, "targets": NUMBERS, "nll_nats": NUMBERS},
    "?interval": {"?perplexity": PAIR, "?word_perplexity": PAIR, "?bits_per_byte": PAIR},
}  # fmt: skip
ROW_WITH_ERROR = {"length": LENGTH, "?stride": LENGTH, "error": REASON, "?made_with": FLAT}


def check_fields(content: dict) -> str | None:
    """What is wrong with a result file's content, in words; None where nothing is."""
    wrong = _check(content, CONTENT, "")
    if wrong:
        return wrong
    rows = content.get("rows")
    if not isinstance(rows, list):
        return f"rows is {_shown(rows)}, and must be a list"
    groups, lengths = content.get("groups"), set()
    sizes = {len(groups[unit]) for unit in ("tokens", "words", "bytes")} if groups else None
    if groups and len(sizes) > 1:
        return f"groups has lists of different lengths ({sorted(sizes)})"
    for number, row in enumerate(rows):
        wrong = _check_row(row, f"rows[{number}]", sizes) or _check_sums(row, f"rows[{number}]", content["data"])
        if wrong:
            return wrong
        if row["length"] in lengths:
            return f"length {row['length']} stands in two rows"
        lengths.add(row["length"])
    return None


def _check_row(row: object, name: str, groups: set[int] | None) -> str | None:
    """What is wrong with a row.

    Args:
        groups: how many sums by group it must have, in a set; None where the file has no groups.
    """
    if not isinstance(row, dict):
        return f"{name} is {_shown(row)}, and must be an object"
    wrong = _check(row, ROW_WITH_ERROR if "error" in row else ROW, f"{name}.")
    if wrong or "error" in row:
        return wrong
    if groups and "group_nats" in row and len(row["group_nats"]) not in groups:
        return f"{name}.group_nats has {len(row['group_nats'])} numbers for {groups.pop()} groups"
    if not row.get("context"):
        return None
    sizes = {part: len(row["context"][part]) for part in ("up_to", "targets", "nll_nats")}
    if len(set(sizes.values())) > 1:
        return f"{name}.context has lists of different lengths ({sizes})"
    return None


def _check_sums(row: dict, name: str, data: dict) -> str | None:
    """Whether a row's numbers are those of its nats: a file without a checksum could have been changed by hand.

    Every row scores every token once, by any protocol and scorer. NaN and infinity are told apart later.
    """
    if "error" in row:
        return None
    scored = row.get("scored_tokens")
    if scored is not None and scored != data["tokens"]:
        return f"{name}.scored_tokens is {scored}, and data.tokens {data['tokens']}: every token is scored once"
    nats = row["nll_nats"]
    follow = {
        "perplexity": ("exp(nll_nats / tokens)", lambda: math.exp(nats / data["tokens"])),
        "word_perplexity": ("exp(nll_nats / words)", lambda: math.exp(nats / data["words"])),
        "bits_per_byte": ("nll_nats / bytes / ln 2", lambda: nats / data["bytes"] / math.log(2)),
    }
    for metric, (formula, value) in follow.items():
        told = row.get(metric)
        if told is None or not (math.isfinite(told) and math.isfinite(nats)):
            continue
        try:
            right = value()
        except OverflowError:
            right = math.inf
        if not math.isclose(told, right, rel_tol=SAME):
            return f"{name}.{metric} is {_shown(told)}, and {formula} is {right:.9g}"
    return None


def _check(value: dict, fields: dict, prefix: str) -> str | None:
    for key, kind in fields.items():
        name, may_miss = key.removeprefix("?"), key.startswith("?")
        inner = value.get(name)
        if inner is None:
            if may_miss:
                continue
            return f"{prefix}{name} is missing"
        if isinstance(kind, dict):
            if not isinstance(inner, dict):
                return f"{prefix}{name} is {_shown(inner)}, and must be an object"
            wrong = _check(inner, kind, f"{prefix}{name}.")
            if wrong:
                return wrong
        elif not kind[1](inner):
            return f"{prefix}{name} is {_shown(inner)}, and must be {kind[0]}"
    return None


def _shown(value: object) -> str:
    """A value in an error message: not a page of it, and integers of any size."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."

"""The check of numbers and words in dataclasses of settings. A leaf."""

import math
from dataclasses import fields
from numbers import Integral, Real
from typing import Literal, get_args, get_origin

# Integers in settings stay below this: some JSON readers turn larger ones into floats and round them.
LARGEST = 2**53
KINDS = {
    bool: (bool, "true or false"),
    int: (Integral, f"a whole number below 2**53 ({LARGEST})"),
    float: (Real, "a finite number"),
}


def check_kinds(settings: object, prefix: str = "") -> None:
    """Check every bool, int, float and Literal of a dataclass of settings, also in lists, against its field's type.

    Range checks alone do not: nan passes `x <= 0`, and True is 1.

    Args:
        settings: fields annotated `int`, `int | None`, `list[int]`, `Literal["a", "b"]`, ... are checked, others
            ignored.
        prefix: of the names in messages, such as "model.".

    Raises:
        ValueError: a value of another type, a number that is not finite, or an integer too large for JSON readers.
    """
    for one in fields(settings):
        value = getattr(settings, one.name)
        if get_origin(one.type) is Literal and value not in get_args(one.type):
            raise ValueError(f"{prefix}{one.name} ({value!r}) must be one of: {', '.join(get_args(one.type))}.")
        kind = next((k for k in KINDS if one.type in (k, k | None, list[k], list[k] | None)), None)
        if kind is None or (value is None and type(None) in get_args(one.type)):
            continue
        accepted, words = KINDS[kind]
        for number in value if isinstance(value, list | tuple) else [value]:
            fits = isinstance(number, accepted) and isinstance(number, bool) == (kind is bool)
            if not fits or not abs(number) < (LARGEST if isinstance(number, Integral) else math.inf):
                raise ValueError(f"{prefix}{one.name} ({value!r}) must be {words}.")

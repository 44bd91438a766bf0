"""How a sound file becomes a strange one: bytes changed, JSON changed in its parts, checksums made to fit again.

The tests draw few examples; ALIBI_FUZZ_SECONDS=600 makes each go on with new ones for so long, and count them.
"""

import json
import os
import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("ALIBI_FUZZ_SECONDS", "0"))
FEW = settings(max_examples=25, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=2000, derandomize=False, database=None)

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 1, 2**31, 2**32, 2**53, 2**63, 2**64, 10**9, 10**30, 1e308, -0.0]),
    st.floats(),
)
STRINGS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "../../x", "/etc/passwd", "${oc.env:HOME}", "\x1b[2J", "object", "float64", "NaN", "a" * 300]),
)
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(STRINGS, inner, max_size=4)),
    max_leaves=8,
)
DEEP = st.integers(1, 1100).map(lambda depth: json.loads("[" * min(depth, 900) + "]" * min(depth, 900)))


@st.composite
def changed_bytes(draw, content: bytes) -> bytes:
    """Some bytes flipped, a part cut out, doubled or put in, or the end cut off."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(["flip", "cut", "insert", "double", "short", "number"]))
        at = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.integers(1, 16))
        if how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[at : at + size]
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif how == "double":
            data[at:at] = data[at : at + size]
        elif how == "short":
            del data[at:]
        else:  # a size that the file does not have
            number = draw(st.sampled_from([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1]))
            width = draw(st.sampled_from([2, 4, 8]))
            data[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(data)


@st.composite
def changed_json(draw, content: object) -> object:
    """One to three of its values, at any depth, replaced by others or taken away."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        parent, key = None, None
        value = content
        while isinstance(value, dict | list) and value and (parent is None or draw(st.integers(0, 3))):
            keys = sorted(value) if isinstance(value, dict) else range(min(len(value), 40))
            parent, key = value, draw(st.sampled_from(list(keys)))
            value = parent[key]
        if parent is None:
            return draw(ANY_JSON)
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "deep", "rename"]))
        if how == "remove":
            del parent[key]
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(STRINGS)] = parent.pop(key)
        else:
            parent[key] = draw(DEEP if how == "deep" else ANY_JSON)
    return content


def refusal(action: Callable[[], object], kind: type[Exception] = ValueError) -> str | None:
    """The message of the error that may come; any other one is a find."""
    try:
        action()
    except kind as error:
        return str(error)
    return None


def fuzz(name: str, strategy: st.SearchStrategy, check: Callable[[object], None]) -> None:
    """Draw and check: a few examples, or as many as fit into ALIBI_FUZZ_SECONDS."""
    count, begun = 0, time.monotonic()

    def counted(example: object) -> None:
        nonlocal count
        count += 1
        check(example)

    FEW(given(strategy)(counted))()
    while time.monotonic() - begun < SECONDS:
        MANY(given(strategy)(counted))()
    if SECONDS:
        print(f"FUZZED {name}: {count:,} executions in {time.monotonic() - begun:.0f} s", flush=True)

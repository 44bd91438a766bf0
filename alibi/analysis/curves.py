"""How far a curve of perplexity against length holds, and where two curves cross."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from alibi.results import exp
from alibi.results.parts import HowFar
from alibi.results.schema import Content

# Relative differences that rounding may cause. Sums of nats of the same weights, added in another order, differ by
# about 1e-9 in fp32 (a run and its own export), and by up to 4e-5 in bf16.
ROUNDING, ROUNDING_NARROW = 1e-7, 1e-4


def rounding_of(precision: str) -> float:
    """The relative difference of two sums of nats below which they are equal."""
    return ROUNDING if precision == "fp32" else ROUNDING_NARROW


def how_far(content: Content, within_percent: float) -> HowFar:
    """The longest measured length up to which perplexity stays within a margin above that at the training length L.

    On equal context alone: sliding rows whose targets see half of their length at least, else the context sample. In
    nonoverlapping rows a longer window has fewer targets with little context, which hides a loss.

    Lower perplexity is within the margin. A length beyond one that broke the margin does not count, even if it is back
    within it. A row whose perplexity overflowed or is not a number breaks the margin; one without memory is left out.

    Args:
        within_percent: the margin, per cent of the perplexity at L.

    Returns:
        `breaks_at` is the first length above the margin, or None. Where it cannot be said, `length` is None, and
        `reason` says why.
    """
    seq_len, rows = content.checkpoint.seq_len, [row.model_dump(exclude_none=True) for row in content.rows]
    about = {"within_percent": within_percent, "training_length": seq_len, "length": None, "breaks_at": None}
    if seq_len is None:
        return HowFar(**about, reason="nothing says at which length the model was trained")
    if is_sliding(rows, seq_len):
        perplexities, about["by"] = _perplexities(rows), "sliding rows"
    elif content.context:
        perplexities = {point.n: exp(point.nll_nats / point.targets) for point in content.context}
        about["by"] = "context sample"
    else:
        remedy = f"eval.stride={max(1, seq_len // 8)} or eval.measures=[context] keeps it equal"
        return HowFar(**about, reason=f"context is not equal across these rows; {remedy}")
    if seq_len not in perplexities:
        reason = f"length {seq_len}, the training length, was not evaluated, or it failed"
        return HowFar(**about, reason=reason)
    if not math.isfinite(perplexities[seq_len]):
        reason = f"perplexity at length {seq_len}, the training length, is not a number or above the largest float"
        return HowFar(**about, reason=reason)
    if max(perplexities) == seq_len:
        return HowFar(**about, reason=f"no length above the training length, {seq_len}, was measured")
    about["measured_to"] = max(perplexities)
    limit = perplexities[seq_len] * (1 + within_percent / 100)
    for length in sorted(n for n in perplexities if n >= seq_len):
        # Written so that NaN breaks the margin.
        if not (perplexities[length] <= limit or math.isclose(perplexities[length], limit, rel_tol=ROUNDING)):
            about["breaks_at"] = length
            break
        about["length"] = length
    return HowFar(**about)


def is_sliding(rows: Iterable[Mapping], seq_len: int) -> bool:
    """Whether the targets of every row see at least half of the training length."""
    return all(2 * row.get("stride", row["length"]) <= seq_len for row in rows)


def _perplexities(rows: Iterable[Mapping]) -> dict[int, float]:
    """By length: infinite where it overflowed, NaN where it is not a number."""
    failed = {"overflow": math.inf, "not a number": math.nan}
    found = {}
    for row in rows:
        value = failed.get(row["error"].partition(":")[0]) if "error" in row else row["perplexity"]
        if value is not None:
            found[row["length"]] = value
    return found


@dataclass(frozen=True)
class Crossing:
    """Two curves change places between the evaluated lengths `after` and `before`; their lines meet at `about`."""

    after: int
    before: int
    about: float


def crossings(a: Mapping[int, float], b: Mapping[int, float], rounding: float = ROUNDING) -> list[Crossing]:
    """Where two curves of nats against length change places. Curves that only touch do not cross.

    Between two lengths both curves are taken as straight in the logarithm of the length.

    Args:
        a, b: nats by length.
        rounding: the curves are equal where they differ by no more than this much of themselves.
    """
    shared = sorted(a.keys() & b.keys())
    gaps = {n: 0.0 if math.isclose(a[n], b[n], rel_tol=rounding) else a[n] - b[n] for n in shared}
    found = []
    for after, before in pairwise([n for n, gap in gaps.items() if gap]):
        if gaps[after] * gaps[before] < 0:
            equal = [n for n in gaps if after < n < before]
            share = gaps[after] / (gaps[after] - gaps[before])
            about = equal[0] if equal else after * (before / after) ** share
            found.append(Crossing(after, before, round(about, 1)))
    return found

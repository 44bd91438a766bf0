"""The schema of a result file, version 1. Fields are added, never renamed without a new number.

Fields that are not declared here are kept as they are. Optional fields are those that older files lack.
"""

import math
import sys
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from alibi.results.parts import (
    METRICS,
    Adapt,
    Change,
    Columns,
    Count,
    Groups,
    HowFar,
    Intervals,
    Length,
    Number,
    Pair,
    Part,
    Positive,
    Protocol,
    ScoredText,
    Share,
    Text,
    Weights,
)

SCHEMA = 1
LARGEST_EXPONENT = math.log(sys.float_info.max)
# Relative rounding error allowed in a number that follows from others.
TOLERANCE = 1e-6
OF_HEAD = {"context": ("context", "context_sample"), "copy": ("copied", "copy_sample")}  # measures and their fields


class Context(Columns):
    """Targets and their nats by context; bin i holds contexts above up_to[i - 1] and at most up_to[i]."""

    up_to: list[Count]
    targets: list[Count]
    nll_nats: list[float]


class NatsFile(Part):
    """The nats of every target, in a file beside the result; see `results.nats`."""

    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$")]
    sha256: Text
    count: Length


class Repeats(Part):
    """Targets whose bigram occurred before, by the distance to its last occurrence.

    Bucket b holds distances above edges[b] and at most edges[b + 1]. `hidden` are targets whose earlier occurrence is
    not in their window; of groups there is a list for each bucket.
    """

    edges: list[Count]
    targets: list[Count]
    nll_nats: list[float]
    group_targets: list[list[Count]]
    group_nats: list[list[float]]
    hidden_targets: list[Count]
    hidden_nll_nats: list[float]

    @model_validator(mode="after")
    def _same_lengths(self) -> Self:
        buckets = {len(value) for name, value in self if isinstance(value, list) and name != "edges"}
        if buckets != {len(self.edges) - 1}:
            raise ValueError(f"{len(self.edges)} edges have {len(self.edges) - 1} buckets, and its lists {buckets}")
        groups = {len(one) for one in (*self.group_targets, *self.group_nats)}
        if len(groups) > 1 or not all(groups):
            raise ValueError(f"every bucket has the same groups, at least one, and these have {groups}")
        return self


class Sample(Part):
    """The segments of a measure: how many, of how many targets each, and the targets of each article that has some.

    Results with the same sha256 have the same segments. `reach` is the furthest context that was measured.
    """

    segments: Length
    reach: Length | None = None
    group_targets: list[Length]
    sha256: Text
    made_with: dict[str, Any] | None = None


class ContextPoint(Part):
    """The segments, each the end of a window of n tokens, summed, and by article.

    swapped: what is beyond the training length is another article's. masked: the window is the longest, and every
    layer sees its last n keys alone; null where that cannot be.
    """

    n: Length
    targets: Length
    nll_nats: float
    swapped_nll_nats: float
    masked_nll_nats: float | None = None
    group_nats: list[float]
    swapped_group_nats: list[float]
    masked_group_nats: list[float] | None = None


class CopyPoint(Part):
    """The segments behind a copy of themselves `distance` tokens earlier, and without it."""

    distance: Length
    targets: Length
    nll_nats: float
    without_nll_nats: float
    group_nats: list[float]
    without_group_nats: list[float]


class Row(Part):
    """One length: either numbers, of a text or of a task, or an `error`. Intervals are null where there can be none.

    Of a task: `accuracy` is the share of right answers and `baseline` that of the trivial ones, `exact_match` the share
    of strings whose answers are all right, `learned` whether the run has learned the task at its training length.
    """

    length: Length
    stride: Length | None = None
    error: str | None = None
    scored_tokens: Count | None = None
    nll_nats: float | None = None
    perplexity: Positive | None = None
    word_perplexity: Positive | None = None
    bits_per_byte: float | None = None
    interval: dict[str, Pair | None] | None = None
    tokens_per_sec: float | None = None
    peak_memory_mib: float | None = None
    context: Context | None = None
    group_nats: list[float] | None = None
    nats: NatsFile | None = None
    repeats: Repeats | None = None
    adapt: dict[str, Number] | None = None
    accuracy: Share | None = None
    exact_match: Share | None = None
    strings: Length | None = None
    baseline: Share | None = None
    learned: bool | None = None
    test_sha256: Text | None = None
    made_with: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        of_task = (self.accuracy, self.exact_match, self.strings, self.baseline, self.learned, self.test_sha256)
        if self.error is None and None in (self.nll_nats, self.perplexity) and None in of_task:
            raise ValueError("a row without an error must have nll_nats and perplexity, or the numbers of a task")
        return self


class Content(Part):
    """A whole result file."""

    schema_: Literal[SCHEMA] = Field(alias="schema")
    checkpoint: Weights
    data: ScoredText
    protocol: Protocol
    scorer: Text | None = None
    adapt: Adapt | None = None
    precision: Text
    made_with: dict[str, Any] | None = None
    groups: Groups | None = None
    intervals: Intervals | None = None
    change: Change | None = None
    context: list[ContextPoint] | None = None
    context_sample: Sample | None = None
    copied: list[CopyPoint] | None = Field(None, alias="copy")
    copy_sample: Sample | None = None
    unfinished: list[Length] | None = None
    how_far: HowFar | None = None
    rows: list[Row]
    sha256: Text | None = None  # older files have none

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, points, sample in (
            ("context", self.context, self.context_sample),
            ("copy", self.copied, self.copy_sample),
        ):
            if bool(points) != (sample is not None):
                raise ValueError(f"{name} and {name}_sample must be there both, or neither")
        lengths = [row.length for row in self.rows]
        for number, row in enumerate(self.rows):
            if row.length in lengths[:number]:
                raise ValueError(f"length {row.length} appears in two rows")
            if problem := self._problem_of(row):
                raise ValueError(f"rows[{number}].{problem}")
        return self

    def _problem_of(self, row: Row) -> str | None:
        """A file without a checksum could have been edited: every number must follow from the row's nats."""
        data, number = self.data, len(self.groups.tokens) if self.groups else 0
        if row.group_nats is not None and len(row.group_nats) != number:
            return f"group_nats has {len(row.group_nats)} numbers for {number} groups"
        if row.error is not None:
            return None
        if data.task is not None:
            return None
        if row.perplexity is None:
            return "perplexity is missing: the file is of a text"
        if row.scored_tokens not in (None, data.tokens):
            return f"scored_tokens is {row.scored_tokens}, and data.tokens {data.tokens}: every token is scored once"
        for metric, (unit, *_) in METRICS.items():
            stated, nats = getattr(row, metric), row.nll_nats / getattr(data, unit)
            value = nats / math.log(2) if metric == "bits_per_byte" else exp(nats)
            if stated is not None and not math.isclose(stated, value, rel_tol=TOLERANCE):
                return f"{metric} is {stated}, and follows from nll_nats and {unit} as {value:.9g}"
        return None


def exp(value: float) -> float:
    """math.exp, infinite where that is above the largest float64."""
    return math.exp(value) if value <= LARGEST_EXPONENT else math.inf

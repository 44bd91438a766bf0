"""The schema of a result file, version 1. Fields are added, never renamed without a new number.

Fields that are not declared here are kept as they are. Optional fields are those that older files lack.
"""

import math
import sys
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SCHEMA = 1
LARGEST_EXPONENT = math.log(sys.float_info.max)
# Relative rounding error allowed in a number that follows from others.
TOLERANCE = 1e-6


class Metric(NamedTuple):
    """
    Attributes:
        unit: the count of the text that the nats are divided by.
        label: what tables and axes call it.
        change: what its nats, or bits, are called where their change is split.
    """

    unit: str
    label: str
    change: str


METRICS = {
    "perplexity": Metric("tokens", "perplexity per token", "nats per token"),
    "word_perplexity": Metric("words", "perplexity per word", "nats per word"),
    "bits_per_byte": Metric("bytes", "bits per byte", "bits per byte"),
}

# Integers from 2**53 on are not exact in a browser. Control characters move a terminal's cursor and are no XML.
Count = Annotated[int, Field(ge=0, lt=2**53)]
Length = Annotated[int, Field(gt=0, lt=2**53)]
Seed = Annotated[int, Field(gt=-(2**53), lt=2**53)]
Number = Annotated[int, Field(ge=0, lt=10**300)] | float  # whole numbers stay whole when a file is rewritten
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, StringConstraints(pattern=r"^\P{Cc}*$")]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class Part(BaseModel):
    """A JSON object of the file: no value is converted, NaN and infinity are refused."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)


class Columns(Part):
    """Lists of the same length."""

    @model_validator(mode="after")
    def _same_lengths(self) -> Self:
        sizes = {name: len(value) for name, value in self if isinstance(value, list)}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the lists have different lengths ({sizes})")
        return self


class Training(Part):
    tokens: Number | None = None
    flops: Number | None = None
    text_sha256: Text | None = None


class Origin(Part):
    """The checkpoint whose weights the run started from; `tokens` are all that those had seen."""

    run: Text
    sha256: Text
    step: Count
    tokens: Count


class Weights(Part):
    """`checkpoint`. `training` leaves out that of its `origin`. Models not trained here may lack seq_len and seed."""

    path: str | None = None
    sha256: Text
    step: Count
    model: Text
    seq_len: Length | None = None
    seed: Seed | None = None
    parameters: Count | None = None
    parameters_in: dict[str, Count | None] | None = None
    training: Training | None = None
    origin: Origin | None = None
    run: Text | None = None
    settings: dict[str, Any] | None = None


class Tokenizer(Part):
    name: Text
    vocab_size: Count
    sha256: Text


class ScoredText(Part):
    """`data`: the text, or the part of it that was scored.

    `uncovered_bytes` are those that no token stands for, `largest_document` the largest one's share of the tokens.
    """

    name: Text
    split: Text
    documents: Count | None = None
    documents_in_text: Count | None = None
    largest_document: float | None = None
    tokens: Length
    words: Length
    bytes: Length
    uncovered_bytes: Count | None = None
    sha256: Text
    form: Text | None = None
    tokenizer: Tokenizer | None = None
    tokens_sha256: Text | None = None


class Protocol(Part):
    name: Text
    first_input: Text | None = None


class Adapt(Part):
    """How the method was adapted: `set` is what the user set, other than the defaults; rows have their own factor."""

    name: Text
    factor: Number | Text
    set: dict[str, Number]


class Groups(Columns):
    """Sizes of the groups of the text that are resampled, a list a unit."""

    kind: Text | None = None
    tokens: list[Count]
    words: list[Count]
    bytes: list[Count]


class Intervals(Part):
    level: float | None = None
    resamples: Count | None = None
    least_units: Count | None = None


class HowFar(Part):
    within_percent: Number
    training_length: Length | None = None
    length: Length | None = None
    breaks_at: Length | None = None
    reason: Text | None = None


class ChangeAt(Part):
    """The change in nats per token between the training length and `length`, split in two."""

    length: Length
    whole: float
    longer_context: float
    early_tokens: float
    interval: dict[str, Pair | None] | None = None


class Change(Part):
    against: Length
    stride: Length
    definition: dict[str, str] | None = None
    lengths: list[ChangeAt]


class Context(Columns):
    """Targets and their nats by context; bin i holds contexts above up_to[i - 1] and at most up_to[i]."""

    up_to: list[Count]
    targets: list[Count]
    nll_nats: list[float]


class Row(Part):
    """One length: either numbers, or an `error`. Intervals are null where there can be none."""

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
    adapt: dict[str, Number] | None = None
    made_with: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if self.error is None and (self.nll_nats is None or self.perplexity is None):
            raise ValueError("a row without an error must have nll_nats and perplexity")
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
    unfinished: list[Length] | None = None
    how_far: HowFar | None = None
    rows: list[Row]
    sha256: Text | None = None  # older files have none

    @model_validator(mode="after")
    def _consistent(self) -> Self:
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

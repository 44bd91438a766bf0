"""Parts of a result file: the kinds of values, and the objects of its head."""

from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator


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
Share = Annotated[float, Field(ge=0, le=1)]
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
    """`data`: the text, or the part of it that was scored; or the `task`, with its settings, which has no text.

    `uncovered_bytes` are those that no token stands for, `largest_document` the largest one's share of the tokens.
    """

    name: Text
    split: Text
    documents: Count | None = None
    documents_in_text: Count | None = None
    largest_document: float | None = None
    tokens: Length | None = None
    words: Length | None = None
    bytes: Length | None = None
    task: dict[str, Any] | None = None
    uncovered_bytes: Count | None = None
    sha256: Text
    form: Text | None = None
    tokenizer: Tokenizer | None = None
    tokens_sha256: Text | None = None

    @model_validator(mode="after")
    def _text_or_task(self) -> Self:
        counts = (self.tokens, self.words, self.bytes)
        if self.task is None and None in counts:
            raise ValueError("a text must have tokens, words and bytes")
        if self.task is not None and set(counts) != {None}:
            raise ValueError("a task must not have tokens, words or bytes")
        return self


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
    by: Text | None = None
    measured_to: Length | None = None
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

"""One result file in memory, a checkpoint's rows on one text, and what was measured, after which it is named."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from alibi.results.parts import ScoredText, Weights
from alibi.results.schema import Content

# Numbers of the words and bytes of a text, whatever share of it the tokens cover.
TEXT_UNITS = ("word_perplexity", "bits_per_byte")


def said_of_uncovered(uncovered: int, num_bytes: int) -> str:
    share = uncovered / num_bytes
    return f"text not covered: no token stands for {uncovered:,} of {num_bytes:,} bytes ({share:.2%})"


@dataclass(frozen=True)
class Measured:
    """Results that share it may be compared, those of an adapted method with those of the method itself.

    Attributes:
        split: of the text.
        sha256: of the text, or of the part of it that was scored.
        protocol: nonoverlapping, or stride-256.
        precision: fp32 or bf16.
        scorer: full, or cached: through the key/value cache.
        name: of the text. Two names for the same text measure the same.
        adapt: how the method was adapted, as in `adapt_slug`; empty where it was not.
    """

    split: str
    sha256: str
    protocol: str
    precision: str
    scorer: str
    name: str = field(compare=False)
    adapt: str = field(compare=False, default="")

    def slug(self, own_sha256: str | None) -> str:
        """wikitext103-validation-nonoverlapping, the name of a result file behind the checkpoint's.

        Args:
            own_sha256: of the run's own text of this split, whole. Any other text, and a part, is named with eight
                digits of its hash.
        """
        text = self.name if self.sha256 == own_sha256 else f"{self.name}-{self.sha256[:8]}"
        precision = "" if self.precision == "fp32" else f"-{self.precision}"
        scorer = "" if self.scorer == "full" else f"-{self.scorer}"
        adapt = self.adapt and f"-{self.adapt}"
        return f"{text}-{self.split}-{self.protocol}{adapt}{precision}{scorer}"

    def in_words(self) -> dict[str, str]:
        """What two results must share to be compared, by the words of a refusal."""
        return {
            "split": self.split,
            "text or part of it (sha256)": self.sha256[:16],
            "protocol": self.protocol,
            "precision": self.precision,
            "scorer": self.scorer,
        }


def exact(value: float) -> str:
    """A number in as few digits as tell it from all others: 8, 2.5, 1e-05."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def adapt_slug(name: str, settings: Mapping[str, float]) -> str:
    """yarn, of another factor yarn-x8, else yarn- and eight digits of a hash of the settings.

    Args:
        settings: what a user set, other than the defaults.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    which = f"-{digest}" if settings else ""
    if settings.keys() == {"factor"} and re.fullmatch(r"[\d.]+", factor := exact(settings["factor"])):
        which = f"-x{factor}"
    return name.replace("+", "-") + which


def protocol_name(stride: int | None) -> str:
    return "nonoverlapping" if stride is None else f"stride-{stride}"


@dataclass(frozen=True)
class Result:
    path: Path
    content: Content

    @property
    def checkpoint(self) -> Weights:
        return self.content.checkpoint

    @property
    def data(self) -> ScoredText:
        return self.content.data

    @property
    def measured(self) -> Measured:
        data, content = self.data, self.content
        scorer = content.scorer or "full"  # older files do not say
        how = content.protocol.name, content.precision, scorer
        adapt = content.adapt and adapt_slug(content.adapt.name, content.adapt.set)
        return Measured(data.split, data.sha256, *how, data.name, adapt or "")

    @property
    def adaptation(self) -> str:
        """yarn, or yarn x8: how the method was adapted; empty where it was not."""
        if (adapt := self.content.adapt) is None:
            return ""
        words = [
            f"x{exact(value)}" if name == "factor" else f"{name} {exact(value)}" for name, value in adapt.set.items()
        ]
        return " ".join([adapt.name, *words])

    @property
    def method(self) -> str:
        """rotary, or rotary + yarn x8, where the method was adapted."""
        return f"{self.checkpoint.model} + {self.adaptation}" if self.adaptation else self.checkpoint.model

    @property
    def trained_tokens(self) -> int | None:
        """All that the weights have seen in training, in the run's origin too; None where the file does not say."""
        training, origin = self.checkpoint.training, self.checkpoint.origin
        if training is None or training.tokens is None:
            return None
        return int(training.tokens) + (origin.tokens if origin else 0)

    @property
    def is_annealed(self) -> bool:
        """Whether the learning rate had come down to its end; True where the file does not say."""
        settings = self.checkpoint.settings or {}
        last = settings.get("train.max_steps")
        ended = not isinstance(last, int) or self.checkpoint.step >= last
        return ended and settings.get("optimizer.schedule") != "constant"

    @property
    def is_of_task(self) -> bool:
        return self.data.task is not None

    @property
    def text(self) -> str:
        """`wikitext2 validation`, `copy test`; and of documents how many: `text validation (1 of 20 documents)`."""
        data = self.data
        whole = data.documents_in_text  # WikiText has none, nor have older files
        share = f" ({data.documents:,} of {whole:,} documents)" if whole and data.documents is not None else ""
        return f"{data.name} {data.split}{share}"

    @property
    def title(self) -> str:
        """wikitext2 validation, nonoverlapping; precision and scorer where they are not the usual ones."""
        measured = self.measured
        precision = "" if measured.precision == "fp32" else f", {measured.precision}"
        scorer = "" if measured.scorer == "full" else f", scored through the {measured.scorer} model"
        return f"{self.text}, {measured.protocol}{precision}{scorer}"

    def differs_from(self, other: "Result") -> str | None:
        """Why rows of two results cannot share a file or be paired, in words; None where they can.

        Beside the text, token ids depend on the tokenizer, on the token between documents and on the first input.
        What an older file does not state is no difference.
        """
        both = (self, other)
        stated = {
            "other weights": [r.checkpoint.sha256 for r in both],
            "another tokenizer": [r.data.tokenizer and r.data.tokenizer.sha256 for r in both],
            "another adaptation": [r.measured.adapt for r in both],
            "another first input": [r.content.protocol.first_input for r in both],
            "another text, or another part of it": [(r.data.split, r.data.sha256, r.data.tokens) for r in both],
            "other token ids": [r.data.tokens_sha256 for r in both],
        }
        return next((what for what, (a, b) in stated.items() if a != b and None not in (a, b)), None)

    @cached_property
    def rows(self) -> dict[int, dict]:
        """By length, shortest first: the fields that a row has."""
        rows = sorted(self.content.rows, key=lambda row: row.length)
        return {row.length: row.model_dump(exclude_none=True) for row in rows}

    @cached_property
    def scored(self) -> dict[int, dict]:
        """The rows with numbers."""
        return {length: row for length, row in self.rows.items() if "error" not in row}

    @cached_property
    def numbers(self) -> dict[int, dict]:
        """The rows with numbers, without those numbers that may not stand beside another run's."""
        return {
            length: {name: value for name, value in row.items() if not self.is_marked(name)}
            for length, row in self.scored.items()
        }

    def is_marked(self, metric: str) -> bool:
        """Whether a metric is of the whole text, of which the tokenizer covers a part: marked, and not compared."""
        return metric in TEXT_UNITS and self.not_covered is not None

    @property
    def not_covered(self) -> str | None:
        """`text not covered: ...` and how much of it; None where tokens cover it, or where the file does not say."""
        lost = self.data.uncovered_bytes
        return said_of_uncovered(lost, self.data.bytes) if lost else None

    @property
    def folder(self) -> Path:
        """The run folder, which holds evaluation/, which holds the file."""
        return self.path.absolute().parents[1]

    @property
    def protocol(self) -> str:
        """What was measured, from the file's own name: wikitext103-validation-nonoverlapping."""
        return self.path.stem.split("-", 2)[-1]

    @property
    def unadapted_protocol(self) -> str:
        """The same for all adaptations of a method: wikitext103-validation-nonoverlapping."""
        adapt = self.measured.adapt
        return self.protocol.replace(f"-{adapt}", "", 1) if adapt else self.protocol

    @property
    def has_intervals(self) -> bool:
        return any(pair for row in self.numbers.values() for pair in row.get("interval", {}).values())

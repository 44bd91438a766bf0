"""The settings of an evaluation, `eval.*` of evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from alibi.model import TRUNCATION, Adaptation
from alibi.settings import check_kinds

MEASURES = ("context", "repeats", "copy")
FURTHEST = 16  # times the training length, of the measures of far context


@dataclass
class EvaluationSettings:
    """
    Attributes:
        lengths: inputs of one pass, the most tokens that a prediction can see. None: 1, 2 and 4 times the training
            length, once the runs are known.
        stride: targets scored in a pass; None means the length (nonoverlapping). A number, or a list
            of numbers and None.
        split: validation, test, or all: every document of `data=text` or `data=stdlib`.
        max_tokens: cut the split at the last whole line within this many tokens.
        batch_tokens: inputs scored at once, where several windows fit; None means what is fast on the device.
        cached: score through the key/value cache, token by token, as in decoding.
        skip_far_keys: skip keys whose weights a linear bias rounds to zero; False visits all.
        within_percent: margin above the perplexity at the training length within which a run still holds.
        adapt: how methods are adapted to longer texts: a name, a mapping with settings, or a list of these and None.
        measures: of what the context is used for, beside perplexity: names of MEASURES.
        reach: the furthest context of the measures, in tokens; None: 16 times the training length.
        save_nats: keep the nats of every target beside the result.
        reuse: keep the rows of an earlier evaluation of the same checkpoint, text, protocol and precision.
        figure_dir: folder of the figure; None means the run's own evaluation folder, or, for several
            runs, the folder that holds them.
    """

    lengths: list[int] | None = None
    stride: Any = None
    split: str = "validation"
    max_tokens: int | None = None
    batch_tokens: int | None = None
    cached: bool = False
    skip_far_keys: bool = True
    within_percent: float = 2.0
    adapt: Any = None
    measures: Any = None
    reach: int | None = None
    save_nats: bool = False
    reuse: bool = False
    figure_dir: str | None = None

    def __post_init__(self) -> None:
        check_kinds(self, "eval.")
        shortest = min(self.lengths or [2**53])
        at_most = f" (the shortest is {shortest})" if self.lengths else ""
        rules = [
            (self.lengths != [], "lengths is empty; give at least one length, eval.lengths=[512]"),
            (shortest >= 1, f"lengths has {shortest}, and a length must be at least 1"),
            (self.stride != [], "stride is an empty list; give null, a number, or a list of these"),
            (self.split in ("validation", "test", "all"), f"split ({self.split}) must be validation, test or all"),
            (self.within_percent >= 0, f"within_percent ({self.within_percent}) must be at least 0"),
        ]
        for name in ("batch_tokens", "max_tokens", "reach"):
            value = getattr(self, name)
            rules.append((value is None or value >= 1, f"{name} ({value}) must be at least 1"))
        for stride in self.strides:
            fits = stride is None or (type(stride) is int and 1 <= stride <= shortest)
            rule = f"must be null (nonoverlapping), a whole number from 1 to every length{at_most}, or a list of these"
            rules.append((fits, f"stride ({stride!r}) {rule}"))
        for name in self.wanted_measures:
            rules.append((name in MEASURES, f"measures has {name!r}, and knows: {', '.join(MEASURES)}"))
        far = {"context", "copy"}.intersection(self.wanted_measures)
        rule = "would be ignored: it is for eval.measures=[context,copy]; remove it"
        rules.append((self.reach is None or far, f"reach ({self.reach}) {rule}"))
        rules.append((self.adapt != [], "adapt is an empty list; give null, a name such as yarn, or a list of these"))
        for holds, rule in rules:
            if not holds:
                raise ValueError(f"eval.{rule}.")
        self.adaptations  # noqa: B018, refuses what is none

    def check_task(self, task: str) -> None:
        """
        Raises:
            ValueError: a setting that a task would ignore.
        """
        defaults = EvaluationSettings()
        of_texts = ("stride", "max_tokens", "cached", "measures", "reach", "save_nats", "within_percent")
        for name in of_texts:
            if (value := getattr(self, name)) != getattr(defaults, name):
                raise ValueError(f"eval.{name} ({value}) is for texts, and would be ignored by {task}; remove it.")
        if TRUNCATION in (one.name for one in self.adaptations if one):
            raise ValueError(
                f"eval.adapt ({TRUNCATION}) scores a text in pieces, and would be ignored by {task}; remove it."
            )
        if self.split == "all":
            raise ValueError(f"eval.split (all) is for texts of documents; {task} has validation and test.")

    def with_lengths(self, trained: Sequence[int]) -> "EvaluationSettings":
        """The same settings; if no lengths were given, with 1, 2 and 4 times each training length.

        All runs get the union, so that any two can be compared at the training length of both.

        Args:
            trained: training lengths; none where all models are guests.
        """
        if self.lengths is not None:
            return self
        return replace(self, lengths=sorted({times * n for n in trained or [512] for times in (1, 2, 4)}))

    @property
    def adaptations(self) -> list[Adaptation | None]:
        """In the order given; None: the method as it was trained."""
        wanted = self.adapt if isinstance(self.adapt, list) else [self.adapt]
        return [None if one is None else Adaptation.of(one) for one in wanted]

    @property
    def wanted_measures(self) -> list[str]:
        """Each once, in the order given."""
        wanted = self.measures if isinstance(self.measures, list) else [self.measures]
        return list(dict.fromkeys(one if isinstance(one, str) else repr(one) for one in wanted if one is not None))

    @property
    def strides(self) -> list[int | None]:
        """Each stride once, in the order given."""
        strides = self.stride if isinstance(self.stride, list) else [self.stride]
        return list(dict.fromkeys(strides))


def in_order(lengths: list[int]) -> tuple[list[int], str | None]:
    """Lengths sorted, each once, and a sentence if that changes them."""
    ordered = sorted(set(lengths))
    return ordered, None if ordered == list(lengths) else f"lengths {list(lengths)} are evaluated as {ordered}"

"""The measures of one open model on one text: what they add to rows, and to the head of a result file."""

from collections.abc import Callable
from functools import partial

from alibi.environment import environment
from alibi.evaluation.adapted import Adapted
from alibi.evaluation.evaluation_settings import FURTHEST, EvaluationSettings
from alibi.evaluation.evaluation_text import EvaluationText
from alibi.evaluation.measures.context import context_lengths, score_context
from alibi.evaluation.measures.copying import CUE, LEAD, copy_distances, score_copying
from alibi.evaluation.measures.repeats import RepeatSums
from alibi.evaluation.measures.segments import NotScored, Segments, choose_segments
from alibi.evaluation.score import RowSums, Scorer
from alibi.evaluation.sums import TargetNats
from alibi.model import Adaptation, shift_invariant
from alibi.processes import Processes

LEAST_TRAINED = 32  # half of it holds a cue and a segment


class Measures:
    """
    Raises:
        ValueError: the model's training length is unknown or too short, or the text's articles are.
    """

    def __init__(self, text: EvaluationText, adapted: Adapted, settings: EvaluationSettings) -> None:
        self.text, self.adapted, self.settings = text, adapted, settings
        self.trained: int = adapted.opened.about["seq_len"]
        self.segments: dict[str, Segments] = {}
        self.reach = 0
        if not settings.wanted_measures:
            return
        if self.trained is None:
            raise ValueError("eval.measures needs the training length, which nothing says of this model; remove it.")
        if self.trained < LEAST_TRAINED:
            raise ValueError(f"eval.measures needs a training length of at least {LEAST_TRAINED}, not {self.trained}.")
        self.reach = settings.reach or FURTHEST * self.trained
        if self.reach < self.trained:
            raise ValueError(f"eval.reach ({self.reach}) must be at least the training length, {self.trained}.")
        leads = {"context": 0, "copy": CUE + LEAD}
        for name in settings.wanted_measures:
            if name in leads:
                self.segments[name] = choose_segments(text.tokens, self.reach, leads[name], self.trained)

    @property
    def of_rows(self) -> set[str]:
        """What a row must have."""
        wanted = {"repeats"}.intersection(self.settings.wanted_measures)
        return wanted | ({"nats"} if self.settings.save_nats else set())

    @property
    def of_files(self) -> dict[str, int]:
        """What the head of a file must have, and how far it must reach."""
        return dict.fromkeys(self.segments, self.reach)

    def sums(self) -> list[RowSums]:
        """For one row."""
        found: list[RowSums] = []
        if self.settings.save_nats:
            found.append(TargetNats(len(self.text.tokens)))
        if self.text.repeat_distances is not None:
            found.append(RepeatSums(self.text.repeat_distances, self.trained, self.text.groups))
        return found

    def measure(self, adaptation: Adaptation | None, batch_tokens: int, procs: Processes) -> dict:
        """The entries of a file's head."""
        found, made_with = {}, environment(procs.device)
        for name, segments in self.segments.items():
            procs.say(f"{name}: {len(segments.first_S)} segments of {len(segments.group_targets)} articles")
            scored = partial(self._scored(name, adaptation), segments=segments, batch_tokens=batch_tokens, procs=procs)
            if points := scored(scorer_of=partial(self._scorer, adaptation)):
                found |= {name: points, f"{name}_sample": segments.in_file(self.reach, made_with)}
        return found

    def _scored(self, name: str, adaptation: Adaptation | None) -> Callable[..., list[dict]]:
        if name == "copy":
            return partial(score_copying, self.text.tokens, distances=copy_distances(self.trained, self.reach))
        config = self.adapted.config(adaptation, self.reach)
        masked_length = self.reach if config and shift_invariant(config) else self.trained
        lengths = {"lengths": context_lengths(self.trained, self.reach), "masked_length": masked_length}
        return partial(score_context, self.text.tokens, trained=self.trained, **lengths)

    def _scorer(self, adaptation: Adaptation | None, length: int, keys: int | None = None) -> Scorer | None:
        """What scores windows of this length, every layer of it seeing `keys`; None where it cannot be masked.

        Raises:
            NotScored: the model cannot be given windows of this length.
        """
        if reason := self.adapted.opened.why_not(length):
            raise NotScored(reason)
        if keys is not None:
            return self.adapted.masked_scorer(adaptation, length, keys)
        return self.adapted.scorer(adaptation, length)

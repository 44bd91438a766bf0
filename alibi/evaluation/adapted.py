"""Adapted models as scorers: which adaptations fit a run, and what scores windows of one length.

An adaptation is judged against truncation: the same targets, predicted from the last L tokens of their window alone,
L the training length. A window is scored in pieces, and each target sees at least 7/8 of these tokens.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alibi.evaluation.evaluation_settings import EvaluationSettings
from alibi.evaluation.score import Scorer, cached_scorer, model_scorer
from alibi.model import TRUNCATION, Adaptation, LanguageModel, ModelConfig, masked, same_weights
from alibi.runs import Checkpoint, Guest, OpenModel

PIECE = 8  # a piece of a truncated window has L divided by this targets


def fitting(
    model: Checkpoint | Guest, settings: EvaluationSettings, several: bool = False, quiet: bool = False
) -> list[Adaptation | None]:
    """The adaptations of a model, each once. Of a list for several runs, those that do not fit are left out, in words.

    Raises:
        ValueError: one does not fit, and it is the only one, or this the only run.
    """
    found = []
    for wanted in settings.adaptations:
        try:
            found.append(wanted and _fitted(wanted, model))
        except ValueError as error:
            if not (several and isinstance(settings.adapt, list)):
                of_list = "; in a list, eval.adapt=[...], what does not fit a run is left out" if several else ""
                raise ValueError(f"eval.adapt for {model.run}: {str(error).removesuffix('.')}{of_list}.") from error
            if not quiet:
                print(f"{model.run}: left out: {error}")
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _fitted(wanted: Adaptation, model: Checkpoint | Guest) -> Adaptation:
    if isinstance(model, Guest):
        raise ValueError(f"{wanted.name} does not fit {model.run.name}: eval.adapt is for models of this project.")
    return wanted.fitted(model.model_config, model.config["train"]["seq_len"])


@dataclass(frozen=True)
class Adapted:
    """An open model by its adaptations.

    Attributes:
        opened: the model as it was trained, or a guest.
        model: None for a guest, which has no adaptation.
    """

    opened: OpenModel
    settings: EvaluationSettings
    precision: str
    model: LanguageModel | None = None

    @property
    def _trained(self) -> int:
        return self.opened.about["seq_len"]

    def scorer(self, adaptation: Adaptation | None, length: int) -> Scorer:
        """What scores windows of this length."""
        if adaptation is None:
            return self.opened.nats
        if adaptation.name == TRUNCATION:
            return truncated_scorer(self.opened.nats, self._trained)
        return self._scorer_of(adaptation.config(self.model.config, self._trained, length))

    def config(self, adaptation: Adaptation | None, length: int) -> ModelConfig | None:
        """Of the model at this length; None where no model of ours scores it as a whole."""
        if self.model is None or (adaptation and adaptation.name == TRUNCATION):
            return None
        config = self.model.config
        return adaptation.config(config, self._trained, length) if adaptation else config

    def masked_scorer(self, adaptation: Adaptation | None, length: int, keys: int) -> Scorer | None:
        """The same with every layer seeing its last `keys` keys alone; None where that cannot be."""
        config = self.config(adaptation, length)
        return config and self._scorer_of(masked(config, keys))

    def _scorer_of(self, config: ModelConfig) -> Scorer:
        make = cached_scorer if self.settings.cached else model_scorer
        return make(same_weights(self.model, config), self.precision)

    def in_words(self, adaptation: Adaptation, length: int) -> str:
        return adaptation.in_words(self.model.config, self._trained, length)

    def in_file(self, adaptation: Adaptation | None) -> dict[str, Any]:
        """The entry of a result file's head, `adapt`, where there is one."""
        return {} if adaptation is None else {"adapt": adaptation.in_file(self.model.config, self._trained)}

    def in_row(self, adaptation: Adaptation | None, length: int) -> dict[str, Any]:
        """The entry of a row."""
        return {} if adaptation is None else {"adapt": adaptation.in_row(self.model.config, self._trained, length)}


def truncated_scorer(scorer: Scorer, length: int) -> Scorer:
    """Scores each target from the last `length` inputs of its window at most, and from at least 7/8 of these."""

    def nats(input_ids: Tensor, target_ids: Tensor, first_scored: int) -> Tensor:
        parts, number, done = [], target_ids.shape[1], 0
        while done < number:
            # The first targets of a window see no more than its beginning, all in one pass.
            stop = min(number, max(length - first_scored, done + max(1, length // PIECE)))
            end = first_scored + stop
            begin = max(0, end - length)
            parts.append(scorer(input_ids[:, begin:end], target_ids[:, done:stop], first_scored + done - begin))
            done = stop
        return torch.cat(parts, dim=1)

    return nats

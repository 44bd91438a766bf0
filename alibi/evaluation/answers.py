"""A task's strings answered: which answers are right, and how many nats they have.

Legend: S strings, L inputs, B strings of a batch, V symbols.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from alibi.data.tasks import IGNORED, Strings
from alibi.environment import autocast
from alibi.model import LanguageModel
from alibi.processes import ALONE, Processes


@dataclass(frozen=True)
class Answers:
    """
    Attributes:
        right_S, answers_S: right answers of each string, and all.
        nats: of all answers.
    """

    right_S: np.ndarray
    answers_S: np.ndarray
    nats: float

    @property
    def answers(self) -> int:
        return int(self.answers_S.sum())

    @property
    def accuracy(self) -> float:
        """Share of answers that are right."""
        return float(self.right_S.sum() / self.answers_S.sum())

    @property
    def exact(self) -> np.ndarray:
        """Whether all answers of a string are right."""
        return self.right_S == self.answers_S

    @property
    def exact_match(self) -> float:
        """Share of strings whose answers are all right."""
        return float(self.exact.mean())


@torch.inference_mode()
def answer(
    model: LanguageModel, strings: Strings, batch_tokens: int, precision: str = "fp32", procs: Processes = ALONE
) -> Answers:
    """Answer each string, every answer given those before it; the most probable token is taken."""
    number, length = strings.inputs_SL.shape
    size, (rank, processes) = max(1, batch_tokens // length), procs.share
    right_S, nats_S = np.zeros(number), np.zeros(number)
    for start in range(rank * size, number, size * processes):
        place = slice(start, start + size)
        inputs, targets = (
            torch.from_numpy(ids[place]).to(model.device) for ids in (strings.inputs_SL, strings.targets_SL)
        )
        with autocast(model.device, precision):
            logits_BLV = model(inputs).double()
        right_S[place] = (logits_BLV.argmax(-1) == targets).sum(1).cpu().numpy()
        nats_BL = F.cross_entropy(logits_BLV.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
        nats_S[place] = nats_BL.sum(1).cpu().numpy()
    right_S, nats_S = (sum(parts) for parts in zip(*procs.gather((right_S, nats_S)), strict=True))
    return Answers(right_S.astype(int), (strings.targets_SL != IGNORED).sum(1), float(nats_S.sum()))

"""A model that this project did not train, in the place of a checkpoint: what evaluation asks of either.

Who reads other libraries' models is `interop`, which evaluation does not know.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from alibi.data import Tokenizer


def any_length(length: int) -> str | None:
    """Of models without a longest input, which ours are."""


@dataclass(frozen=True)
class OpenModel:
    """A model in memory, ready to be scored.

    Attributes:
        nats: (input ids (B, L), target ids (B, S), first scored input) -> nats (B, S).
        about: what a result file says of the weights.
        why_not: of a number of inputs, why the model cannot take so many; None where it can.
        first_input: what begins the stream, in words.
        packages: versions of what is not among the project's own requirements.
    """

    nats: Callable[[Tensor, Tensor, int], Tensor]
    about: dict
    why_not: Callable[[int], str | None] = any_length
    first_input: str = "end-of-text"
    packages: dict[str, str] = field(default_factory=dict)


class Guest(ABC):
    """
    Attributes:
        run: folder of its results, as a run folder is of a run's.
    """

    run: Path

    @property
    def path(self) -> Path:
        """Names result files, as a checkpoint's does. No update of a guest is ours."""
        return self.run / "step-00000000"

    @abstractmethod
    def load_tokenizer(self) -> Tokenizer: ...

    @abstractmethod
    def open(self, device: torch.device, precision: str) -> OpenModel: ...

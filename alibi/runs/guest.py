"""The interface by which evaluation takes a model that this project did not train, in place of a checkpoint.

`interop` implements it for other libraries' models; evaluation does not import `interop`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from alibi.data import Tokenizer


@dataclass(frozen=True)
class OpenModel:
    """A model in memory, ready to be scored.

    Attributes:
        nats: (input ids (B, L), target ids (B, S), first scored input) -> nats (B, S).
        about: the result file's entry on the weights.
        why_not: number of inputs -> why the model cannot take that many; None if it can.
        first_input: the first input of the stream, in words.
        packages: versions of packages that the project itself does not require.
    """

    nats: Callable[[Tensor, Tensor, int], Tensor]
    about: dict
    why_not: Callable[[int], str | None] = lambda length: None
    first_input: str = "end-of-text"
    packages: dict[str, str] = field(default_factory=dict)


class Guest(ABC):
    """
    Attributes:
        run: the folder for its results, as a run folder holds a run's.
        wandb_id: none, because no training was tracked.
    """

    run: Path
    wandb_id = None

    @property
    def path(self) -> Path:
        """Gives result files their name, as a checkpoint's path does; step 0, since we did not train it."""
        return self.run / "step-00000000"

    @abstractmethod
    def load_tokenizer(self) -> Tokenizer: ...

    @abstractmethod
    def open(self, device: torch.device, precision: str) -> OpenModel: ...

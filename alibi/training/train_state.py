"""The state of a run beside its weights, settings and the optimizer's tensors: what a restart needs, as JSON."""

from dataclasses import dataclass, field, fields
from pathlib import Path

from alibi.data import Cursor


@dataclass
class TrainState:
    """What a restart needs beside weights, settings and the optimizer's tensors.

    Attributes:
        step: updates done.
        tokens: tokens trained on.
        cursor: the next training sequence.
        best_val_loss: the lowest so far, nats per token; None before the first validation.
        best_step: the step it was at; 0 before the first validation.
        last_val_loss: the newest; None before the first validation.
        last_exact_match: the newest of a task; None before the first validation, and of a text.
        skipped: updates skipped because their loss or gradient was not finite.
        micro_batch_tokens: what dropout is keyed by; 0 until it is chosen.
        updates_before: of an origin whose optimizer was taken, too: dropout counts on from them.
        wandb_id: of the wandb run to resume.
    """

    step: int = 0
    tokens: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    best_val_loss: float | None = None
    best_step: int = 0
    last_val_loss: float | None = None
    last_exact_match: float | None = None
    skipped: int = 0
    micro_batch_tokens: int = 0
    updates_before: int = 0
    wandb_id: str | None = None

    def saw_validation(self, loss: float) -> bool:
        """Record a validation at this step; returns whether it is the best so far."""
        self.last_val_loss = loss
        improved = self.best_val_loss is None or loss < self.best_val_loss
        if improved:
            self.best_val_loss, self.best_step = loss, self.step
        return improved

    @classmethod
    def from_json(cls, values: dict, where: Path) -> "TrainState":
        """Inverse of `dataclasses.asdict`. JSON keeps floats bit for bit; NaN and infinity never occur in them.

        Args:
            where: the checkpoint, for the message.

        Raises:
            ValueError: a field is missing, as in an imported checkpoint, or unknown.
        """
        wrong = [f"{name} is missing" for name in ("step", "tokens", "cursor") if name not in values]
        wrong += [f"{name} is unknown to this version" for name in values.keys() - {f.name for f in fields(cls)}]
        if wrong:
            raise ValueError(
                f"cannot resume from {where}: in its training state, {wrong[0]}; choose another, by train.resume=."
            )
        return cls(**{**values, "cursor": Cursor(**values["cursor"])})

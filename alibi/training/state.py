"""All that a restart needs, beside the weights and the configuration."""

from dataclasses import dataclass, field

import torch

from alibi.data import Cursor


@dataclass
class TrainState:
    """
    Attributes:
        step: updates done.
        tokens: tokens trained on.
        cursor: the next training sequence.
        best_val_loss: the lowest so far, nats per token.
        best_step: where it was; 0 before the first validation.
        last_val_loss: the newest.
        skipped: updates left out, as their loss or gradient was not finite.
        micro_batch_tokens: what dropout is keyed by; 0 until it is chosen.
        wandb_id: of the run to go on with.
    """

    step: int = 0
    tokens: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    best_val_loss: float = float("inf")
    best_step: int = 0
    last_val_loss: float = float("nan")
    skipped: int = 0
    micro_batch_tokens: int = 0
    wandb_id: str | None = None

    def saw_validation(self, loss: float) -> bool:
        """Note a validation of this step; whether it is the best so far."""
        self.last_val_loss = loss
        if loss < self.best_val_loss:
            self.best_val_loss, self.best_step = loss, self.step
            return True
        return False

    def branch_off(self) -> None:
        """The run goes on in another folder: curves of its own, and a best checkpoint that the folder has."""
        self.wandb_id, self.best_val_loss, self.best_step = None, float("inf"), 0

    def to_dict(self, optimizer: dict) -> dict:
        """Numbers, strings, tensors and containers of them: loads weights-only.

        Args:
            optimizer: its state_dict, with whole tensors.
        """
        values = {name: value for name, value in vars(self).items() if name != "cursor"}
        return {**values, "cursor": [self.cursor.epoch, self.cursor.index], "optimizer": optimizer}

    @classmethod
    def restore(cls, saved: dict, optimizer: torch.optim.Optimizer) -> "TrainState":
        """Inverse of `to_dict`, of what was checked; fills the optimizer, of which `saved` has this process's part."""
        optimizer.load_state_dict(saved["optimizer"])
        values = {name: value for name, value in saved.items() if name not in ("cursor", "optimizer")}
        return cls(cursor=Cursor(*saved["cursor"]), **values)

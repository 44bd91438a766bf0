"""Output layers: hidden states and targets in, nats out. Nobody else sees logits.

    nats = -log softmax(hidden weight^T)[target]

Legend: B batch, L tokens, D d_model, V vocabulary, T tokens of a chunk.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Logits that exist at once without gradients: 2^25 float32 are 128 MiB.
LOGITS_PER_CHUNK = 2**25


class SoftmaxOutput(nn.Module):
    """A full softmax over the vocabulary.

    Args:
        weight: (V, D), the token embedding's where input and output are tied.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) to (..., V)."""
        return F.linear(hidden, self.weight)

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood of each target.

        Args:
            hidden: (B, L, D).
            targets: (B, L) ids.

        Returns:
            (B, L) nats, float32 or wider.

        Raises:
            ValueError: targets of another shape.
        """
        if targets.shape != hidden.shape[:-1]:
            raise ValueError(f"target_ids have shape {tuple(targets.shape)}; they must be {tuple(hidden.shape[:-1])}.")
        hidden_TD, targets_T = hidden.flatten(0, -2), targets.flatten()
        # With gradients every chunk's logits are kept for the backward pass, so chunks save nothing.
        size = len(targets_T) if torch.is_grad_enabled() else max(1, LOGITS_PER_CHUNK // self.weight.shape[0])
        nats = [self._chunk(h, t) for h, t in zip(hidden_TD.split(size), targets_T.split(size), strict=True)]
        return torch.cat(nats).view_as(targets)

    def _chunk(self, hidden_TD: Tensor, targets_T: Tensor) -> Tensor:
        logits_TV = self.logits(hidden_TD)
        wide = torch.promote_types(logits_TV.dtype, torch.float32)
        return F.cross_entropy(logits_TV.to(wide), targets_T, reduction="none")

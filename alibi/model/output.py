"""Output layers: hidden states and targets in, nats out. No other module sees logits.

    nats = -log softmax(hidden weight^T)[target]

Legend: B batch, L tokens, D d_model, V vocabulary, T tokens of a chunk.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IGNORED = -100  # a target that does not count, as in torch's cross_entropy
# Logits held at once; on a CPU, 2^22 float32 are 16 MiB, which fit its cache.
LOGITS_PER_CHUNK = {"cpu": 2**22, "cuda": 2**26}


class ChunkedNats(torch.autograd.Function):
    """The sum of the targets' nats, a scalar; its gradients are computed in the forward pass, so no logits are kept.

    With 4,096 tokens, 8,192 ids and width 256, forward and backward take 0.70 of the time of all logits at
    once, and 1.1 of that of the three matrix products alone. torch's own `linear_cross_entropy` is as fast,
    but returns the sum in the type of its input: in bf16, to three digits.

    Args (of apply): hidden_TD; weight_VD; targets_T; dtype of the matrix products; tokens in a chunk.
    """

    @staticmethod
    def forward(ctx, hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor, dtype: torch.dtype, size: int) -> Tensor:
        wide = torch.promote_types(dtype, torch.float32)
        weight = weight_VD.to(dtype)
        total = torch.zeros((), dtype=torch.float64, device=hidden_TD.device)
        dhidden, dweight = torch.empty_like(hidden_TD), torch.zeros_like(weight_VD, dtype=wide)
        for hidden, targets, dh in zip(hidden_TD.split(size), targets_T.split(size), dhidden.split(size), strict=True):
            hidden, counts = hidden.to(dtype), targets[:, None] != IGNORED
            targets = targets[:, None].clamp(min=0)
            logits = F.linear(hidden, weight).to(wide)
            largest, of_target = logits.amax(-1, keepdim=True), logits.gather(1, targets)
            exponentials = logits.sub_(largest).exp_()
            sums = exponentials.sum(-1, keepdim=True)
            total += (counts * (sums.log() + (largest - of_target))).sum(dtype=torch.float64)
            # The gradient of the logits: the probabilities, minus one at the target; zero where that does not count.
            sums.masked_fill_(~counts, math.inf)
            dlogits = exponentials.div_(sums).scatter_add_(1, targets, -counts.to(wide)).to(dtype)
            dh.copy_(dlogits @ weight)
            if dtype == wide:
                dweight.addmm_(dlogits.T, hidden)
            else:
                dweight += dlogits.T @ hidden
        ctx.save_for_backward(dhidden, dweight.to(weight_VD.dtype))
        return total.to(wide)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        dhidden, dweight = ctx.saved_tensors
        return dhidden * grad, dweight * grad, None, None, None


def tokens_per_chunk(weight_VD: Tensor) -> int:
    """For how many tokens logits may be held at once."""
    return max(1, LOGITS_PER_CHUNK[weight_VD.device.type] // weight_VD.shape[0])


def check_targets(hidden: Tensor, targets: Tensor) -> None:
    """
    Raises:
        ValueError: there is not one target for each hidden state.
    """
    if targets.shape != hidden.shape[:-1]:
        raise ValueError(f"target_ids have shape {tuple(targets.shape)}; they must be {tuple(hidden.shape[:-1])}.")


def nats_in_chunks(
    hidden_TD: Tensor, targets_T: Tensor, logits: Callable[[Tensor], Tensor], chunk_tokens: int
) -> Tensor:
    """Nats of each target, (T,), float32 or wider; logits are held for `chunk_tokens` tokens at a time."""

    def nats(hidden_TD: Tensor, targets_T: Tensor) -> Tensor:
        logits_TV = logits(hidden_TD)
        wide = torch.promote_types(logits_TV.dtype, torch.float32)
        return F.cross_entropy(logits_TV.to(wide), targets_T, reduction="none")

    # With gradients the logits of every chunk would be kept anyway; training uses summed_nats instead.
    size = max(1, len(targets_T)) if torch.is_grad_enabled() else chunk_tokens
    return torch.cat([nats(h, t) for h, t in zip(hidden_TD.split(size), targets_T.split(size), strict=True)])


def summed_nats(hidden_TD: Tensor, targets_T: Tensor, weight_VD: Tensor) -> Tensor:
    """The sum of the nats of all targets, a scalar, float32 or wider; see ChunkedNats."""
    device, dtype = hidden_TD.device.type, hidden_TD.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        return ChunkedNats.apply(hidden_TD, weight_VD, targets_T, dtype, tokens_per_chunk(weight_VD))


class SoftmaxOutput(nn.Module):
    """A full softmax over the vocabulary.

    Args:
        weight: (V, D); the token embedding's if input and output are tied.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    @property
    def weights_per_token(self) -> int:
        """Weights used for every token."""
        return self.weight.numel()

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) to (..., V)."""
        return F.linear(hidden, self.weight)

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood of each target.

        Args:
            hidden: (B, L, D).
            targets: (B, L) ids; IGNORED has 0 nats.

        Returns:
            (B, L) nats, float32 or wider.

        Raises:
            ValueError: targets of another shape.
        """
        check_targets(hidden, targets)
        size = tokens_per_chunk(self.weight)
        return nats_in_chunks(hidden.flatten(0, -2), targets.flatten(), self.logits, size).view_as(targets)

    def total_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The sum of `nll`; logits and gradient are computed chunk by chunk.

        Args:
            hidden: (B, L, D).
            targets: (B, L) ids.

        Returns:
            A scalar, float32 or wider.
        """
        check_targets(hidden, targets)
        return summed_nats(hidden.flatten(0, -2), targets.flatten(), self.weight)

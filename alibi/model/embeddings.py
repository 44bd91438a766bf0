"""Token embeddings, of unit size whatever the width.

Rows are drawn with standard deviation `std` and divided by it when read, for every position method: sinusoids, whose
elements are of size one, are then on the same scale as the embeddings they are added to. A small `std` keeps the
logits of a tied output layer small at the start.

Legend: B batch, L tokens, D d_model, V vocabulary.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class TokenEmbedding(nn.Embedding):
    """
    Args:
        std: of the initial values; None: d_model^-0.5.
    """

    def __init__(self, vocab_size: int, d_model: int, std: float | None = None) -> None:
        super().__init__(vocab_size, d_model)
        self.std = d_model**-0.5 if std is None else std
        self.scale = d_model**0.5 if std is None else 1 / std

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids to (B, L, D)."""
        return F.embedding(input_ids, self.weight) * self.scale

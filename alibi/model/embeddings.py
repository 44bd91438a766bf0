"""Token embeddings, of unit size whatever the width.

Rows are drawn with standard deviation d_model^-0.5 and multiplied by sqrt(d_model) when read, for
every position method: sinusoids, whose elements are of size one, are then on the same scale as the
embeddings they are added to, and the same matrix serves as output layer.

Legend: B batch, L tokens, D d_model, V vocabulary.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class TokenEmbedding(nn.Embedding):
    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids to (B, L, D)."""
        return F.embedding(input_ids, self.weight) * self.embedding_dim**0.5

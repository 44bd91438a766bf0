"""Adaptive input and adaptive softmax: rare words have narrow vectors, and their logits are rarely computed.

Ids are ordered by decreasing frequency and cut into bands. Band b has words of width d_model / factor^b
and a projection between that width and d_model. With h a hidden state, e_w the vector of word w and
P_b the projection of its band:

    input     x = P_b e_w
    head      log softmax over the words of band 0 and one class for each other band, of e_w . h and c_b . h
    tail b    log softmax over the words of band b, of e_w . P_b^T h
    log p(w)  = head(w) in band 0, else head(class b) + tail b(w)

Words and projections are the same parameters in input and output.

Source: Baevski and Auli, arXiv 1809.10853; Grave et al., arXiv 1609.04309; fairseq's AdaptiveInput and
AdaptiveSoftmax with tied weights and projections, which the ALiBi authors use (arXiv 2108.12409, section 2).

Legend: B batch, L tokens, T tokens in a row, D d_model, E width of a band, W words of a band, V vocabulary.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alibi.model.output import check_targets, nats_in_chunks, summed_nats, tokens_per_chunk


class BandProjection(nn.Linear):
    """From a band's width to d_model; its transpose maps back."""

    def __init__(self, width: int, d_model: int) -> None:
        super().__init__(width, d_model, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Xavier's variance, as in fairseq: it keeps unit size in both directions, unlike 1 / inputs."""
        nn.init.xavier_normal_(self.weight, generator=generator)


class AdaptiveEmbedding(nn.Module):
    """
    Args:
        cutoffs: the first id of each band after the first.
        factor: each band is narrower than the one before by this factor.

    Raises:
        ValueError: a cutoff beyond the vocabulary, or a band of width 0.
    """

    def __init__(self, vocab_size: int, d_model: int, cutoffs: list[int], factor: int) -> None:
        super().__init__()
        if cutoffs[-1] >= vocab_size:
            raise ValueError(
                f"model.adaptive_cutoffs ({cutoffs}) must be below the vocabulary of {vocab_size}; use smaller ones."
            )
        if d_model < factor ** len(cutoffs):
            raise ValueError(
                f"model.adaptive_factor ({factor}) leaves nothing of d_model ({d_model}) to the last of "
                f"{len(cutoffs) + 1} bands; use fewer model.adaptive_cutoffs, or a smaller factor."
            )
        self.d_model = d_model
        edges = [0, *cutoffs, vocab_size]
        self.bands = list(pairwise(edges))  # (first id, id after the last)
        widths = [d_model // factor**band for band in range(len(self.bands))]
        sizes = [stop - start for start, stop in self.bands]
        self.words = nn.ModuleList(nn.Embedding(W, E) for W, E in zip(sizes, widths, strict=True))
        self.projections = nn.ModuleList(BandProjection(E, d_model) for E in widths)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids to (B, L, D), times sqrt(d_model) as in TokenEmbedding."""
        ids_T = input_ids.flatten()
        x_TD = self.words[0].weight.new_zeros(len(ids_T), self.d_model)
        # Bands without ids are computed too: DDP needs a gradient of every parameter.
        for (start, stop), words, project in zip(self.bands, self.words, self.projections, strict=True):
            tokens = _tokens_in(ids_T, start, stop)
            x_TD.index_copy_(0, tokens, project(words(ids_T[tokens] - start)).to(x_TD.dtype))
        return x_TD.view(*input_ids.shape, self.d_model) * self.d_model**0.5


class AdaptiveSoftmax(nn.Module):
    """The output layer of an adaptive embedding: a target needs the head and at most the tail of its own band.

    Args:
        embedding: words and projections are shared with it.
        dropout: on the hidden states, and between the two products of a tail, as in the authors' code.
    """

    def __init__(self, embedding: AdaptiveEmbedding, dropout: float) -> None:
        super().__init__()
        self.tied = embedding
        self.classes = nn.Linear(embedding.d_model, len(embedding.bands) - 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    @property
    def weights_per_token(self) -> int:
        """Weights used for every token; those of the tails, which few targets need, are not counted."""
        head = self.tied.words[0].weight.numel() + self.classes.weight.numel()
        return head + self.tied.projections[0].weight.numel()

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) to log probabilities of all words, (..., V), for decoding."""
        hidden = self.dropout(hidden)
        head = _log_softmax(F.linear(hidden, self._head_weight()))
        words = self.tied.words[0].num_embeddings
        parts = [head[..., :words]]
        for band in range(1, len(self.tied.bands)):
            of_class = head[..., words + band - 1, None]
            tail = F.linear(self._narrow(hidden, band), self.tied.words[band].weight)
            parts.append(of_class + _log_softmax(tail))
        return torch.cat(parts, dim=-1)

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood of each target, (B, L) nats, float32 or wider; as SoftmaxOutput.nll."""
        check_targets(hidden, targets)
        hidden_TD, targets_T = self.dropout(hidden.flatten(0, -2)), targets.flatten()
        nats_T = _nats(hidden_TD, self._head_targets(targets_T), self._head_weight())
        for band, tokens, of_band in self._tails(targets_T):
            if len(tokens):
                tail = _nats(self._narrow(hidden_TD[tokens], band), of_band, self.tied.words[band].weight)
                nats_T = nats_T.index_add(0, tokens, tail)
        return nats_T.view_as(targets)

    def total_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The sum of `nll`, a scalar for training: no logits are kept, and every parameter gets a gradient."""
        check_targets(hidden, targets)
        hidden_TD, targets_T = self.dropout(hidden.flatten(0, -2)), targets.flatten()
        total = summed_nats(hidden_TD, self._head_targets(targets_T), self._head_weight())
        for band, tokens, of_band in self._tails(targets_T):
            narrow = self._narrow(hidden_TD[tokens], band)
            total = total + summed_nats(narrow, of_band, self.tied.words[band].weight)
        return total

    def _head_weight(self) -> Tensor:
        return torch.cat([self.tied.words[0].weight, self.classes.weight])

    def _head_targets(self, targets_T: Tensor) -> Tensor:
        """Targets of band 0 unchanged, others as the class of their band."""
        starts = torch.tensor([start for start, _ in self.tied.bands[1:]], device=targets_T.device)
        band_T = torch.bucketize(targets_T, starts, right=True)
        return torch.where(band_T == 0, targets_T, starts[0] + band_T - 1)

    def _tails(self, targets_T: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Of each band: its number, the tokens with a target in it, and these targets relative to its first word."""
        for band, (start, stop) in enumerate(self.tied.bands[1:], start=1):
            tokens = _tokens_in(targets_T, start, stop)
            yield band, tokens, targets_T[tokens] - start

    def _narrow(self, hidden: Tensor, band: int) -> Tensor:
        """(..., D) to (..., E): the hidden states in the width of a tail."""
        return self.dropout(F.linear(hidden, self.tied.projections[band].weight.T))


def _tokens_in(ids_T: Tensor, start: int, stop: int) -> Tensor:
    return ((ids_T >= start) & (ids_T < stop)).nonzero()[:, 0]


def _nats(hidden_TD: Tensor, targets_T: Tensor, weight_VD: Tensor) -> Tensor:
    return nats_in_chunks(hidden_TD, targets_T, partial(F.linear, weight=weight_VD), tokens_per_chunk(weight_VD))


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)

"""A causal language model: embedding, stack, output layer.

Legend: B batch, L tokens, S scored tokens, D d_model, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alibi.model.adaptive import AdaptiveEmbedding, AdaptiveSoftmax
from alibi.model.cache import KeyValueCache
from alibi.model.embeddings import TokenEmbedding
from alibi.model.initialise import draw_seed, initialise
from alibi.model.model_config import ModelConfig
from alibi.model.output import SoftmaxOutput
from alibi.model.transformer import Transformer
from alibi.positions import Position


@dataclass(frozen=True)
class ParameterCount:
    """Number of parameters by use; `embedding` counts input and output embeddings, once if tied."""

    position: int
    embedding: int
    rest: int

    @property
    def total(self) -> int:
        return self.position + self.embedding + self.rest


def mean_keys(length: int, window: int | None = None) -> float:
    """Keys that a query sees in a causal window of `length`, on average over its queries."""
    seen = min(length, window or length)
    return (seen * (seen + 1) / 2 + (length - seen) * seen) / length


class LanguageModel(nn.Module):
    """
    Args:
        config: shape, parts and position method.
        vocab_size: number of token ids.
        seed: of the initial values; None: drawn from torch's global generator.

    Raises:
        ValueError: vocab_size is below 1 or not above the cutoffs, the model is not causal, or the position method
            refuses its settings.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, seed: int | None = None) -> None:
        super().__init__()
        if not isinstance(config, ModelConfig):
            raise ValueError(f"config ({config!r}) must be a ModelConfig, such as ModelConfig(position='rotary').")
        if vocab_size < 1:
            raise ValueError(f"vocab_size ({vocab_size}) must be at least 1.")
        if not config.causal:
            raise ValueError("model.causal is false, and a language model must not see later tokens; set it to true.")
        self.config, self.vocab_size = config, vocab_size
        cutoffs, factor = config.adaptive_cutoffs, config.adaptive_factor
        if cutoffs:
            self.embedding = AdaptiveEmbedding(vocab_size, config.d_model, cutoffs, factor)
        else:
            self.embedding = TokenEmbedding(vocab_size, config.d_model, config.embedding_std)
        self.transformer = Transformer(config)
        if cutoffs:
            self.output = AdaptiveSoftmax(self.embedding, config.adaptive_dropout)
        else:
            untied = None if config.tie_embeddings else nn.Parameter(torch.empty(vocab_size, config.d_model))
            self.output = SoftmaxOutput(self.embedding.weight if untied is None else untied)
        initialise(self, draw_seed() if seed is None else seed, config.num_layers)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def hidden(
        self,
        input_ids: Tensor,
        positions: Tensor | None = None,
        padding_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        first_query: int = 0,
    ) -> Tensor:
        """Hidden states (B, L - first_query, D) of ids (B, L); see Transformer.forward.

        Raises:
            ValueError: ids of another shape, or no tensor of whole numbers.
        """
        if not isinstance(input_ids, Tensor) or input_ids.is_floating_point():
            what = input_ids.dtype if isinstance(input_ids, Tensor) else type(input_ids).__name__
            raise ValueError(f"input_ids are of {what}; they must be a tensor of ids: torch.tensor([[5, 7, 2]]).")
        if input_ids.dim() != 2:
            shape = tuple(input_ids.shape)
            raise ValueError(f"input_ids have shape {shape}; they must be (batch, seq): ids[None] is a batch of one.")
        return self.transformer(self.embedding(input_ids), positions, padding_mask, cache, first_query)

    def forward(self, input_ids: Tensor, **kwargs) -> Tensor:
        """Logits (B, L - first_query, V) of ids (B, L); keywords as for `hidden`."""
        return self.output.logits(self.hidden(input_ids, **kwargs))

    def nll(
        self, input_ids: Tensor, target_ids: Tensor, first_scored: int = 0, positions: Tensor | None = None
    ) -> Tensor:
        """Negative log-likelihood of the targets from input `first_scored` on.

        Args:
            input_ids: (B, L).
            target_ids: (B, S) with S = L - first_scored: the token that follows each scored input; IGNORED (-100) has
                0 nats.
            first_scored: earlier inputs are context only, and the last block does not compute them.
            positions: as for `hidden`.

        Returns:
            (B, S) nats, float32 or wider.
        """
        return self.output.nll(self.hidden(input_ids, positions, first_query=first_scored), target_ids)

    def total_nats(self, input_ids: Tensor, target_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """The sum of `nll` over all targets (B, L), a scalar for training; no logits are kept for its gradient."""
        return self.output.total_nats(self.hidden(input_ids, positions), target_ids)

    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of the matrix products of one forward pass over a causal window of `length`.

        A multiply-add counts as two. Those of a position method are left out.
        """
        weights = self.count_parameters().rest + self.output.weights_per_token
        seen = sum(mean_keys(length, layer.window) for _, layer in self.config.layers())
        return 2 * weights + 4 * self.config.d_model * seen

    def position_parameters(self) -> list[nn.Parameter]:
        """The parameters of all position methods in the model."""
        return [p for module in self.modules() if isinstance(module, Position) for p in module.parameters()]

    def count_parameters(self) -> ParameterCount:
        def count(*modules: nn.Module) -> int:
            return sum(p.numel() for p in {p for module in modules for p in module.parameters()})

        position = sum(p.numel() for p in self.position_parameters())
        embedding = count(self.embedding, self.output)
        return ParameterCount(position, embedding, count(self) - position - embedding)

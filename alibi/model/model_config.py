"""The settings of a model, the same dataclass for every position method."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from alibi.settings import check_kinds

ACTIVATIONS = ("gelu", "relu", "swiglu")


def nearest_divisor(number: int, near: int) -> int:
    """The divisor of `number` closest to `near`, for the remedy in an error message."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - near))


@dataclass
class ModelConfig:
    """Shape and parts of a language model.

    Attributes:
        position: the method's name and its own settings, {"name": "rotary", "theta": 10000.0}; a name alone has the
            method's defaults.
        size: label of the shape, for names of runs.
        d_ff: width of the feed-forward layer; None: 4 * d_model, which is filled in. With swiglu, which has three
            matrices in place of two, the width is two thirds of it.
        dropout: on the embedding and on the output of each sub-layer.
        attention_dropout: on attention weights.
        activation_dropout: on the feed-forward layer's activations.
        bias: whether linear layers and LayerNorms have biases.
        final_norm: LayerNorm after the last block.
        tie_embeddings: input and output embeddings are one matrix.
        embedding_std: standard deviation of the initial token embeddings, which are divided by it when read; None:
            d_model^-0.5.
        adaptive_cutoffs: the first id of each band after the first, of adaptive input and softmax; None: every word
            has a vector of width d_model.
        adaptive_factor: each band is narrower than the one before by this factor; None: 4 if there are bands.
        adaptive_dropout: on the input of the adaptive softmax and in its tails; None: 0 if there are bands.
    """

    position: dict[str, Any] = field(default_factory=lambda: {"name": "alibi"})
    size: str = "custom"
    num_layers: int = 6
    d_model: int = 256
    num_heads: int = 8
    d_ff: int | None = None
    causal: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    activation: str = "gelu"
    bias: bool = False
    final_norm: bool = True
    tie_embeddings: bool = True
    embedding_std: float | None = None
    adaptive_cutoffs: list[int] | None = None
    adaptive_factor: int | None = None
    adaptive_dropout: float | None = None

    def __post_init__(self) -> None:
        check_kinds(self, "model.")
        if isinstance(self.position, str):
            self.position = {"name": self.position}
        if not isinstance(self.position, dict):
            raise ValueError(f'position ({self.position!r}) must be a name or a dict, {{"name": "alibi"}}.')
        if self.d_ff is None:
            self.d_ff = 4 * self.d_model
        for name in ("num_layers", "d_model", "num_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} ({getattr(self, name)}) must be at least 1.")
        if self.d_model % self.num_heads:
            raise ValueError(
                f"num_heads ({self.num_heads}) must divide d_model ({self.d_model}); "
                f"use {nearest_divisor(self.d_model, self.num_heads)}."
            )
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"model.{name} ({getattr(self, name)}) must be at least 0 and below 1.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"model.activation ({self.activation}) must be one of: {', '.join(ACTIVATIONS)}.")
        if self.embedding_std is not None and not self.embedding_std > 0:
            raise ValueError(f"model.embedding_std ({self.embedding_std}) must be above 0; null is d_model^-0.5.")
        self._check_adaptive()

    def _check_adaptive(self) -> None:
        cutoffs = self.adaptive_cutoffs
        if cutoffs is None:
            for name in ("adaptive_factor", "adaptive_dropout"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"model.{name} ({getattr(self, name)}) would be ignored without model.adaptive_cutoffs; "
                        "remove it, or give the cutoffs, [20000,60000]."
                    )
            return
        if not cutoffs or cutoffs[0] < 1 or any(low >= high for low, high in pairwise(cutoffs)):
            raise ValueError(
                f"model.adaptive_cutoffs ({cutoffs}) must be ids that rise from 1 on, [20000,60000], or null."
            )
        if self.embedding_std is not None:
            raise ValueError(
                f"model.embedding_std ({self.embedding_std}) would be ignored with model.adaptive_cutoffs; remove it."
            )
        if not self.tie_embeddings:
            raise ValueError("model.adaptive_cutoffs needs model.tie_embeddings=true: it has one set of words only.")
        self.adaptive_factor = 4 if self.adaptive_factor is None else self.adaptive_factor
        self.adaptive_dropout = 0.0 if self.adaptive_dropout is None else self.adaptive_dropout
        if self.adaptive_factor < 1:
            raise ValueError(f"model.adaptive_factor ({self.adaptive_factor}) must be at least 1.")
        if not 0.0 <= self.adaptive_dropout < 1.0:
            raise ValueError(f"model.adaptive_dropout ({self.adaptive_dropout}) must be at least 0 and below 1.")

"""The stack: pre-norm blocks and the position methods that they share; hidden states in, hidden states out.

    x = x + attention(norm(x));  x = x + feed_forward(norm(x))

Legend: B batch, N input tokens, L output tokens, M keys (cached and new), D d_model.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alibi.model.attention import Attention
from alibi.model.cache import KeyValueCache
from alibi.model.layer_position import LayerPosition, hooks_in_float32
from alibi.model.mask import Pass
from alibi.model.model_config import LayerSettings, ModelConfig
from alibi.model.streaming import streaming_cache
from alibi.positions import Position, build_position


class FeedForward(nn.Module):
    """down(activation(up(x))); with swiglu down(silu(gate(x)) * up(x)), of two thirds the width.

    Source: Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        gated = config.activation == "swiglu"
        # A multiple of 8, which matrix units are fast at.
        width = max(1, round(config.d_ff / 12)) * 8 if gated else config.d_ff
        self.up = nn.Linear(config.d_model, width, bias=config.bias)
        self.gate = nn.Linear(config.d_model, width, bias=config.bias) if gated else None
        self.activation = {"gelu": F.gelu, "relu": F.relu, "swiglu": F.silu}[config.activation]
        self.dropout = nn.Dropout(config.activation_dropout)
        self.down = nn.Linear(width, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.up(x)) if self.gate is None else self.activation(self.gate(x)) * self.up(x)
        return self.down(self.dropout(inner))


class Block(nn.Module):
    """
    Args:
        position: the layer's own method; None: one that layers share, which the stack holds.
    """

    def __init__(self, config: ModelConfig, layer: LayerSettings, position: Position | None = None) -> None:
        super().__init__()
        self.layer, self.position = layer, position
        self.attention_norm = nn.LayerNorm(config.d_model, bias=config.bias)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = nn.LayerNorm(config.d_model, bias=config.bias)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BND: Tensor,
        of: Pass,
        shared: LayerPosition | None,
        first_query: int = 0,
        cache: KeyValueCache | None = None,
        block: int = 0,
    ) -> Tensor:
        position = LayerPosition(self.position, self.layer, of, first_query) if shared is None else shared
        attended = self.attention(self.attention_norm(x_BND), position, first_query, cache, block)
        x_BLD = x_BND[:, first_query:] + self.dropout(attended)
        return x_BLD + self.dropout(self.feed_forward(self.feed_forward_norm(x_BLD)))


class Transformer(nn.Module):
    """Blocks, a final norm, and the position methods that blocks share.

    Args:
        config: shape and parts; `config.causal` False makes it an encoder.

    Attributes:
        skip_far_keys: skip keys whose weights a bias pushes below rounding; False visits all keys, with the same result
            up to rounding.
        position: the method of all layers; None if each has its own, or there is a pattern.
        positions: the methods that layers of a type share, by type.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.d_model, self.causal = config.d_model, config.causal
        self.skip_far_keys = True
        layers = config.layers()
        methods = {kind: _build(config, kind, layer) for kind, layer in layers}
        shared = {kind: method for kind, method in methods.items() if method.shared}
        # Types of layers that agree in method and settings add to the embeddings once.
        embed = {repr(method.settings): kind for kind, method in shared.items() if _embeds(method)}
        self.embedding_kinds = list(embed.values())
        self.position: Position | None = shared.pop(None, None)
        self.positions = nn.ModuleDict(shared)
        self.dropout = nn.Dropout(config.dropout)
        self.kinds = [kind for kind, _ in layers]
        self.blocks = nn.ModuleList(
            Block(config, layer, None if methods[kind].shared else _build(config, kind, layer))
            for kind, layer in layers
        )
        self.final_norm = nn.LayerNorm(config.d_model, bias=config.bias) if config.final_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        padding_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        first_query: int = 0,
    ) -> Tensor:
        """Hidden states of the tokens from `first_query` on.

        Args:
            x: (B, N, D), scaled token embeddings.
            positions: integers, (N,) or (B, N); None: they continue those of the cache, or start at 0.
            padding_mask: (B, N) bool, True where a token is padding; no other token sees it.
            cache: earlier keys and values, extended in place; causal only.
            first_query: the last block computes queries, and so hidden states, from this token on.

        Returns:
            (B, N - first_query, D).

        Raises:
            ValueError: wrong width, shape or type, a cache with an encoder or of another batch size, or
                first_query out of range.
        """
        self._check(x, positions, padding_mask, cache, first_query)
        of = self._pass(x, positions, padding_mask, cache)
        with hooks_in_float32(x.device):
            methods = {None: self.position, **self.positions}
            for kind in self.embedding_kinds:
                layer = self.blocks[self.kinds.index(kind)].layer
                streaming = streaming_cache(layer)
                x = methods[kind].embed(x, streaming.query(of.query_positions) if streaming else of.query_positions)
        x = self.dropout(x)
        made: dict[tuple[str | None, int], LayerPosition] = {}
        for number, (kind, block) in enumerate(zip(self.kinds, self.blocks, strict=True)):
            first = first_query if number == len(self.blocks) - 1 else 0
            if (method := methods.get(kind)) is not None and (kind, first) not in made:
                made[kind, first] = LayerPosition(method, block.layer, of, first)
            x = block(x, of, made.get((kind, first)), first, cache, number)
        return self.final_norm(x)

    def method_of(self, layer: int) -> Position:
        """The position method of a layer."""
        kind = self.kinds[layer]
        return self.blocks[layer].position or (self.position if kind is None else self.positions[kind])

    def _pass(
        self, x: Tensor, positions: Tensor | None, padding_mask: Tensor | None, cache: KeyValueCache | None
    ) -> Pass:
        N, past, consecutive = x.shape[1], 0 if cache is None else len(cache), positions is None
        if consecutive:
            positions = torch.arange(N, device=x.device)
            if past:
                positions = cache.positions[..., -1:] + 1 + positions
        keys, padding = positions, padding_mask
        if cache is not None:
            cache.remember(positions, padding_mask, consecutive, x.shape[0])
            keys, padding, consecutive = cache.positions, cache.padding_mask, cache.consecutive
        return Pass(positions, keys, past, self.causal, consecutive, padding, self.skip_far_keys)

    def _check(self, x, positions, padding_mask, cache, first_query) -> None:
        if x.dim() != 3 or x.shape[-1] != self.d_model:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; it must be (batch, seq, d_model) with d_model {self.d_model}."
            )
        B, N = x.shape[:2]
        if N < 1:
            raise ValueError("x has no tokens (seq is 0); give at least one.")
        if not 0 <= first_query < N:
            raise ValueError(f"first_query ({first_query}) must be at least 0 and below the {N} tokens of x.")
        if positions is not None and tuple(positions.shape) not in ((N,), (B, N)):
            raise ValueError(f"positions have shape {tuple(positions.shape)}; they must be ({N},) or ({B}, {N}).")
        if positions is not None and positions.is_floating_point():
            raise ValueError(f"positions are {positions.dtype}; they must be integers.")
        if padding_mask is not None and (padding_mask.dtype != torch.bool or tuple(padding_mask.shape) != (B, N)):
            raise ValueError(
                f"padding_mask is {padding_mask.dtype} {tuple(padding_mask.shape)}; it must be bool ({B}, {N}), "
                "True where a token is padding."
            )
        if cache is not None and not self.causal:
            raise ValueError(
                "a key/value cache needs a causal model, and this one has causal=False; leave the cache out."
            )
        if cache is not None and cache.batch_size not in (None, B):
            raise ValueError(f"x has {B} rows and the cache holds {cache.batch_size}; a cache serves one batch.")


def _embeds(position: Position) -> bool:
    return type(position).embed is not Position.embed


def _build(config: ModelConfig, kind: str | None, layer: LayerSettings) -> Position:
    """A new module of the position method of a type of layer.

    Raises:
        ValueError: settings that the method refuses, or a method that cannot be what is asked for.
    """
    key = "model" if kind is None else f"model.layer_types.{kind}"
    position = build_position(layer.position, config.d_model, config.num_heads, config.causal, f"{key}.position")
    if not position.shared and _embeds(position):
        raise ValueError(f"{key}.position.shared must be true: {position.name} adds to the embeddings, once for all.")
    if position.head_windows() and not config.causal:
        raise ValueError(f"{position.name} has windows, which need a causal model; set causal=True.")
    return position

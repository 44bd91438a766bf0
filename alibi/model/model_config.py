"""The settings of a model, the same dataclass for every position method."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import cycle, islice, pairwise
from typing import Any

from torch import nn

from alibi.model.query_scale import QueryScaleConfig
from alibi.settings import check_kinds

ACTIVATIONS = ("gelu", "relu", "swiglu")


def nearest_divisor(number: int, near: int) -> int:
    """The divisor of `number` closest to `near`, for the remedy in an error message."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - near))


def method_name(model: Mapping[str, Any]) -> str:
    """The name of the method or pattern of a model, from its settings; those of older runs have no `name`."""
    return model.get("name") or model["position"].get("name") or "-".join(model.get("pattern") or ["alibi"])


@dataclass
class LayerSettings:
    """What may differ between layers; of all layers as `model.*`, of a type of layer as `model.layer_types.<type>.*`.

    Attributes:
        position: the method's name and its own settings, {"name": "rotary", "theta": 10000.0}; a name alone has the
            method's defaults. Empty: alibi, where there is no pattern.
        window: how many keys a query sees, its own counted; None: all before it.
        sink_tokens: first tokens of each row that are seen from outside the window too; None: 0.
        block_keys: blockwise causal: the text is cut into halves of this many keys, and a query sees its own half up to
            itself and the half before; None: no blocks.
        positions_in_cache: the positions of queries and keys are their places in a cache of sink tokens and window, as
            StreamingLLM (arXiv 2309.17453) counts them; for evaluation alone. None: places in the text.
        query_scale: a factor on the query that grows with the number of keys it sees; none by default.
    """

    position: dict[str, Any] = field(default_factory=dict)
    window: int | None = None
    sink_tokens: int | None = None
    block_keys: int | None = None
    positions_in_cache: bool | None = None
    query_scale: QueryScaleConfig = field(default_factory=QueryScaleConfig)

    def __post_init__(self) -> None:
        if isinstance(self.query_scale, str):
            self.query_scale = QueryScaleConfig(self.query_scale)
        if isinstance(self.query_scale, dict):
            self.query_scale = QueryScaleConfig(**self.query_scale)

    def check(self, key: str, causal: bool) -> None:
        """
        Args:
            key: full name of these settings, for messages.

        Raises:
            ValueError: a value of the wrong type or out of range, or one that would have no effect.
        """
        check_kinds(self, f"{key}.")
        if isinstance(self.position, str):
            self.position = {"name": self.position}
        if not isinstance(self.position, dict):
            raise ValueError(f'{key}.position ({self.position!r}) must be a name or a dict, {{"name": "alibi"}}.')
        if self.window is not None and self.window < 1:
            raise ValueError(f"{key}.window ({self.window}) must be at least 1, the query's own key; null sees all.")
        if self.block_keys is not None and self.block_keys < 1:
            raise ValueError(f"{key}.block_keys ({self.block_keys}) must be at least 1; null has no blocks.")
        for name in ("window", "block_keys"):
            if (value := getattr(self, name)) is not None and not causal:
                raise ValueError(f"{key}.{name} ({value}) needs a causal model; remove it, or set causal=True.")
        if self.positions_in_cache and (self.window is None or self.block_keys is not None):
            rule = f"needs {key}.window, the size of the cache, and no block_keys; remove it, or set a window"
            raise ValueError(f"{key}.positions_in_cache ({self.positions_in_cache}) {rule}.")
        if self.sink_tokens is not None and self.sink_tokens < 1:
            raise ValueError(f"{key}.sink_tokens ({self.sink_tokens}) must be at least 1; null has none.")
        if self.sink_tokens is not None and self.window is None:
            why = f"would be ignored without {key}.window: all tokens are seen"
            raise ValueError(f"{key}.sink_tokens ({self.sink_tokens}) {why}; remove it, or set a window.")
        self.query_scale.check(f"{key}.query_scale")


@dataclass
class ModelConfig(LayerSettings):
    """Shape and parts of a language model. The settings of LayerSettings hold for all layers unless there is a pattern.

    Attributes:
        name: of the method or pattern of layers, in names of runs and in results; None: the position method's name.
        pattern: types of layers from the bottom up, repeated and cut off at the last layer: [local, local, global].
        layer_types: settings of each type of layer.
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
    name: str | None = None
    pattern: list[str] | None = None
    layer_types: dict[str, LayerSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kinds(self, "model.")
        if self.d_ff is None:
            self.d_ff = 4 * self.d_model
        for name in ("num_layers", "d_model", "num_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} ({getattr(self, name)}) must be at least 1.")
        if self.pattern is None and not self.layer_types:
            self.check("model", self.causal)
        else:
            self._check_pattern()
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

    @property
    def method(self) -> str:
        """What names of runs and results say of the position method."""
        return method_name(vars(self))

    def layers(self) -> list[tuple[str | None, LayerSettings]]:
        """Of each layer its type, None without a pattern, and its settings."""
        if self.pattern is None:
            position = self.position or {"name": "alibi"}
            own = {one.name: getattr(self, one.name) for one in fields(LayerSettings)} | {"position": position}
            return [(None, LayerSettings(**own))] * self.num_layers
        return [(kind, self.layer_types[kind]) for kind in islice(cycle(self.pattern), self.num_layers)]

    def fill_in_length(self, seq_len: int) -> None:
        """Give query scales that need a length and have none the training length."""
        types = {f"model.layer_types.{kind}": layer for kind, layer in self.layer_types.items()}
        for key, layer in {"model": self, **types}.items():
            layer.query_scale = layer.query_scale.with_length(seq_len)
            layer.query_scale.check(f"{key}.query_scale")

    def _check_pattern(self) -> None:
        if not self.pattern or not self.layer_types:
            given, lacks = ("pattern", "layer_types") if self.pattern else ("layer_types", "pattern")
            raise ValueError(f"model.{given} needs model.{lacks}: [a, b] names types of layers, which have settings.")
        for name in (one.name for one in fields(LayerSettings)):
            if (value := getattr(self, name)) not in (None, {}, QueryScaleConfig()):
                raise ValueError(
                    f"model.{name} ({value}) would be ignored with a pattern of layers; set "
                    f"model.layer_types.{self.pattern[0]}.{name}, or choose a model without a pattern."
                )
        self.layer_types = dict(self.layer_types)  # the caller's stays as it is
        types = ", ".join(self.layer_types)
        for kind in self.pattern:
            if kind not in self.layer_types:
                raise ValueError(f"model.pattern has {kind!r}, which is not in model.layer_types; it has: {types}.")
        for kind, layer in self.layer_types.items():
            if not kind.isidentifier() or hasattr(nn.ModuleDict, kind):  # torch keeps modules by these names
                raise ValueError(f"model.layer_types has {kind!r}, which cannot name a module; use local or the like.")
            if isinstance(layer, dict):
                unknown = sorted(layer.keys() - {one.name for one in fields(LayerSettings)})
                if unknown:
                    raise ValueError(f"model.layer_types.{kind}.{unknown[0]} is not a setting of a layer; remove it.")
                layer = self.layer_types[kind] = LayerSettings(**layer)
            layer.check(f"model.layer_types.{kind}", self.causal)
        used = {kind for kind, _ in self.layers()}
        for kind in self.layer_types:
            if kind not in used:
                why = f"would be ignored: the first {self.num_layers} layers of the pattern {self.pattern} have none"
                raise ValueError(f"model.layer_types.{kind} {why}; raise model.num_layers, or change model.pattern.")

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

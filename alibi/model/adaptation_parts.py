"""The same weights, looked at another way: an adaptation is another configuration of a trained model.

    pi ntk yarn llama3 temperature slope_scaling ntk_alibi    scaling, see `positions.scaling`
    log_n         scores of a query that sees n keys times max(1, ln n / ln L)
    window        a query sees the last `window` keys
    bca           blockwise causal: in halves of blocks of L keys, its own half and the half before
    sink          a cache of the first `sink_tokens` and the last `window` tokens; positions are counted inside it
    sink_mask     the same keys, with their places in the text
    nope          no position

    truncation    the last L tokens alone; evaluation cuts its windows, and the model stays as it is

L is the training length. Parts are joined by +, as in nope+temperature. Of layers that differ, a scaling changes those
that see further than L, nope all, and the others those that see every key. At a factor of 1 nothing changes, except by
nope, or by a window or cache that holds less than L tokens.

Source: log_n: Su, as in Qwen. bca: Sun et al., arXiv 2212.10554, section 3.2, as in torchscale. sink: Xiao et al.,
arXiv 2309.17453; by default its cache holds L tokens. nope: Gelberg et al., "DroPE", arXiv 2512.12167.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

from alibi.model.model_config import LayerSettings, ModelConfig
from alibi.model.query_scale import QueryScaleConfig
from alibi.positions import Position
from alibi.positions.scaling import OWN_SETTINGS
from alibi.settings import LARGEST

SINK_TOKENS = 4  # the authors'
TRUNCATION = "truncation"
# What a user may set: whether it is a whole number, and the least value; 0: any above it.
SETTINGS = {"factor": (False, 1), "window": (True, 1), "sink_tokens": (True, 1)}
SETTINGS |= dict.fromkeys(("beta_fast", "beta_slow", "temperature"), (False, 0))
Settings = Mapping[str, Any]


class Part(NamedTuple):
    """
    Attributes:
        group: parts of one group cannot be combined; parts are applied in the order of groups.
        settings: what a user may set.
        change: (settings of a layer, of the adaptation with `length`, factor) -> the layer's; None: it does not fit.
        everywhere: False: of layers that differ, it changes those that see every key.
    """

    group: int
    settings: tuple[str, ...]
    change: Callable[[LayerSettings, Settings, float], LayerSettings | None]
    everywhere: bool = False


def _method(layer: LayerSettings) -> type[Position]:
    return Position.registry[layer.position["name"]]


def _scaled(name: str) -> Part:
    own = tuple(OWN_SETTINGS.get(name, {}))

    def change(layer: LayerSettings, settings: Settings, factor: float) -> LayerSettings | None:
        known = getattr(_method(layer).Settings, "scalings", ())
        here = "slope_scaling" if name == "pi" and "slope_scaling" in known else name
        if here not in known or (layer.window or LARGEST) <= settings["length"]:
            return None
        if there := layer.position.get("scaling"):
            has = f"{there['name']} x{there['factor']:g}"
            raise ValueError(f"{name} would be a second scaling, and the model has {has}; leave {name} out.")
        scaling = {"name": here, "factor": factor, "length": settings["length"]}
        scaling |= {one: settings[one] for one in own if one in settings}
        return layer if factor == 1 else replace(layer, position=layer.position | {"scaling": scaling})

    return Part(1, ("factor", *own), change, everywhere=True)


def _without_position(layer: LayerSettings, settings: Settings, factor: float) -> LayerSettings:
    return replace(layer, position={"name": "none"})


def _log_n(layer: LayerSettings, settings: Settings, factor: float) -> LayerSettings:
    if layer.query_scale.name or _method(layer).scales_queries:
        raise ValueError("log_n would be a second scale of the query, and the model has one; leave log_n out.")
    return layer if factor == 1 else replace(layer, query_scale=QueryScaleConfig("log_n", settings["length"]))


def _window(layer: LayerSettings, settings: Settings, factor: float) -> LayerSettings:
    window = settings.get("window", settings["length"])
    unseen = factor == 1 and window >= settings["length"]
    return layer if unseen else replace(layer, window=min(window, layer.window or window))


def _blockwise(layer: LayerSettings, settings: Settings, factor: float) -> LayerSettings:
    return layer if factor == 1 else replace(layer, block_keys=settings["length"])


def _sink(in_cache: bool) -> Callable[[LayerSettings, Settings, float], LayerSettings | None]:
    def change(layer: LayerSettings, settings: Settings, factor: float) -> LayerSettings | None:
        if in_cache and not _method(layer).counts_positions:
            return None
        sinks, length = settings.get("sink_tokens", SINK_TOKENS), settings["length"]
        window = settings.get("window", max(1, length - sinks))
        if factor == 1 and window + sinks >= length:
            return layer
        window = min(window, layer.window or window)
        return replace(layer, window=window, sink_tokens=sinks, positions_in_cache=in_cache or None)

    return change


PARTS = {
    **{name: _scaled(name) for name in ("pi", "ntk", "yarn", "llama3", "temperature", "slope_scaling", "ntk_alibi")},
    "log_n": Part(2, (), _log_n),
    "window": Part(3, ("window",), _window),
    "bca": Part(3, (), _blockwise),
    "sink": Part(3, ("window", "sink_tokens"), _sink(in_cache=True)),
    "sink_mask": Part(3, ("window", "sink_tokens"), _sink(in_cache=False)),
    "nope": Part(0, (), _without_position, everywhere=True),
    TRUNCATION: Part(4, (), lambda layer, settings, factor: layer),
}


def adapted(config: ModelConfig, name: str, settings: Settings, factor: float) -> ModelConfig:
    """The configuration of the same weights at `factor` times the training length.

    Args:
        name: parts joined by +.
        settings: `length`, the training length, and what is set of the parts' own settings.

    Raises:
        ValueError: a part does not fit the model.
    """
    for part in name.split("+"):
        config = _changed(config, part, settings, factor)
    return config


def masked(config: ModelConfig, window: int) -> ModelConfig:
    """Every layer sees its last `window` keys alone, or fewer where it saw fewer; without sinks."""

    def narrowed(layer: LayerSettings) -> LayerSettings:
        narrow = min(window, layer.window or window)
        return replace(layer, window=narrow, sink_tokens=None, positions_in_cache=None)

    return _with_layers(config, {kind: narrowed(layer) for kind, layer in dict(config.layers()).items()})


def shift_invariant(config: ModelConfig) -> bool:
    """Whether moving all positions by the same number changes nothing: no layer knows where the text begins."""
    layers = dict(config.layers()).values()
    return all(_method(layer).shift_invariant and not (layer.sink_tokens or layer.block_keys) for layer in layers)


def _changed(config: ModelConfig, name: str, settings: Settings, factor: float) -> ModelConfig:
    part, layers = PARTS[name], dict(config.layers())
    seeing_all = {kind for kind, layer in layers.items() if layer.window is None}
    concerned = layers if part.everywhere or not seeing_all else seeing_all
    changed = {kind: part.change(layers[kind], settings, factor) for kind in concerned}
    if name == "temperature" and None in changed.values():  # of all scores, or of none
        changed = {}
    changed = {kind: layer for kind, layer in changed.items() if layer is not None}
    if not changed:
        raise ValueError(f"{name} does not fit {config.method}: {_why_not(name, layers.values())}.")
    return _with_layers(config, changed)


def _with_layers(config: ModelConfig, changed: Mapping[str | None, LayerSettings]) -> ModelConfig:
    if None in changed:
        return replace(config, **{one.name: getattr(changed[None], one.name) for one in fields(LayerSettings)})
    return replace(config, layer_types=config.layer_types | changed)


def _why_not(name: str, layers: Iterable[LayerSettings]) -> str:
    if name == "sink":
        return "it counts no positions there; sink_mask leaves the same keys"
    names = {name, "slope_scaling"} if name == "pi" else {name}
    methods = sorted(Position.registry.items())
    scaled = [one for one, method in methods if names.intersection(getattr(method.Settings, "scalings", ()))]
    if here := {layer.position["name"] for layer in layers if layer.window}.intersection(scaled):
        return f"its layers of {', '.join(here)} see no further than the training length"
    return f"it is for {', '.join(scaled)}"

"""The origin of a run: the checkpoint that train.init_from names, and which of its weights a new model takes.

A position method's own parameters, and those of a query scale, may start anew; all others must be there. A layer takes
its method's parameters from the same layer of the origin, if that has the same method, whether layers share them or
not: each layer of a model with `shared: false` may begin with a copy of a shared set, but not the other way round.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from alibi.model import LanguageModel, ModelConfig
from alibi.runs.checkpoint import Checkpoint
from alibi.runs.checkpoint_files import MODEL, open_tensors, stored_shapes, wanted_shapes

# Where Transformer keeps position methods: of a block, of a type of layers, of all layers.
POSITION = re.compile(r"transformer\.(blocks\.(?P<layer>\d+)\.position|positions\.(?P<kind>\w+)|position)\.")
QUERY_SCALE = ".attention.query_scale."

Shapes = Mapping[str, tuple[int, ...]]


@dataclass
class Origin:
    """
    Attributes:
        run: name of its run folder.
        sha256: of its weights.
        step: of the checkpoint, in its own run.
        tokens: all that the weights were trained on, in the origin's own origin too.
    """

    run: str
    sha256: str
    step: int
    tokens: int

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Origin":
        return cls(checkpoint.run.name, checkpoint.sha256, checkpoint.step, checkpoint.tokens)


def kept_weights(new: ModelConfig, wanted: Shapes, old: ModelConfig, stored: Shapes) -> dict[str, str]:
    """For each parameter of a new model that an origin has, by name, the name of the origin's tensor.

    Args:
        new, wanted: configuration of the new model, and the shapes of its parameters.
        old, stored: the same of the origin.

    Raises:
        ValueError: a weight outside position methods and query scales is missing, unused or of another shape.
    """
    sources = _position_sources(new, wanted, old, stored)
    kept = {}
    for name, shape in wanted.items():
        found = POSITION.match(name)
        source = name if found is None else sources.get(found[0], "") + name[found.end() :]
        if stored.get(source) == shape:
            kept[name] = source
    for name in sorted((wanted.keys() - kept) | (stored.keys() - set(kept.values()))):
        if not POSITION.match(name) and QUERY_SCALE not in name:
            have, want = stored.get(name, "nothing"), wanted.get(name, "nothing")
            raise ValueError(
                f"train.init_from: {name} is {have} in the origin and {want} in the new model; only the position "
                "method, the query scale and windows may change: leave out what else is set in model."
            )
    return kept


def _position_sources(new: ModelConfig, wanted: Shapes, old: ModelConfig, stored: Shapes) -> dict[str, str]:
    """Where the origin keeps the parameters of each position method of the new model: prefixes of names."""
    sources: dict[str, set[str | None]] = {}
    for layer, ((_, now), (_, then)) in enumerate(zip(new.layers(), old.layers(), strict=True)):
        same = now.position["name"] == then.position["name"]
        if prefix := _prefix(new, layer, wanted):
            sources.setdefault(prefix, set()).add(_prefix(old, layer, stored) if same else None)
    return {prefix: one for prefix, (one, *more) in sources.items() if one and not more}


def _prefix(config: ModelConfig, layer: int, names: Shapes) -> str | None:
    """Where a model keeps the parameters of a layer's position method; None if there are none."""
    kind, _ = config.layers()[layer]
    of_all = "transformer.position." if kind is None else f"transformer.positions.{kind}."
    places = (f"transformer.blocks.{layer}.position.", of_all)
    return next((place for place in places if any(name.startswith(place) for name in names)), None)


def weights_from(model: LanguageModel, origin: Checkpoint) -> dict[str, str]:
    """`kept_weights` of a model and a checkpoint."""
    return kept_weights(model.config, wanted_shapes(model), origin.model_config, stored_shapes(origin.path))


def load_kept(model: LanguageModel, origin: Checkpoint, kept: Mapping[str, str]) -> None:
    """Fill the parameters of `model` that are kept."""
    with open_tensors(origin.path / MODEL) as tensors, torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in kept:
                parameter.copy_(tensors.get_tensor(kept[name]))

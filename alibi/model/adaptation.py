"""An adaptation by its name and settings: read, fitted to a model, written into results, and made into a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch

from alibi.model.adaptation_parts import PARTS, SETTINGS, SINK_TOKENS, TRUNCATION, adapted
from alibi.model.language_model import LanguageModel
from alibi.model.model_config import LayerSettings, ModelConfig
from alibi.model.streaming import streaming_cache
from alibi.positions import build_position
from alibi.positions.scaling import OWN_SETTINGS
from alibi.settings import LARGEST

DEFAULTS = {"sink_tokens": SINK_TOKENS, **OWN_SETTINGS["yarn"]}
BY_FACTOR = ("factor", "temperature")  # numbers that follow from the factor, unless they are set


@dataclass(frozen=True)
class Adaptation:
    """
    Attributes:
        name: parts joined by +, in the order in which they are applied.
        settings: what the user set.
    """

    name: str
    settings: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, wanted: object, key: str = "eval.adapt") -> "Adaptation":
        """
        Args:
            wanted: a name, or a mapping with a name and settings.
            key: for messages.

        Raises:
            ValueError: an unknown name or setting, a value out of range, or parts that cannot be combined.
        """
        values = dict(wanted) if isinstance(wanted, Mapping) else {"name": wanted}
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise ValueError(f"{key} ({wanted!r}) must be a name, or a mapping with one: {{name: yarn, factor: 8}}.")
        for one in name.split("+"):
            if one not in PARTS:
                raise ValueError(f"{key} ({name}): {one!r} is not an adaptation; choose one of: {', '.join(PARTS)}.")
        names = sorted(name.split("+"), key=lambda one: PARTS[one].group)
        for one, other in pairwise(names):
            if PARTS[one].group == PARTS[other].group or other == TRUNCATION:
                raise ValueError(f"{key} ({name}) combines {one} and {other}, which exclude each other; use one.")
        known = [setting for one in names for setting in PARTS[one].settings]
        for setting, value in values.items():
            if setting not in known:
                has = ", ".join(known) or "no settings"
                raise ValueError(f"{key}.{setting} is not a setting of {name}, which has {has}; remove it.")
            whole, least = SETTINGS[setting]
            kinds = (int,) if whole else (int, float)
            if type(value) not in kinds or not least <= value < LARGEST or value == 0:
                rule = f"a {'whole ' if whole else ''}number {f'of at least {least}' if least else 'above 0'}"
                raise ValueError(f"{key}.{setting} ({value!r}) must be {rule}.")
        values = {name: value if SETTINGS[name][0] else float(value) for name, value in values.items()}
        fast, slow = (values.get(one, DEFAULTS[one]) for one in ("beta_fast", "beta_slow"))
        if fast <= slow:
            raise ValueError(f"{key}.beta_slow ({slow:g}) must be below beta_fast ({fast:g}); the paper has 1 and 32.")
        return cls("+".join(names), {one: value for one, value in values.items() if DEFAULTS.get(one) != value})

    def fitted(self, config: ModelConfig, length: int) -> "Adaptation":
        """The adaptation as results of a model call it: pi of slopes is slope_scaling, and defaults are left out.

        Args:
            length: the training length.

        Raises:
            ValueError: it does not fit the model.
        """
        longer = self._shown(config, length)
        for kind, layer in dict(longer.layers()).items():  # a method may refuse what its settings alone do not show
            _check_layer(longer, kind, layer)
        plain = replace(self, settings={name: value for name, value in self.settings.items() if name != "window"})
        by_default = numbers(plain._shown(config, length)).get("window")
        settings = plain.settings if self.settings.get("window") == by_default else self.settings
        scaled = {(layer.position.get("scaling") or {}).get("name") for _, layer in longer.layers()}
        names = ["slope_scaling" if one == "pi" and "slope_scaling" in scaled else one for one in self.name.split("+")]
        return Adaptation("+".join(names), settings)

    def factor(self, length: int, evaluated: int) -> float:
        """The evaluated length over the training length, at least 1; or what the user set."""
        return float(self.settings.get("factor") or max(1.0, evaluated / length))

    def config(self, config: ModelConfig, length: int, evaluated: int) -> ModelConfig:
        """The configuration of the same weights for windows of `evaluated` tokens."""
        settings = {name: value for name, value in self.settings.items() if name != "factor"}
        return adapted(config, self.name, settings | {"length": length}, self.factor(length, evaluated))

    def _shown(self, config: ModelConfig, length: int) -> ModelConfig:
        """At a length at which it changes something: twice the training length."""
        return self.config(config, length, 2 * length)

    def in_file(self, config: ModelConfig, length: int) -> dict[str, Any]:
        """`adapt` of a result file: the name, what the user set, and the numbers that hold at every length."""
        fixed = numbers(self._shown(config, length))
        fixed = {name: value for name, value in fixed.items() if name not in BY_FACTOR or name in self.settings}
        by_length = f"max(1, length / {length})"
        return {
            "name": self.name,
            "factor": by_length,
            "length": length,
            **fixed,
            **self.settings,
            "set": self.settings,
        }

    def in_row(self, config: ModelConfig, length: int, evaluated: int) -> dict[str, float]:
        """`adapt` of a row: its factor, and the numbers that follow from it."""
        return {"factor": self.factor(length, evaluated)} | numbers(self.config(config, length, evaluated))

    def in_words(self, config: ModelConfig, length: int, evaluated: int) -> str:
        """adapted by yarn for 2,048 tokens: factor 4, ...: what holds for the life of a cache."""
        fixed = ", ".join(f"{name} {value:.4g}" for name, value in self.in_row(config, length, evaluated).items())
        return f"adapted by {self.name} for {evaluated:,} tokens: {fixed}"


def _check_layer(config: ModelConfig, kind: str | None, layer: LayerSettings) -> None:
    """
    Raises:
        ValueError: the method refuses its settings, or its bias cannot be counted inside a cache.
    """
    key = f"model.layer_types.{kind}.position" if kind else "model.position"
    position = build_position(layer.position, config.d_model, config.num_heads, config.causal, key)
    if cache := streaming_cache(layer):
        x_BLD = torch.zeros(1, 1, config.d_model)
        bias = position.content_bias(x_BLD, torch.zeros(1, dtype=torch.long), position.remember(x_BLD))
        cache.bias(position.bias() if bias is None else bias, position.name)


def numbers(config: ModelConfig) -> dict[str, float]:
    """What the layers of a configuration have of an adaptation's numbers."""
    found: dict[str, float] = {}
    for _, layer in config.layers():
        position = build_position(layer.position, config.d_model, config.num_heads, config.causal)
        scaling = getattr(position.settings, "scaling", None)
        found |= vars(scaling) if scaling else {}
        found |= {name: getattr(layer, name) for name in ("window", "sink_tokens", "block_keys")}
    return {name: value for name, value in found.items() if value is not None and name not in ("name", "length")}


def same_weights(model: LanguageModel, config: ModelConfig) -> LanguageModel:
    """A model of another configuration that shares the parameters of `model`; for evaluation, without gradients."""
    other = LanguageModel(config, model.vocab_size, seed=0).to(model.device).requires_grad_(False).eval()
    other.transformer.skip_far_keys = model.transformer.skip_far_keys
    parameters = dict(model.named_parameters())
    for name, parameter in other.named_parameters():
        parameter.data = parameters[name].data
    return other


def adapt(model: LanguageModel, wanted: str | Mapping[str, Any], length: int, evaluated: int) -> LanguageModel:
    """A trained model, adapted to longer texts. Both share their parameters.

    Args:
        wanted: a name, or a mapping with a name and settings, {"name": "yarn", "factor": 8}.
        length: the training length.
        evaluated: tokens of the longest text it is for, in one window or in the life of one cache.

    Raises:
        ValueError: an unknown adaptation or setting, or one that does not fit the model.
    """
    adaptation = Adaptation.of(wanted, "wanted").fitted(model.config, length)
    if adaptation.name == TRUNCATION:
        raise ValueError("truncation is for evaluation alone: it cuts windows, and leaves the model as it is.")
    return same_weights(model, adaptation.config(model.config, length, evaluated))

"""Scaling: the same weights at a length of `factor` times the training length, with positions that they know.

With s = factor, L = length and theta_c the frequency of pair c of R turned dimensions, base^(-2c / R):

    pi             theta_c / s; sinusoids: position / s
    ntk            theta_c s^(-2c / (R - 2)): the fastest pair unchanged, the slowest divided by s
    yarn           theta_c (1 - g_c) + theta_c / s * g_c, where g_c rises from 0 at the pair that turns beta_fast times
                   in L to 1 at the pair that turns beta_slow times; scores times (0.1 ln s + 1)^2
    llama3         the same blend, by the wavelength: 0 up to L / 4, 1 from L on, linear in its inverse between
    temperature    no frequency changes; scores times (0.1 ln s + 1)^2, or without positions 1 + 0.412 ln s
    slope_scaling  slopes m_h / s
    ntk_alibi      slopes m_h s^(-r / (H - 1)), r the rank: the steepest (0) unchanged, the flattest divided by s

s depends on the evaluated length alone, and is the same for all tokens and layers.

Source: pi: Chen et al., arXiv 2306.15595. ntk: bloc97, as in x-transformers (`base_rescale_factor`); transformers'
"dynamic" at a fixed length. yarn: Peng et al., arXiv 2309.00071. llama3: Meta's Llama 3.1, as in transformers.
temperature: YaRN's, and without positions DroPE's, arXiv 2512.12167. slope_scaling: Al-Khateeb et al.,
arXiv 2310.13017. ntk_alibi: keezen/ntk_alibi.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from alibi.positions.base import Position
from alibi.settings import check_kinds

NEED_LENGTH = ("yarn", "llama3")
# Settings that one scaling alone has, and their defaults; None: computed from the factor.
OWN_SETTINGS: dict[str, dict[str, float | None]] = {
    "yarn": {"beta_fast": 32.0, "beta_slow": 1.0, "temperature": None},
    "temperature": {"temperature": None},
}
LLAMA3_FAST = 4.0  # turns within the length from which a pair is fast


@dataclass
class Scaling:
    """
    Attributes:
        name: see above.
        factor: the length looked at over the training length, at least 1.
        length: the training length, for yarn and llama3.
        beta_fast, beta_slow: of yarn; None: 32 and 1.
        temperature: of yarn and temperature, what scores are multiplied by; None: by the formula, which the method
            fills in.
    """

    name: str
    factor: float
    length: int | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a value of the wrong type or out of range, or one that this scaling would ignore.
        """
        check_kinds(self, "scaling.")
        if not self.factor >= 1:
            raise ValueError(
                f"scaling.factor ({self.factor}) must be at least 1: it is a longer over a shorter length."
            )
        if self.name in NEED_LENGTH and self.length is None:
            why = "the length before scaling; train.init_from fills it in"
            raise ValueError(f"scaling.length must be given for {self.name}, {why}.")
        if self.length is not None and self.length < 1:
            raise ValueError(f"scaling.length ({self.length}) must be at least 1.")
        own = OWN_SETTINGS.get(self.name, {})
        for name in ("beta_fast", "beta_slow", "temperature"):
            value = getattr(self, name)
            if value is None:
                setattr(self, name, own.get(name))
            elif name not in own:
                raise ValueError(f"scaling.{name} ({value}) would be ignored by {self.name}; remove it.")
            elif not value > 0:
                raise ValueError(f"scaling.{name} ({value}) must be above 0.")
        if self.name == "yarn" and not self.beta_fast > self.beta_slow:
            rule = f"must be above beta_slow ({self.beta_slow}); the paper has 32 and 1"
            raise ValueError(f"scaling.beta_fast ({self.beta_fast}) {rule}.")

    def frequencies(self, frequency_C: Tensor, theta: float) -> Tensor:
        """The frequencies of pairs, theta^(-c / C) or 0, scaled; float64."""
        C = len(frequency_C)
        c = torch.arange(C, dtype=torch.float64)
        if self.name == "pi":
            return frequency_C / self.factor
        if self.name == "ntk":
            return frequency_C * self.factor ** (-c / max(1, C - 1))
        if self.name == "temperature":
            return frequency_C
        slow_C = self._yarn_ramp(c, theta) if self.name == "yarn" else self._llama3_ramp(frequency_C)
        return frequency_C * (1 - slow_C) + frequency_C / self.factor * slow_C

    def _yarn_ramp(self, c: Tensor, theta: float) -> Tensor:
        """The pairs are indexed, not the turns, and its ends are whole indices, as in the authors' code."""
        dimensions = 2 * len(c)

        def pair(turns: float) -> float:
            return dimensions * math.log(self.length / (2 * math.pi * turns)) / (2 * math.log(theta))

        low = max(math.floor(pair(self.beta_fast)), 0)
        high = min(math.ceil(pair(self.beta_slow)), dimensions - 1)
        return ((c - low) / (high - low or 0.001)).clamp(0, 1)

    def _llama3_ramp(self, frequency_C: Tensor) -> Tensor:
        turns_C = frequency_C * self.length / (2 * math.pi)
        return 1 - ((turns_C - 1) / (LLAMA3_FAST - 1)).clamp(0, 1)

    def slopes(self, slopes_H: Tensor) -> Tensor:
        """The slopes of linear biases, scaled; float64."""
        if self.name == "slope_scaling":
            return slopes_H / self.factor
        rank_H = slopes_H.argsort(descending=True, stable=True).argsort()
        return slopes_H * self.factor ** (-rank_H.double() / (len(slopes_H) - 1))


@dataclass
class ScaledSettings(Position.Settings):
    """Settings of a method whose positions can be scaled.

    Attributes:
        scaling: a mapping, {name: yarn, factor: 4.0, length: 512}; None: none.
        scalings: the names that the method knows.
        temperature: step and power of the formula, (step ln s + 1)^power.
    """

    scalings: ClassVar[tuple[str, ...]] = ()
    temperature: ClassVar[tuple[float, int]] = (0.1, 2)
    scaling: Any = field(default=None, kw_only=True)

    def check(self) -> None:
        if self.scaling is None or isinstance(self.scaling, Scaling):
            return
        known = ", ".join(self.scalings)
        form = f"must be a mapping with a name ({known}) and a factor, {{name: {self.scalings[0]}, factor: 4.0}}"
        if not isinstance(self.scaling, dict) or not {"name", "factor"} <= self.scaling.keys():
            raise ValueError(f"scaling ({self.scaling!r}) {form}.")
        if self.scaling["name"] not in self.scalings:
            raise ValueError(f"scaling.name ({self.scaling['name']!r}) must be one of: {known}.")
        has = vars(Scaling)["__dataclass_fields__"]
        if unknown := sorted(self.scaling.keys() - has.keys()):
            raise ValueError(
                f"scaling.{unknown[0]} is not a setting of a scaling, which has {', '.join(has)}; remove it."
            )
        scaling = self.scaling = Scaling(**self.scaling)
        if scaling.temperature is None and "temperature" in OWN_SETTINGS.get(scaling.name, {}):
            step, power = self.temperature
            scaling.temperature = (step * math.log(scaling.factor) + 1) ** power

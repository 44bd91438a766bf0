"""xPos: rotary, and each pair of dimensions also decays with the distance, the fast pairs most.

    query pair c at i: turned by i * theta^(-2c / K), times zeta_c^(i / scale_base)
    key pair c at j:   turned by j * theta^(-2c / K), times zeta_c^(-j / scale_base)
    zeta_c = (2c / K + gamma) / (1 + gamma), for c < K/2

Enters attention before the dot product, in every layer; the product decays by zeta_c^((i - j) / scale_base). Nothing
is learned. A later key would grow with its distance, so the method is for causal models alone.

Powers of the position leave float32 in the end. At gamma 0.4 and scale_base 512, the largest is 7e34 at position
32,768, and infinite from 36,261 on. So texts above 32,768 tokens are refused; at this gamma, any above 64 * scale_base.

Source: Sun et al., "A Length-Extrapolatable Transformer", arXiv 2212.10554, with the constants of torchscale's
`XPos`. Deviations: powers count from position 0, torchscale's from the middle of the current length, where cached
keys would not fit later queries; without a cache the scores are the same. Pairs are (c, c + K/2), a permutation of
neighbours. The paper's blockwise causal attention at evaluation is not part of the method here.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.positions.base import Position, Turn
from alibi.positions.rotation import RotarySettings, check_even, frequencies, rotation

# The logarithm of 7e34, the largest power: keys up to 5,000 then fit float32. With the paper's zeta_0, 0.4 / 1.4, it is
# reached after 64 * scale_base tokens.
LARGEST_LOG_POWER = 64 * math.log(1.4 / 0.4)


class XPos(Position, name="xpos"):
    causal_only = True

    @dataclass
    class Settings(RotarySettings):
        """
        Attributes:
            scale_base: distance over which pair c decays by zeta_c.
            gamma: the smaller, the faster the decay; zeta_0 is gamma / (1 + gamma).
        """

        scale_base: float = 512.0
        gamma: float = 0.4

        def check(self) -> None:
            super().check()
            for name, paper in (("scale_base", 512), ("gamma", 0.4)):
                if not getattr(self, name) > 0:
                    raise ValueError(f"{name} ({getattr(self, name)}) must be above 0; the paper uses {paper}.")

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_even(self.d_model, self.num_heads)

    @property
    def longest(self) -> int:
        """Tokens of the longest text whose powers float32 can hold."""
        return round(LARGEST_LOG_POWER / math.log1p(1 / self.settings.gamma) * self.settings.scale_base)

    def turn_query(self, positions: Tensor) -> Turn:
        return self._turn(positions, 1.0)

    def turn_key(self, positions: Tensor) -> Turn:
        return self._turn(positions, -1.0)

    def _turn(self, positions: Tensor, sign: float) -> Turn:
        """
        Raises:
            ValueError: a position at which the powers may overflow.
        """
        if (positions >= self.longest).any():
            raise ValueError(
                f"length {positions.max() + 1} is above {self.longest}, the longest for xpos with scale_base "
                f"{self.settings.scale_base}: its powers of the position overflow float32 beyond; use lengths up to "
                f"{self.longest}, or another method, such as rotary."
            )
        gamma, K = self.settings.gamma, self.head_dim
        zeta_C = (torch.arange(0, K, 2, dtype=torch.float64) / K + gamma) / (1 + gamma)
        log_scale_C = sign / self.settings.scale_base * zeta_C.log()
        return rotation(positions, frequencies(self.settings.theta, K), log_scale_C)

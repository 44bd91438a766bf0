"""The interface of a position method: hooks, which do nothing by default.

A method enters the model in at most three places, the last of which has two hooks (`distance_bias` and `bias`):

    embed     x_BLD           added to the token embeddings
    rotate    query, key      rotates queries and keys before their dot product
    bias      scores_BHLM     added to query . key / sqrt(head_dim)

Every hook gets explicit positions, (L,) or (B, L), and no maximum length: nothing here depends on the
training length, and no state grows with length. A method is one file in this folder, a class with a
`name`, and one YAML in configs/model. It imports only torch, math, dataclasses and this module.

Legend: B batch, L queries, M keys, D d_model, H heads, K head_dim, R any shape of distances.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

# Integers in settings stay below this: some JSON readers turn larger ones into floats and round them.
LARGEST = 2**53
# Rotates queries or keys (B, H, L, K); shape and dtype stay the same.
Turn = Callable[[Tensor], Tensor]


class DistanceBias:
    """A score bias that depends only on the distance i - j, so that O(L) numbers describe all L x M.

    Attributes:
        constant_from: all distances from this one on have the same bias, so the gradient of a learned bias
            can be computed without visiting their keys; None if there is no such distance.
    """

    constant_from: ClassVar[int | None] = None

    def at(self, distance: Tensor) -> Tensor:
        """Bias at signed distances, query position minus key position.

        Args:
            distance: integers of any shape R.

        Returns:
            (H, *R), float32 or wider (bf16 cannot hold distances above 256); attention casts it once.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class LinearBias(DistanceBias):
    """-slope * |i - j|. Symmetric, so it works for encoders too; causal attention sees only one side."""

    slopes: tuple[float, ...]

    def at(self, distance: Tensor) -> Tensor:
        # float64, so that the single cast in attention rounds correctly at any length.
        slopes_H = torch.tensor(self.slopes, dtype=torch.float64, device=distance.device)
        return -slopes_H.reshape(-1, *[1] * distance.dim()) * distance.abs()


class Position(nn.Module):
    """Base class of all position methods.

    A subclass registers itself by name: `class Rotary(Position, name="rotary")`. The method's own
    settings are keyword-only arguments of its `__init__`, with defaults; the YAML gives their values.
    """

    registry: ClassVar[dict[str, type["Position"]]] = {}
    name: str

    def __init_subclass__(cls, name: str, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        if name in Position.registry:
            raise ValueError(f"position method {name!r} is registered twice; choose another name.")
        cls.name = name
        Position.registry[name] = cls

    def __init__(self, d_model: int, num_heads: int, causal: bool) -> None:
        super().__init__()
        self.d_model = d_model
        self.num_heads = num_heads
        self.causal = causal

    def initialise(self, generator: torch.Generator) -> None:
        """Initialise the method's own parameters, if it has any."""

    def embed(self, x_BLD: Tensor, positions: Tensor) -> Tensor:
        """Token embeddings (B, L, D), already scaled, with the position added."""
        return x_BLD

    def rotate(self, positions: Tensor) -> Turn | None:
        """The rotation of queries, and of keys, at `positions`.

        Called once per forward pass; every block uses the result.

        Returns:
            A function from (B, H, L, K) to the same shape and dtype, or None for no rotation.
        """
        return None

    def distance_bias(self) -> DistanceBias | None:
        """The score bias if it depends only on the distance. Preferred: memory stays O(L)."""
        return None

    def has_bias(self) -> bool:
        """Whether the method adds anything to the scores."""
        return type(self).bias is not Position.bias or self.distance_bias() is not None

    def bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """The whole score bias, (H, L, M) or (B, H, L, M). Override it only if no DistanceBias fits.

        Args:
            query_positions: integers, (L,) or (B, L).
            key_positions: integers, (M,) or (B, M).
        """
        description = self.distance_bias()
        if description is None:
            return None
        distance = query_positions[..., :, None] - key_positions[..., None, :]
        bias = description.at(distance)
        return bias.transpose(0, 1) if distance.dim() == 3 else bias


def build_position(values: dict, d_model: int, num_heads: int, causal: bool) -> Position:
    """Build the method named in `values`, such as `{"name": "rotary", "theta": 10000.0}`.

    Raises:
        ValueError: unknown method or setting, or a value of the wrong type, not finite or too large.
    """
    settings = dict(values)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in Position.registry:
        known = ", ".join(sorted(Position.registry))
        raise ValueError(f"model.position.name ({name!r}) is not a position method; choose one of: {known}.")
    method = Position.registry[name]
    parameters = inspect.signature(method).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    if unknown := sorted(set(settings) - set(known)):
        has = ", ".join(known) if known else "no settings of its own"
        raise ValueError(f"model.position.{unknown[0]} is not a setting of {name}, which has {has}; remove it.")
    for setting, value in settings.items():
        wanted = (int, float) if isinstance(known[setting], float) else type(known[setting])
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(known[setting], bool):
            raise ValueError(
                f"model.position.{setting} ({value}) must be a {type(known[setting]).__name__}, not a "
                f"{type(value).__name__}; its default is {known[setting]}."
            )
        if isinstance(value, int | float) and not abs(value) < (LARGEST if isinstance(value, int) else math.inf):
            rule = f"finite, and below 2**53 ({LARGEST}) if it is whole"
            raise ValueError(f"model.position.{setting} ({value}) must be {rule}; its default is {known[setting]}.")
    return method(d_model, num_heads, causal, **settings)

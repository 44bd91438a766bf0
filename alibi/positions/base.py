"""What a position method may do to a transformer: three hooks, all no-ops here.

A method enters the model in at most three places:

    embed     x_BLD           what is added to the token embeddings
    rotate    query, key      how queries and keys are turned before their dot product
    bias      scores_BHLM     what is added to query . key / sqrt(head_dim)

Every hook is given explicit positions, (L,) or (B, L), and never a maximum length: nothing here
depends on the length seen in training and no state grows with length. A method is one file in this
folder, a class with a `name`, and one YAML in configs/model; it imports torch, math, dataclasses
and this module, nothing else.

Legend: B batch, L queries, M keys, D d_model, H heads, K head_dim, R any shape of distances.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

# Whole numbers of settings stay below this: readers of JSON hold larger ones as floats, which round them.
LARGEST = 2**53
# Turns queries or keys (B, H, L, K) to the same shape and dtype.
Turn = Callable[[Tensor], Tensor]


class DistanceBias:
    """A score bias that depends on the distance i - j alone: O(L) numbers describe all L x M of it.

    Attributes:
        constant_from: distances of this size and above share one bias, so that a learned bias need not
            visit their keys for its gradient; None where no such distance exists.
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
    """-slope * |i - j|: symmetric, hence right for encoders too; causal attention sees one side."""

    slopes: tuple[float, ...]

    def at(self, distance: Tensor) -> Tensor:
        # float64, so that the one cast in attention gives the correctly rounded value at any length.
        slopes_H = torch.tensor(self.slopes, dtype=torch.float64, device=distance.device)
        return -slopes_H.reshape(-1, *[1] * distance.dim()) * distance.abs()


class Position(nn.Module):
    """Base of every position method, and the whole of the method `none`.

    A subclass registers itself by its name: `class Rotary(Position, name="rotary")`. What belongs
    to the method alone is a keyword of its `__init__`, with a default; the YAML gives the value.
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
        """Draw the method's own parameters, if it has any."""

    def embed(self, x_BLD: Tensor, positions: Tensor) -> Tensor:
        """Token embeddings (B, L, D), already scaled, with the position added."""
        return x_BLD

    def rotate(self, positions: Tensor) -> Turn | None:
        """The turn applied to queries, and to keys, that stand at `positions`.

        Called once per forward pass and used by every block.

        Returns:
            A function from (B, H, L, K) to the same shape and dtype, or None for no turn.
        """
        return None

    def distance_bias(self) -> DistanceBias | None:
        """The score bias, where it depends on the distance alone. Preferred: attention stays O(L)."""
        return None

    def has_bias(self) -> bool:
        """Whether the method adds anything to the scores."""
        return type(self).bias is not Position.bias or self.distance_bias() is not None

    def bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """The score bias in full, (H, L, M) or (B, H, L, M). Override it only where no DistanceBias fits.

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
    """Make the method that `values` names, `{"name": "rotary", "theta": 10000.0}`.

    Raises:
        ValueError: unknown method, a setting that the method does not have, or a value of another kind, not finite or
            too large.
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

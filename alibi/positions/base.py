"""The interface of a position method: its hooks, which do nothing by default, and the kinds of bias they may return.

A method says what is added or turned. Attention alone knows kernels, gradients, masks, caches and which keys are too
far away to matter. A method may enter in four places:

    embed                          x_BLD           added to the token embeddings
    turn_query, turn_key           q_BHLK, k_BHMK  turned before their dot product
    bias, remember + content_bias  scores_BHLM     added to query . key / sqrt(head_dim)
    head_windows                   scores_BHLM     keys that a head does not see

Hooks get explicit positions, integers (L,) or (B, L), and no length: what a method does at a position must not depend
on how long the text is. They run with autocast off, in float32 or wider. A method is one file in this folder, a class
with a name, and one YAML in configs/model. It imports torch, math, dataclasses, typing, this module and `rotation`.

Legend: B batch, L queries, N new keys, M keys, D d_model, H heads, K head_dim, C queries of a block, E extent of a
table, R any shape of distances or any number of things remembered.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor, nn

from alibi.settings import check_kinds

# Turns queries or keys, (B, H, L, K) to (B, H, L, K'), keeping the dtype. The scale of scores stays 1 / sqrt(K).
Turn = Callable[[Tensor], Tensor]


class DistanceBias:
    """A bias that depends only on the distance i - j: O(L) numbers describe all L x M.

    Attributes:
        constant_from: all distances from this one on have the same bias, so the gradient of a learned bias
            can be computed without visiting their keys; None if there is no such distance.
    """

    constant_from: int | None = None

    def at(self, distance: Tensor) -> Tensor:
        """Bias at signed distances, query position minus key position.

        Args:
            distance: integers of any shape R; not negative in a causal model.

        Returns:
            (H, *R), differentiable, float32 or wider (bf16 cannot hold distances above 256).
        """
        raise NotImplementedError


@dataclass(frozen=True)
class LinearBias(DistanceBias):
    """-slope * |i - j|. Symmetric, so it works for encoders too; causal attention sees only one side."""

    slopes_H: Tensor

    def at(self, distance: Tensor) -> Tensor:
        # float64, so that the single cast in attention rounds correctly at any length.
        slopes_H = self.slopes_H.to(distance.device, torch.float64)
        return -slopes_H.reshape(-1, *[1] * distance.dim()) * distance.abs()


@dataclass(frozen=True)
class DecayBias:
    """gain_i times the sum of log_decay over the tokens j + 1 .. i; causal models only.

    Attributes:
        log_decay_BHM: at most 0, one number a token and head. Attention takes padding for 0 and sums in float64.
        gain_BHL: at least 0; None: 1.
    """

    log_decay_BHM: Tensor
    gain_BHL: Tensor | None = None


@dataclass(frozen=True)
class QueryTableBias:
    """table[i, i - j] for distances below E, and 0 from there on; causal models only."""

    table_BHLE: Tensor


@dataclass(frozen=True)
class PairBias:
    """Any bias of two positions, computed again for every block of queries and keys: for what is no other kind.

    Attributes:
        at: (i, j, *parameters) -> a shape that broadcasts to (B, H, C, N), where i (1 or B, 1, C, 1) and j
            (1 or B, 1, 1 or C, N) are the positions of queries and keys, so that i - j is all their distances. In a
            causal model i - j is never negative: a later key, which is hidden, gets the query's own position.
        parameters: what `at` computes gradients for; it must reach them through its arguments alone.
    """

    at: Callable[..., Tensor]
    parameters: tuple[Tensor, ...] = ()


Bias = DistanceBias | DecayBias | QueryTableBias | PairBias


class Position(nn.Module):
    """Base class of all position methods.

    A subclass registers itself by name: `class Rotary(Position, name="rotary")`. Its settings are the fields of its
    `Settings`, a dataclass that extends this one's, with defaults; the YAML gives their values. A method with
    parameters has a field `shared`: one set for all layers, or one for each.

    Args:
        settings: None: the defaults.

    Attributes:
        causal_only: the method has no meaning in an encoder, which is refused.
        counts_positions: False where the method adds and turns nothing by positions or distances.
        scales_queries: the method multiplies queries by a factor that grows with the text.
        shift_invariant: moving all positions by the same number changes nothing.
        longest: tokens of the longest text that the method can take; None: any.
    """

    @dataclass
    class Settings:
        def __post_init__(self) -> None:
            check_kinds(self)
            self.check()

        def check(self) -> None:
            """Check the ranges; a message begins with the setting's name, `build_position` adds its full key.

            Raises:
                ValueError: a value out of range.
            """

    registry: ClassVar[dict[str, type["Position"]]] = {}
    name: ClassVar[str]
    causal_only: ClassVar[bool] = False
    counts_positions: ClassVar[bool] = True
    scales_queries: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    longest: int | None = None

    def __init_subclass__(cls, name: str, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        if name in Position.registry:
            raise ValueError(f"position method {name!r} is registered twice; choose another name.")
        if "__dataclass_fields__" not in vars(cls.Settings):
            raise ValueError(f"the Settings of position method {name!r} need @dataclass before `class Settings`.")
        for old, new in (("rotate", "turn_query"), ("distance_bias", "bias")):
            if hasattr(cls, old):
                raise ValueError(f"position method {name!r} has `{old}`, which nothing calls; it is `{new}` now.")
        cls.name = name
        Position.registry[name] = cls

    def __init__(self, d_model: int, num_heads: int, causal: bool, settings: Settings | None = None) -> None:
        super().__init__()
        self.d_model, self.num_heads, self.head_dim = d_model, num_heads, d_model // num_heads
        self.causal = causal
        self.settings = self.Settings() if settings is None else settings
        if self.causal_only and not causal:
            raise ValueError(f"{self.name} is for causal models alone; set causal=True, or choose another method.")

    @property
    def shared(self) -> bool:
        """Whether all layers use one module; so does a method without parameters."""
        return getattr(self.settings, "shared", None) in (None, True)

    def initialise(self, generator: torch.Generator) -> None:
        """Set all parameters of the method, those of its submodules included; nothing else touches them."""
        if list(self.parameters()):
            raise ValueError(f"{self.name} has parameters; its `initialise` must set them all.")

    def embed(self, x_BLD: Tensor, positions: Tensor) -> Tensor:
        """Token embeddings (B, L, D), already scaled, with the position added."""
        return x_BLD

    def turn_query(self, positions: Tensor) -> Turn | None:
        """How queries at `positions` are turned; None: not at all. Called once a forward pass and layer, or once a
        pass if the method is shared."""
        return None

    def turn_key(self, positions: Tensor) -> Turn | None:
        """How keys are turned; as queries by default."""
        return self.turn_query(positions)

    def head_windows(self) -> tuple[int | None, ...] | None:
        """How many keys each head sees, the query's own counted; None: all of them."""
        return None

    def bias(self) -> Bias | None:
        """The score bias if it does not depend on the content; once a pass if the method is shared."""
        return None

    def remember(self, x_BND: Tensor) -> Tensor | None:
        """(B, R, N): what `content_bias` needs of each key, from the attention's input; the cache keeps it."""
        return None

    def content_bias(self, x_BLD: Tensor, positions: Tensor, remembered_BRM: Tensor | None) -> Bias | None:
        """The score bias if it depends on the content; a method has this or `bias`.

        Args:
            x_BLD: the attention's input at the queries.
            positions: of the queries.
            remembered_BRM: of all keys.
        """
        return None


def build_position(values: dict, d_model: int, num_heads: int, causal: bool, key: str = "model.position") -> Position:
    """Build the method named in `values`, such as `{"name": "rotary", "theta": 10000.0}`.

    Args:
        key: full name of these settings, for messages.

    Raises:
        ValueError: unknown method or setting, or a value that the method refuses.
    """
    settings = dict(values)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in Position.registry:
        known = ", ".join(sorted(Position.registry))
        raise ValueError(f"{key}.name ({name!r}) is not a position method; choose one of: {known}.")
    method = Position.registry[name]
    known = [one.name for one in fields(method.Settings)]
    if unknown := sorted(set(settings) - set(known)):
        has = ", ".join(known) or "no settings of its own"
        raise ValueError(f"{key}.{unknown[0]} is not a setting of {name}, which has {has}; remove it.")
    try:
        return method(d_model, num_heads, causal, method.Settings(**settings))
    except ValueError as error:
        of_setting = str(error).split(" ", 1)[0].split(".")[0] in known
        raise ValueError(f"{key}.{error}" if of_setting else str(error)) from error

"""What the stack is given in its tests: position methods and their settings, tokens, padding and its positions."""

import pytest
import torch

from alibi.positions import Position

METHODS = sorted(Position.registry)
# One for each way into attention, for tests that would take minutes with all.
ONE_A_KIND = [
    *("none", "sinusoidal", "rotary", "xpos", "pope", "alibi", "alibi_learned", "t5", "kerple_log", "fire"),
    *("fox", "cable", "inkling", "hard_alibi"),
]
# What a method adds does not depend on positions, only on the order of tokens.
WITHOUT_POSITIONS = {"none", "fox", "cable", "hard_alibi"}
# A method that knows where the text begins; to the others padding on the left is nothing.
ABSOLUTE = {"sinusoidal", "fire", "inkling"}
# For heads of width 4 and some tens of tokens, where a default is refused or has no effect.
SETTINGS = {
    "fire": {"threshold": 8.0},
    "inkling": {"extent": 20, "scale_length": 30, "rank": 3},
    "rotary_partial": {"fraction": 0.5},
}


def settings_of(method: str) -> dict:
    """`model.position` of a method."""
    return {"name": method, **SETTINGS.get(method, {})}


def both_ways(methods: list[str]) -> pytest.MarkDecorator:
    """A test of each method in a causal model, and in an encoder if it can be in one."""
    ways = [
        pytest.param(method, causal, id=f"{method}-{'causal' if causal else 'encoder'}")
        for method in methods
        for causal in ([True] if Position.registry[method].causal_only else [True, False])
    ]
    return pytest.mark.parametrize(("method", "causal"), ways)


def tokens(stack, length: int, batch: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, length, stack.d_model, generator=torch.Generator().manual_seed(seed))


def left_padding(lengths: list[int], width: int) -> torch.Tensor:
    return torch.arange(width) < width - torch.tensor(lengths)[:, None]


def positions_of(padding_BL: torch.Tensor) -> torch.Tensor:
    """Counted from the first real token; padding stands at 0."""
    return ((~padding_BL).cumsum(1) - 1).clamp(min=0)

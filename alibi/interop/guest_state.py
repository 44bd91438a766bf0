"""The state that a forward pass leaves in a model of transformers, and its reset.

A dynamic rotary table keeps the frequencies of the longest input so far, longrope switches between two sets in place,
other models keep a recurrent state or change their kind of attention. Which attributes these are depends on
architecture and release, so all are reset: attributes, buffers and submodules of every module. Weights and
configurations stay the same objects.
"""

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map


class GuestState:
    """The state of a model at the time of construction."""

    def __init__(self, model: nn.Module) -> None:
        self.saved = [(vars(module), _copied(vars(module))) for module in model.modules()]

    def restore(self) -> None:
        """Put the model back into that state."""
        for attributes, saved in self.saved:
            attributes.clear()
            attributes.update(_copied(saved))


def _copied(value: Any) -> Any:
    """A copy of containers and tensors; weights, modules, configurations and anything else as they are."""

    def leaf(inner: Any) -> Any:
        if isinstance(inner, Tensor) and not isinstance(inner, nn.Parameter):
            return inner.clone()
        return inner.copy() if isinstance(inner, set) else inner

    return tree_map(leaf, value)

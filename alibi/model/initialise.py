"""Initial values: every module draws from a generator keyed by its name.

So two models of the same shape and seed have bit-identical values in every parameter that both
have, whatever else either of them has, and in whatever order their modules were made.
"""

import hashlib
import math

import torch
from torch import nn

from alibi.model.adaptive import BandProjection
from alibi.model.embeddings import TokenEmbedding
from alibi.model.output import SoftmaxOutput
from alibi.model.query_scale import QueryScale
from alibi.positions import Position


def named_generator(seed: int, name: str) -> torch.Generator:
    """A generator for one name; on the CPU, so that values do not depend on the device."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


@torch.no_grad()
def initialise(model: nn.Module, seed: int, num_layers: int) -> None:
    """Initialise the parameters of `model`, which must be on the CPU.

    Linear layers: N(0, 1 / inputs), which keeps unit variance; the two that write to the residual
    stream are divided by sqrt(2 * num_layers), so that the sum over all blocks has unit variance
    (Radford et al., "Language Models are Unsupervised Multitask Learners", section 2.3). Token embeddings: their own
    `std`; other embeddings and an untied output layer: N(0, 1 / width). Biases 0, norms 1. Band projections, query
    scales and position methods initialise themselves, all of their modules included.
    """
    drawn = set()  # tied weights occur twice
    of_positions = {part for one in model.modules() if isinstance(one, Position) for part in one.modules()}
    for name, module in model.named_modules():
        generator = named_generator(seed, name)
        if isinstance(module, Position):
            _initialise_position(module, generator)
        elif isinstance(module, BandProjection):
            module.initialise(generator)
        elif isinstance(module, QueryScale):
            module.initialise()
        elif module in of_positions:
            continue
        elif isinstance(module, nn.Linear):
            writes_residual = name.endswith(("attention.output", "feed_forward.down"))
            scale = (2 * num_layers) ** -0.5 if writes_residual else 1.0
            nn.init.normal_(module.weight, std=scale * module.in_features**-0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding | SoftmaxOutput) and module.weight not in drawn:
            std = module.std if isinstance(module, TokenEmbedding) else module.weight.shape[1] ** -0.5
            nn.init.normal_(module.weight, std=std, generator=generator)
            drawn.add(module.weight)


def _initialise_position(position: Position, generator: torch.Generator) -> None:
    """
    Raises:
        ValueError: the method leaves a parameter as it was.
    """
    for parameter in position.parameters():
        parameter.fill_(math.nan)
    position.initialise(generator)
    for name, parameter in position.named_parameters():
        if not parameter.is_meta and parameter.isnan().any():
            raise ValueError(f"{position.name} does not set its parameter {name}; its `initialise` must set them all.")


def draw_seed() -> int:
    """A seed from torch's global generator: without a seed of its own, a model follows torch.manual_seed."""
    return int(torch.randint(2**62, ()))

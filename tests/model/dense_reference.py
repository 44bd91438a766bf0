"""The whole model once more, written out densely in float64, for comparison.

Shares with the code under test the parameters and torch's linear layers and norms. The (L, L) scores, the mask and
the softmax are written out here, the position formulas in tests/positions/references.py.
"""

import copy
import math

import torch
from references import REFERENCES
from torch import Tensor
from torch.nn import functional as F

from alibi.model import LanguageModel, ModelConfig
from alibi.model.transformer import Transformer


def random_model(
    method: str,
    num_heads: int = 6,
    causal: bool = True,
    d_model: int | None = None,
    vocab_size: int = 50,
    seed: int = 0,
    **values,
) -> LanguageModel | Transformer:
    """A language model, or an encoder's stack, with attention far from uniform and no norm at one."""
    config = ModelConfig(
        position={"name": method},
        d_model=d_model or 4 * num_heads,
        num_heads=num_heads,
        causal=causal,
        **{"num_layers": 2, "d_ff": 32, "bias": True, **values},
    )
    model = LanguageModel(config, vocab_size, seed) if causal else Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name or name.endswith("bias"):
                parameter.copy_(name.endswith("weight") + 0.3 * noise)
            elif not causal:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            if name.endswith(("query.weight", "key.weight")):
                parameter.mul_(2)
            if "table" in name:
                parameter.copy_(noise)
    return model.eval()


def stack_of(model: LanguageModel | Transformer) -> Transformer:
    return model.transformer if isinstance(model, LanguageModel) else model


def in_float64(model):
    return copy.deepcopy(model).double()


def reference_hidden(
    stack: Transformer, x_BLD: Tensor, positions: Tensor | None = None, padding_BL: Tensor | None = None
) -> Tensor:
    """Hidden states of a stack whose parameters, like x, are float64."""
    B, L, D = x_BLD.shape
    positions = torch.arange(L) if positions is None else positions
    H = stack.blocks[0].attention.num_heads
    distance = positions[..., :, None] - positions[..., None, :]
    hidden_BLL = torch.zeros(B, L, L, dtype=torch.bool)
    if stack.causal:
        hidden_BLL |= torch.ones(L, L, dtype=torch.bool).triu(1)
    if padding_BL is not None:
        hidden_BLL |= padding_BL[:, None, :] & ~torch.eye(L, dtype=torch.bool)
    method, position = REFERENCES[stack.position.name], stack.position
    bias = method.bias(position, distance, H)
    x_BLD = x_BLD + method.embedding(position, positions, D)
    for block in stack.blocks:
        h_BLD = block.attention_norm(x_BLD)
        attention = block.attention
        q, k, v = (
            layer(h_BLD).reshape(B, L, H, D // H).transpose(1, 2)
            for layer in (attention.query, attention.key, attention.value)
        )
        q, k = (method.turn(position, t, positions) for t in (q, k))
        scores = torch.einsum("bhlk,bhmk->bhlm", q, k) / math.sqrt(D // H) + bias
        weights = scores.masked_fill(hidden_BLL[:, None], -math.inf).softmax(-1)
        x_BLD = x_BLD + attention.output(torch.einsum("bhlm,bhmk->blhk", weights, v).reshape(B, L, D))
        feed = block.feed_forward
        x_BLD = x_BLD + feed.down(F.gelu(feed.up(block.feed_forward_norm(x_BLD))))
    return stack.final_norm(x_BLD)

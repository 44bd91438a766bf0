"""The whole model once more, written out densely in float64, for comparison.

Shares with the code under test the parameters and torch's linear layers and norms. Position
formulas, the (L, L) scores, the mask and the softmax are written here anew.
"""

import copy
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from alibi.model import LanguageModel, ModelConfig
from alibi.model.transformer import Transformer

PAPER_METHODS = ["alibi", "none", "rotary", "sinusoidal", "t5"]


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


def reference_slopes(num_heads: int) -> list[float]:
    below = 1 << (num_heads.bit_length() - 1)
    extra = range(1, 2 * (num_heads - below), 2)
    return [2 ** (-8 * h / below) for h in range(1, below + 1)] + [2 ** (-4 * h / below) for h in extra]


def reference_bucket(distance: Tensor, num_buckets: int, max_distance: int, causal: bool) -> Tensor:
    """Bucket e + k begins at the smallest d with (d / e)^(n - e) >= (max / e)^k, found in whole numbers."""
    n = num_buckets if causal else num_buckets // 2
    e = n // 2
    begins = list(range(1, e))
    for k in range(n - e):
        begins.append(next(d for d in range(e, max_distance) if d ** (n - e) * e**k >= max_distance**k * e ** (n - e)))
    size = distance.clamp(min=0) if causal else distance.abs()
    bucket = torch.searchsorted(torch.tensor(begins), size.contiguous(), right=True)
    return bucket if causal else bucket + n * (distance < 0)


def reference_bias(stack: Transformer, distance: Tensor, num_heads: int) -> Tensor | float:
    """(..., H, L, M) from distances (..., L, M)."""
    position = stack.position
    if position.name == "alibi":
        slopes = torch.tensor(reference_slopes(num_heads), dtype=torch.float64)
        return -slopes[:, None, None] * distance.abs()[..., None, :, :]
    if position.name == "t5":
        bucket = reference_bucket(distance, position.table.shape[0], position.max_distance, stack.causal)
        return position.table[bucket].movedim(-1, -3)
    return 0.0


def reference_turn(x_BHLK: Tensor, positions: Tensor, theta: float) -> Tensor:
    K = x_BHLK.shape[-1]
    frequency = torch.tensor([theta ** (-2 * k / K) for k in range(K // 2)], dtype=torch.float64)
    angle = positions[..., None, :, None] * frequency
    first, second = x_BHLK.chunk(2, dim=-1)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], dim=-1)


def reference_sinusoids(positions: Tensor, d_model: int, theta: float) -> Tensor:
    half = d_model // 2
    frequency = torch.tensor([theta ** (-k / (half - 1)) for k in range(half)], dtype=torch.float64)
    return torch.cat([(positions[..., None] * frequency).sin(), (positions[..., None] * frequency).cos()], dim=-1)


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
    bias = reference_bias(stack, distance, H)
    if stack.position.name == "sinusoidal":
        x_BLD = x_BLD + reference_sinusoids(positions, D, stack.position.theta)
    for block in stack.blocks:
        h_BLD = block.attention_norm(x_BLD)
        attention = block.attention
        q, k, v = (
            layer(h_BLD).reshape(B, L, H, D // H).transpose(1, 2)
            for layer in (attention.query, attention.key, attention.value)
        )
        if stack.position.name == "rotary":
            q, k = (reference_turn(t, positions, stack.position.theta) for t in (q, k))
        scores = torch.einsum("bhlk,bhmk->bhlm", q, k) / math.sqrt(D // H) + bias
        weights = scores.masked_fill(hidden_BLL[:, None], -math.inf).softmax(-1)
        x_BLD = x_BLD + attention.output(torch.einsum("bhlm,bhmk->blhk", weights, v).reshape(B, L, D))
        feed = block.feed_forward
        x_BLD = x_BLD + feed.down(F.gelu(feed.up(block.feed_forward_norm(x_BLD))))
    return stack.final_norm(x_BLD)

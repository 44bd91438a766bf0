"""The whole model once more, written out densely in float64, for comparison.

Shares with the code under test the parameters, torch's linear layers and norms, and what a position method returns,
whose formula is tested in tests/positions. Masks, the (L, L) scores and the softmax are written out here.

Legend: B batch, L tokens, D d_model, H heads, K head_dim.
"""

import copy
import math

import torch
from dense_bias import bias_of, dense_bias
from torch import Tensor
from torch.nn import functional as F

from alibi.model import LanguageModel, ModelConfig
from alibi.model.model_config import LayerSettings
from alibi.model.transformer import Block, Transformer
from alibi.positions import Position, QueryTableBias


def random_model(
    method: str | dict | None,
    num_heads: int = 6,
    causal: bool = True,
    d_model: int | None = None,
    vocab_size: int = 50,
    seed: int = 0,
    **values,
) -> LanguageModel | Transformer:
    """A language model, or an encoder's stack, with attention far from uniform, no norm at one, and no parameter of
    a position method where it started."""
    config = ModelConfig(
        position={"name": method} if isinstance(method, str) else method,
        d_model=d_model or 4 * num_heads,
        num_heads=num_heads,
        causal=causal,
        **{"num_layers": 2, "d_ff": 32, "bias": True, **values},
    )
    return randomised(LanguageModel(config, vocab_size, seed) if causal else Transformer(config), seed)


def randomised(model: LanguageModel | Transformer, seed: int = 0) -> LanguageModel | Transformer:
    """The model with other parameters; those of a bare stack are set from nothing."""
    generator = torch.Generator().manual_seed(seed)
    methods = [module for module in model.modules() if isinstance(module, Position)]
    with torch.no_grad():
        if not stack_of(model).causal:
            for method in methods:
                method.initialise(generator)
        own = {parameter for method in methods for parameter in method.parameters()}
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter in own:
                parameter.add_(0.3 * noise)
            elif "norm" in name or name.endswith("bias"):
                parameter.copy_(name.endswith("weight") + 0.3 * noise)
            elif not stack_of(model).causal:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            if name.endswith(("query.weight", "key.weight")):
                parameter.mul_(2)
    return model.eval()


def stack_of(model: LanguageModel | Transformer) -> Transformer:
    return model.transformer if isinstance(model, LanguageModel) else model


def in_float64(model):
    return copy.deepcopy(model).double()


def reference_hidden(
    stack: Transformer, x_BLD: Tensor, positions: Tensor | None = None, padding_BL: Tensor | None = None
) -> Tensor:
    """Hidden states of a stack whose parameters, like x, are float64."""
    L = x_BLD.shape[1]
    positions = torch.arange(L) if positions is None else positions
    for kind, method in {None: stack.position, **stack.positions}.items():
        if method is not None:
            layer = stack.blocks[stack.kinds.index(kind)].layer
            x_BLD = method.embed(x_BLD, in_cache(layer, positions[:, None], positions[:, None])[0][:, 0])
    for number, block in enumerate(stack.blocks):
        of_tokens = block.attention_norm(x_BLD), positions, padding_BL
        x_BLD = x_BLD + _attended(block, stack.method_of(number), *of_tokens, stack.causal)
        feed = block.feed_forward
        x_BLD = x_BLD + feed.down(F.gelu(feed.up(block.feed_forward_norm(x_BLD))))
    return stack.final_norm(x_BLD)


def in_cache(layer: LayerSettings, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of query i and key j, in the text, or in a cache of sink tokens and window when query i is read."""
    if not layer.positions_in_cache:
        return i, j
    sinks, size = layer.sink_tokens or 0, (layer.sink_tokens or 0) + layer.window
    evicted = (i + 1 - size).clamp(min=0)
    return i - evicted, torch.where(j < sinks, j, j - evicted)


def _scores_in_cache(block: Block, method: Position, h_BLD: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """(B, H, L, L), one pair of a query and a key at a time, each with its positions inside the cache."""
    B, H, L, K = q.shape
    scores = q.new_zeros(B, H, L, L)
    remembered = method.remember(h_BLD)
    for i in range(L):
        for j in range(i + 1):
            at_i, at_j = (one.reshape(1) for one in in_cache(block.layer, torch.tensor(i), torch.tensor(j)))
            if at_j < 0:
                continue  # it has left the cache
            turn_q, turn_k = method.turn_query(at_i), method.turn_key(at_j)
            one_q, one_k = q[:, :, i : i + 1], k[:, :, j : j + 1]
            one_q, one_k = turn_q(one_q) if turn_q else one_q, turn_k(one_k) if turn_k else one_k
            bias = method.content_bias(h_BLD[:, i : i + 1], at_i, remembered) or method.bias()
            if isinstance(bias, QueryTableBias):
                table, apart = bias.table_BHLE[:, :, 0], int(at_i - at_j)
                added = table[..., apart] if apart < table.shape[-1] else torch.zeros(B, H)
            else:
                pair = torch.cat([at_j, at_i]) if at_i != at_j else at_i
                added = dense_bias(bias, pair)[:, :, -1, 0]
            scores[:, :, i, j] = (one_q * one_k).sum((-1, -2)) / math.sqrt(K) + added
    return scores


def _attended(block: Block, method: Position, h_BLD, positions, padding_BL, causal: bool) -> Tensor:
    attention, (B, L, D) = block.attention, h_BLD.shape
    H = attention.num_heads
    q, k, v = (
        layer(h_BLD).reshape(B, L, H, D // H).transpose(1, 2)
        for layer in (attention.query, attention.key, attention.value)
    )
    plain_q, plain_k = q, k
    if (turn := method.turn_query(positions)) is not None:
        q = turn(q)
    if (turn := method.turn_key(positions)) is not None:
        k = turn(k)
    real_BL = torch.ones(1, L, dtype=torch.bool) if padding_BL is None else ~padding_BL
    distance, itself = torch.arange(L)[:, None] - torch.arange(L), torch.eye(L, dtype=torch.bool)
    number_BL = real_BL.cumsum(1) - 1  # of each key among the real ones of its row
    windows = list(method.head_windows() or [None] * H)
    hidden = ~real_BL[:, None, None, :].expand(-1, H, L, L)
    hidden = hidden | (distance < 0) if causal else hidden.clone()
    for head, own in enumerate(windows):
        window = min(w for w in (own, block.layer.window, L) if w is not None)
        sink_BL = number_BL < (block.layer.sink_tokens or 0)
        outside = distance >= window
        if block.layer.block_keys is not None:
            half = (block.layer.block_keys + 1) // 2
            outside |= torch.arange(L)[:, None] // half - torch.arange(L) // half > 1
        hidden[:, head] |= outside & ~sink_BL[:, None, :]
    hidden = hidden & ~itself
    if block.layer.query_scale.name is not None:
        q = q * query_factor(block, (~hidden & real_BL[:, None, None, :]).sum(-1).clamp(min=1))[..., None]
    if block.layer.positions_in_cache:
        scores = _scores_in_cache(block, method, h_BLD, plain_q, plain_k)
        weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
        return attention.output(torch.einsum("bhlm,bhmk->blhk", weights, v).reshape(B, L, D))
    bias = bias_of(method, h_BLD, positions, None if padding_BL is None else real_BL, windows=False)
    scores = torch.einsum("bhlk,bhmk->bhlm", q, k) / math.sqrt(D // H) + bias.nan_to_num(neginf=-1e300)
    weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
    return attention.output(torch.einsum("bhlm,bhmk->blhk", weights, v).reshape(B, L, D))


def query_factor(block: Block, n_BHL: Tensor) -> Tensor:
    """The formulas of alibi.model.query_scale again, for queries that see n keys."""
    scale, n = block.layer.query_scale, n_BHL.double()
    if scale.name == "ssmax":
        return block.attention.query_scale.s_H[:, None] * n.log()
    if scale.name == "log_n":
        return (n.log() / math.log(scale.length)).maximum(torch.ones(()))
    return 1 + (0.1 if scale.beta is None else scale.beta) * (1 + (n / scale.length).floor()).log()

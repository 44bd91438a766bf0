"""RNoPE-SWA against transformers' Cohere2: a layer with a window and rotary, and one that sees all without position."""

import pytest
import torch
from transformers import Cohere2Config
from transformers.models.cohere2.modeling_cohere2 import Cohere2Attention, Cohere2RotaryEmbedding

from alibi.config.typed import run_of
from alibi.model import LanguageModel

LENGTH, HEADS, WIDTH, WINDOW = 90, 4, 64, 16


@pytest.fixture(scope="module")
def ours():
    shape = [f"model.d_model={WIDTH}", f"model.num_heads={HEADS}", "model.num_layers=4", "size=tiny"]
    config = run_of(["model=rnope_swa", f"train.seq_len={2 * WINDOW}", "data=stdlib", *shape]).model
    assert config.layer_types["local"].window == WINDOW
    return LanguageModel(config, 50, seed=0).transformer.requires_grad_(False)


def neighbours(weight: torch.Tensor) -> torch.Tensor:
    """Rows of a projection for pairs of neighbours in place of pairs (k, k + K / 2)."""
    K = WIDTH // HEADS
    order = torch.stack([torch.arange(K // 2), torch.arange(K // 2) + K // 2], dim=1).flatten()
    return weight.view(HEADS, K, WIDTH)[:, order].reshape(WIDTH, WIDTH)


def theirs(attention, layer: int, x: torch.Tensor, window: int = WINDOW) -> torch.Tensor:
    """Cohere2's attention with the weights of ours."""
    config = Cohere2Config(
        hidden_size=WIDTH, num_attention_heads=HEADS, num_key_value_heads=HEADS, num_hidden_layers=4,
        sliding_window=window, attn_implementation="eager", attention_bias=False,
    )  # fmt: skip
    module = Cohere2Attention(config, layer).eval().requires_grad_(False)
    for name, mine in (("q_proj", attention.query), ("k_proj", attention.key)):
        getattr(module, name).weight.copy_(neighbours(mine.weight))
    module.v_proj.weight.copy_(attention.value.weight)
    module.o_proj.weight.copy_(attention.output.weight)
    positions = torch.arange(LENGTH)[None]
    distance = positions[0][:, None] - positions[0]
    hidden = (distance < 0) | (distance >= window if module.sliding_window else distance < 0)
    mask = torch.zeros(LENGTH, LENGTH).masked_fill(hidden, torch.finfo(torch.float32).min)[None, None]
    return module(x, Cohere2RotaryEmbedding(config)(x, positions), mask)[0]


def attended(stack, layer: int, x: torch.Tensor) -> torch.Tensor:
    """What our layer's attention gives for x, taken from the whole stack by hooks."""
    block, found = stack.blocks[layer], []
    hooks = [
        block.attention_norm.register_forward_hook(lambda module, given, out: x),
        block.attention.register_forward_hook(lambda module, given, out: found.append(out)),
    ]
    stack(x)
    for hook in hooks:
        hook.remove()
    return found[0]


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_layer_is_that_of_cohere(ours, layer):
    x = torch.randn(1, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0))
    mine, attention = attended(ours, layer, x), ours.blocks[layer].attention
    assert (mine - theirs(attention, layer, x)).abs().max() < 1e-5
    other = 3 if layer < 3 else 0
    assert (mine - theirs(attention, other, x)).abs().max() > 1e-3, "control: a layer of the other type"
    if layer < 3:
        assert (mine - theirs(attention, layer, x, WINDOW + 1)).abs().max() > 1e-4, "control: one more key"

"""Every window is scored as if it were the only one, whatever a model keeps between passes."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    BigBirdConfig,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    Phi3Config,
    RwkvConfig,
)

from alibi.interop.guest_scorer import GuestScorer, GuestState

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.4,
}
DECODER = {**SHAPE, "intermediate_size": 64, "max_position_embeddings": 16, "pad_token_id": 0}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "original_max_position_embeddings": 16,
    "long_factor": [3.0 + i for i in range(8)],
}  # fmt: skip
CONFIGS = {
    "llama, dynamic": LlamaConfig(**DECODER, rope_parameters=dict(DYNAMIC)),
    "gpt_neox, dynamic": GPTNeoXConfig(**DECODER, rope_parameters=dict(DYNAMIC)),
    "gemma3, dynamic in one of two tables": Gemma3TextConfig(
        **DECODER, head_dim=16, num_key_value_heads=2, layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"full_attention": dict(DYNAMIC), "sliding_attention": dict(PLAIN)},
    ),
    "phi3, longrope": Phi3Config(
        **DECODER | {"max_position_embeddings": 64}, num_key_value_heads=2, original_max_position_embeddings=16,
        rope_parameters=LONGROPE,
    ),
    "rwkv, which divides its weights in the first pass": RwkvConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, context_length=64, rescale_every=1
    ),
}  # fmt: skip
KEEP_THE_LONGEST = [name for name in CONFIGS if "dynamic" in name]
LENGTHS = (8, 24, 48)


def model_of(config) -> nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(deepcopy(config)).float().eval().requires_grad_(False)


def scored(guest, length, rows=slice(None)) -> torch.Tensor:
    ids = torch.randint(60, (2, length + 1), generator=torch.Generator().manual_seed(length))[rows]
    return guest.nats(ids[:, :-1], ids[:, 1:], 0)


def worst_of_an_order(config) -> float:
    """The largest difference in nats between a text scored among others and by a fresh model."""
    alone = {length: scored(GuestScorer(model_of(config), "fp32"), length) for length in LENGTHS}
    guest = GuestScorer(model_of(config), "fp32")
    return max((scored(guest, n) - alone[n]).abs().max().item() for n in (48, 24, 8, 24, 48))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_order_of_lengths_changes_nothing(name):
    assert worst_of_an_order(CONFIGS[name]) == 0
    guest = GuestScorer(model_of(CONFIGS[name]), "fp32")
    assert torch.allclose(scored(guest, 48, slice(1)), scored(guest, 48)[:1], atol=1e-5), "nor do others in a batch"
    ids = torch.arange(48)[None] % 60
    direct = F.cross_entropy(model_of(CONFIGS[name])(ids[:, :-1]).logits[0], ids[0, 1:], reduction="none")
    assert torch.allclose(guest.nats(ids[:, :-1], ids[:, 1:], 0)[0], direct, atol=1e-4)


@pytest.mark.parametrize("name", KEEP_THE_LONGEST)
def test_without_the_reset_it_does(name, monkeypatch):
    """The control of the test above."""
    monkeypatch.setattr(GuestState, "restore", lambda self: None)
    assert worst_of_an_order(CONFIGS[name]) > 1e-2


def test_a_model_that_changes_its_attention_with_the_length_keeps_the_causal_one():
    """BigBird's sparse blocks, which only long texts have, see later tokens; a short text turns them off for good."""
    config = BigBirdConfig(
        **SHAPE, intermediate_size=64, is_decoder=True, block_size=4, num_random_blocks=1, max_position_embeddings=64
    )
    guest = GuestScorer(model_of(config), "fp32")
    ids = torch.arange(49)[None]
    nats = guest.nats(ids[:, :-1], ids[:, 1:], 0)
    ids[0, 40:] = 0
    assert torch.allclose(guest.nats(ids[:, :-1], ids[:, 1:], 0)[0, :39], nats[0, :39], atol=1e-5)


class Forgetful(nn.Module):
    """Keeps something of every kind that a module can."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("table", torch.ones(3), persistent=False)
        self.longest, self.seen, self.by_length, self.plain = 0, [], {"all": torch.zeros(1)}, torch.zeros(2)
        self.pair, self.layers = (torch.zeros(1), 0), [{"state": torch.zeros(1)}]
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        self.longest = max(self.longest, len(x))
        self.seen.append(len(x))
        self.by_length["all"] += 1
        self.by_length[len(x)] = x
        self.plain.add_(1)
        self.pair[0].add_(1)
        self.layers[0]["state"].add_(1)
        self.table.mul_(2)
        self.register_buffer("table", self.table * 2)
        self.register_buffer("new", x)
        self.inner = nn.Identity()
        return x


def test_whatever_a_module_keeps_is_taken_back():
    model = nn.Sequential(Forgetful())
    state, inner, weight = GuestState(model), model[0].inner, model[0].weight
    for length in (5, 3):
        model(torch.ones(length))
        state.restore()
        kept = model[0]
        assert (kept.longest, kept.seen, list(kept.by_length)) == (0, [], ["all"])
        assert kept.table.tolist() == [1, 1, 1]
        assert kept.plain.tolist() == [0, 0]
        assert kept.by_length["all"].item() == 0
        assert kept.pair == (torch.zeros(1), 0)
        assert kept.layers == [{"state": torch.zeros(1)}]
        assert (kept.inner, kept.weight) == (inner, weight), "weights and modules are the same objects"
        assert "new" not in dict(kept.named_buffers())
        assert "table" not in kept.state_dict(), "a buffer that is stored with the weights only since the pass"

"""Nats of adapted rotary models against transformers' GPT-NeoX with `rope_scaling` and the same weights."""

import pytest
import torch
from torch.nn import functional as F
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from alibi.model import LanguageModel, ModelConfig, adapt

TRAINED, EVALUATED, VOCAB, HEADS, WIDTH = 16, 64, 53, 3, 48
ROPE = {
    "pi": {"rope_type": "linear", "factor": 4.0},
    # Its factor is one of its own; the length that it looks at is the longest so far.
    "ntk": {"rope_type": "dynamic", "factor": 1.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": TRAINED},
    "llama3": {
        **{"rope_type": "llama3", "factor": 4.0, "original_max_position_embeddings": TRAINED},
        **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
    },
}


def make_ours() -> LanguageModel:
    config = ModelConfig("rotary", num_layers=2, d_model=WIDTH, num_heads=HEADS)
    model = LanguageModel(config, VOCAB, seed=0).eval().double()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith(("query.weight", "key.weight")):
            parameter.data *= 1.25  # attention far from uniform, but not so sharp that float32 angles of theirs show
        if "norm" in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model.requires_grad_(False)


def make_neox(ours: LanguageModel, rope: dict) -> GPTNeoXForCausalLM:
    config = GPTNeoXConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        hidden_act="gelu",
        max_position_embeddings=TRAINED,
        use_parallel_residual=False,
        rope_parameters={"rope_theta": 10000.0, "partial_rotary_factor": 1.0, **rope},
        tie_word_embeddings=False,
        attention_bias=True,
        attn_implementation="eager",
    )
    theirs = GPTNeoXForCausalLM(config).double().eval().requires_grad_(False)
    for name, parameter in theirs.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
    theirs.gpt_neox.embed_in.weight.copy_(ours.embedding(torch.arange(VOCAB)))  # read at unit size
    theirs.get_output_embeddings().weight.copy_(ours.embedding.weight)
    theirs.gpt_neox.final_layer_norm.weight.copy_(ours.transformer.final_norm.weight)
    for block, layer in zip(ours.transformer.blocks, theirs.gpt_neox.layers, strict=True):
        attention = block.attention
        parts = [one.weight.unflatten(0, (HEADS, -1)) for one in (attention.query, attention.key, attention.value)]
        layer.attention.query_key_value.weight.copy_(torch.stack(parts, dim=1).flatten(0, 2))
        layer.attention.dense.weight.copy_(attention.output.weight)
        layer.mlp.dense_h_to_4h.weight.copy_(block.feed_forward.up.weight)
        layer.mlp.dense_4h_to_h.weight.copy_(block.feed_forward.down.weight)
        layer.input_layernorm.weight.copy_(block.attention_norm.weight)
        layer.post_attention_layernorm.weight.copy_(block.feed_forward_norm.weight)
    return theirs


def ids() -> torch.Tensor:
    return torch.randint(VOCAB, (2, EVALUATED + 1), generator=torch.Generator().manual_seed(1))


def neox_nats(theirs: GPTNeoXForCausalLM) -> torch.Tensor:
    logits = theirs(ids()[:, :-1]).logits
    return F.cross_entropy(logits.transpose(1, 2), ids()[:, 1:], reduction="none")


def our_nats(model: LanguageModel) -> torch.Tensor:
    return model.nll(ids()[:, :-1], ids()[:, 1:])


@pytest.mark.parametrize("name", ROPE)
def test_nats_of_an_adapted_model_are_those_of_gpt_neox(name):
    ours = make_ours()
    theirs = neox_nats(make_neox(ours, ROPE[name]))
    assert (our_nats(adapt(ours, name, TRAINED, EVALUATED)) - theirs).abs().max() < 1e-6
    assert (our_nats(ours) - theirs).abs().max() > 1e-2, "control: not adapted"
    other = adapt(ours, {"name": name, "factor": 3.9}, TRAINED, EVALUATED)
    assert (our_nats(other) - theirs).abs().max() > 1e-4, "control: another factor"


def test_nats_of_the_model_itself_are_those_of_gpt_neox():
    ours = make_ours()
    assert (our_nats(ours) - neox_nats(make_neox(ours, {"rope_type": "default"}))).abs().max() < 1e-6

"""Our weights by the names that other projects give them."""

import torch
from torch import Tensor

from alibi.model import LanguageModel, ModelConfig

FAIRSEQ_LAYER = {
    "attention_norm": "self_attn_layer_norm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.out_proj",
    "feed_forward_norm": "final_layer_norm",
    "feed_forward.up": "fc1",
    "feed_forward.down": "fc2",
}
# One number each, by which fairseq knows a device or a version.
FAIRSEQ_NO_WEIGHTS = {
    "decoder.version",
    "decoder.embed_tokens._float_tensor",
    "decoder.embed_positions._float_tensor",
    "decoder.adaptive_softmax.version",
    "decoder.adaptive_softmax.head._float_tensor",
}


def fairseq_names(config: ModelConfig) -> dict[str, list[str]]:
    """Names in fairseq of each of our parameters: fairseq stores a tied tensor twice, for input and output."""
    names = {"output.classes.weight": ["decoder.adaptive_softmax.head.class_proj.weight"]}
    for band in range(len(config.adaptive_cutoffs) + 1):
        embedding, tail = f"decoder.embed_tokens.embeddings.{band}", f"decoder.adaptive_softmax.tail.{band - 1}"
        words = f"{tail}.2.weight" if band else "decoder.adaptive_softmax.head.word_proj.weight"
        names[f"embedding.words.{band}.weight"] = [f"{embedding}.0.weight", words]
        names[f"embedding.projections.{band}.weight"] = [f"{embedding}.1.weight"]
        if band:
            names[f"embedding.projections.{band}.weight"].append(f"{tail}.0.weight")
    for number in range(config.num_layers):
        for ours, theirs in FAIRSEQ_LAYER.items():
            for leaf in ("weight", "bias"):
                names[f"transformer.blocks.{number}.{ours}.{leaf}"] = [f"decoder.layers.{number}.{theirs}.{leaf}"]
    return names


@torch.no_grad()
def mpt_weights(model: LanguageModel) -> dict[str, Tensor]:
    """The weights of a model of ours by MPT's names.

    MPT does not scale embeddings when reading them, so the factor sqrt(d_model) goes into the matrix.
    """
    weights = {
        "transformer.wte.weight": model.embedding.weight * model.config.d_model**0.5,
        "transformer.norm_f.weight": model.transformer.final_norm.weight,
        "lm_head.weight": model.output.weight,
    }
    for number, block in enumerate(model.transformer.blocks):
        attention, feed_forward = block.attention, block.feed_forward
        layer = {
            "norm_1": block.attention_norm.weight,
            "attn.Wqkv": torch.cat([attention.query.weight, attention.key.weight, attention.value.weight]),
            "attn.out_proj": attention.output.weight,
            "norm_2": block.feed_forward_norm.weight,
            "ffn.up_proj": feed_forward.up.weight,
            "ffn.down_proj": feed_forward.down.weight,
        }
        weights |= {f"transformer.blocks.{number}.{name}.weight": weight for name, weight in layer.items()}
    return weights

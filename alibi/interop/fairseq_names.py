"""Our parameters by fairseq's names, and which of its names are one tensor twice."""

import re
from collections.abc import Iterable

# One number each, which fairseq keeps to know a device or a version by.
NO_WEIGHTS = {
    "decoder.version",
    "decoder.embed_tokens._float_tensor",
    "decoder.embed_positions._float_tensor",
    "decoder.adaptive_softmax.version",
    "decoder.adaptive_softmax.head._float_tensor",
}
IN_A_LAYER = {
    "attention_norm": "self_attn_layer_norm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.out_proj",
    "feed_forward_norm": "final_layer_norm",
    "feed_forward.up": "fc1",
    "feed_forward.down": "fc2",
}


def fairseq_name(name: str) -> str:
    """Our parameter's name as fairseq's."""
    if found := re.fullmatch(r"embedding\.(words|projections)\.(\d+)\.weight", name):
        return f"decoder.embed_tokens.embeddings.{found[2]}.{0 if found[1] == 'words' else 1}.weight"
    if name == "output.classes.weight":
        return "decoder.adaptive_softmax.head.class_proj.weight"
    number, part = re.fullmatch(r"transformer\.blocks\.(\d+)\.(.+)", name).groups()
    module, _, leaf = part.rpartition(".")
    return f"decoder.layers.{number}.{IN_A_LAYER[module]}.{leaf}"


def layers_in(names: Iterable[str]) -> int:
    """How many layers a checkpoint with tensors of these names has."""
    return len({found[1] for name in names if (found := re.match(r"decoder\.layers\.(\d+)\.", str(name)))})


def fairseq_copies(name: str) -> list[str]:
    """Other names of a tensor that fairseq ties, input and output being stored both."""
    found = re.fullmatch(r"decoder\.embed_tokens\.embeddings\.(\d+)\.([01])\.weight", name)
    if not found:
        return []
    band, is_projection = int(found[1]), found[2] == "1"
    if band == 0:
        return [] if is_projection else ["decoder.adaptive_softmax.head.word_proj.weight"]
    return [f"decoder.adaptive_softmax.tail.{band - 1}.{0 if is_projection else 2}.weight"]

"""Settings and weights in a model's folder that transformers silently ignores, so that another model would be scored.

Settings are compared with the source of the classes that the model is made of: a setting whose name does not occur
there is never read. Most such settings change nothing. Refused are those whose name says that they change what is
computed, unless their value switches it off.
"""

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from torch import nn

# Parts of the names of settings that change what a model computes ...
COMPUTED = re.compile(
    r"alibi|rope|rotary|pos_emb|position_emb|qk_|qk$|softmax_scale|logit|scaling|_scale$|^scale_|multiplier"
    r"|cap$|capping|clip_qkv|_ln$|norm|no_bias|use_bias|_bias$|window_size|sliding_window|prefix_lm|sink"
    r"|activation|hidden_act$|ffn_(?!dim|hidden)|residual|sequence_id|layer_types$|attn_type|parallel_attn"
    r"|chunk_attention"
)
# ... but not where they are about training, speed, or how BLOOM's bias was stored; nor what GPT-J, CodeGen and Mamba
# always do. MPT has learned positions only without ALiBi, whatever `learned_pos_emb` says.
NOT_COMPUTED = re.compile(
    r"init|dropout|fus(ed|ion)|in_fp32|skip_bias_add|offset_alibi|rescale_prenorm|learned_pos_emb|finetuned"
    r"|summary_|router_|task_specific|fc_type|label|rotary$|scale_attn_weights|rms_norm$"
)
# Values that ask for what a class does anyway: attention layers, BERT's positions, MPT's and StarCoder2's parts.
USUAL = ("full_attention", "absolute", "layernorm", "layer_norm", "mptmlp")
ROPE_MODULE = "transformers.modeling_rope_utils"
# Read there, but without effect unless the model's own code reads them too.
OF_THE_MODEL = {"layer_types", "partial_rotary_factor"}
UNKNOWN = object()  # the default of a setting that the configuration's class does not have
# Masks, frequencies and counters that older releases stored beside the weights, and that are now computed.
NO_WEIGHTS = re.compile(
    r"\b(attn|attention)\.(bias|masked_bias|causal_mask)$|inv_freq$|position_ids$|decoder\.version$"
)


def ignored_settings(folder: Path, model: nn.Module) -> list[str]:
    """Settings of config.json that the model's classes never read and that would change it, as name=value."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    quantized = content.pop("quantization_config", None)
    classes = [*map(type, model.modules()), *type(model.config).__mro__]
    modules = {kind.__module__ for kind in classes if kind.__module__.startswith("transformers.models.")}
    read = frozenset().union(*map(_names_in, modules))
    if ROPE_MODULE.rpartition(".")[2] in read:
        read |= _names_in(ROPE_MODULE) - OF_THE_MODEL
    stated = list(_settings(content, model.config))
    known = {_meaning(last, value) for _, last, value, _ in stated if last in read}
    found = [
        f"{name}={value}"
        for name, last, value, default in stated
        if last not in read and _computes(name, value, default) and _meaning(last, value) not in known
    ]
    return [*found, "quantization_config"] if quantized and not getattr(model, "hf_quantizer", None) else found


def ignored_weights(unexpected: Iterable[str]) -> list[str]:
    """Of the tensors that no module took, those that are weights."""
    return sorted(name for name in unexpected if not NO_WEIGHTS.search(name))


def _settings(content: dict, config: object, prefix: str = "") -> Iterator[tuple[str, str, object, object]]:
    """Name after those of the objects that it is in, name without these, value, and the class's default."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _settings(value, getattr(config, name, None), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", name, _in_words(value), _in_words(getattr(type(config), name, UNKNOWN))


def _in_words(value: object) -> object:
    """A list as its distinct elements, sorted."""
    return ", ".join(sorted({str(one) for one in value})) if isinstance(value, list) else value


def _computes(name: str, value: object, default: object) -> bool:
    """Whether a setting asks for a computation that the class does not do by default."""
    if value == default or value in USUAL or NOT_COMPUTED.search(name) or not COMPUTED.search(name):
        return False
    off = not value or (value == 1 and value is not True)  # a factor of 1 changes nothing
    return not (off and default is UNKNOWN)


def _meaning(name: str, value: object) -> tuple[str, object]:
    """Equal for two names of one thing, such as norm_eps and layer_norm_eps with the same value.

    A model has one activation: any other name of it, beside the one that is read, is obsolete.
    """
    found = COMPUTED.search(name)
    word = found[0] if found else name
    return ("activation", None) if word in ("activation", "hidden_act") else (word, value)


@cache
def _names_in(module: str) -> frozenset[str]:
    """Attributes, strings and imports in a module's source; whatever it reads of a configuration is among them."""
    nodes = list(ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return frozenset(strings | attributes | {node.module for node in nodes if isinstance(node, ast.ImportFrom)})

"""What a model's folder says and transformers passes over in silence: the model scored would be another one.

Settings are compared with the sources of the classes that the model is made of. A setting whose name stands
nowhere in them is never read. Most such settings change nothing; those whose names speak of what is computed
are refused unless their value says that there is no such thing.
"""

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from alibi.interop.guest_folder import OTHER_COPIES, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Parts of the names of settings that change what a model computes ...
COMPUTED = re.compile(
    r"alibi|rope|rotary|pos_emb|position_emb|qk_|qk$|softmax_scale|logit|scaling|_scale$|^scale_|multiplier"
    r"|cap$|capping|clip_qkv|_ln$|norm|no_bias|use_bias|_bias$|window_size|sliding_window|prefix_lm|sink"
    r"|activation|hidden_act$|ffn_(?!dim|hidden)|residual|sequence_id|layer_types$|attn_type|parallel_attn"
    r"|chunk_attention"
)
# ... and of settings in which these words speak of training, of speed, or of how BLOOM's bias was stored. MPT has
# learned positions only where it has no ALiBi, whatever `learned_pos_emb` says.
OTHERWISE = re.compile(
    r"init|dropout|fus(ed|ion)|in_fp32|skip_bias_add|offset_alibi|rescale_prenorm|learned_pos_emb|finetuned"
    r"|summary_|router_|task_specific|fc_type|label"
)
# What its class always does and never asks: GPT-J and CodeGen, Mamba, BERT, MPT and StarCoder2.
ALWAYS = {
    ("rotary", True), ("scale_attn_weights", True), ("rms_norm", True), ("position_embedding_type", "absolute"),
    ("norm_type", "layernorm"), ("norm_type", "layer_norm"), ("ffn_type", "mptmlp"),
}  # fmt: skip
# Of layer_types, what layers are anyway.
EVERYWHERE = "full_attention"
ROPE_MODULE = "transformers.modeling_rope_utils"
# What frequencies are made from there, and does nothing unless the model's own code does more with it.
OF_THE_MODEL = {"layer_types", "partial_rotary_factor"}
UNKNOWN = object()
# Masks, frequencies and counters that older releases stored beside the weights, and now compute.
NO_WEIGHTS = re.compile(
    r"\b(attn|attention)\.(bias|masked_bias|causal_mask)$|inv_freq$|position_ids$|decoder\.version$"
)


@dataclass(frozen=True)
class Setting:
    """A setting of config.json.

    Attributes:
        name: with the names of the objects it stands in, apart by dots.
        value: of a list, its different elements in words, sorted.
        default: what the configuration's class has where nothing is said; UNKNOWN where it knows no such name.
    """

    name: str
    value: object
    default: object

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def computes(self) -> bool:
        """Whether its name and value say that something is computed, and not as the class does by itself."""
        if self.value == self.default or (self.last, self.value) in ALWAYS or OTHERWISE.search(self.name):
            return False
        # Off, a factor of 1, or layers that all see everything.
        nothing = not self.value or (self.value == 1 and self.value is not True) or self.value == EVERYWHERE
        return bool(COMPUTED.search(self.name)) and not (self.default is UNKNOWN and nothing)

    @property
    def meaning(self) -> tuple[str, object]:
        """Alike for two names of one thing, such as norm_eps and layer_norm_eps of the same value.

        A model has one activation: beside the one that is read, any other name of it is out of date.
        """
        found = COMPUTED.search(self.last)
        word = found[0] if found else self.name
        return ("activation", None) if word in ("activation", "hidden_act") else (word, self.value)


def ignored_settings(folder: Path, model: "PreTrainedModel") -> list[str]:
    """Settings of config.json that the model's classes never read and that would change it, as name=value."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    classes = [*map(type, model.modules()), *type(model.config).__mro__]
    sources = {kind.__module__ for kind in classes if kind.__module__.startswith("transformers.models.")}
    read = frozenset().union(*map(_names_in, sources))
    if any(_imports(module, ROPE_MODULE) for module in sources):
        read |= _names_in(ROPE_MODULE) - OF_THE_MODEL
    stated = list(_settings(content, model.config))
    said = {one.meaning for one in stated if one.last in read}
    ignored = [one for one in stated if one.computes and one.last not in read and one.meaning not in said]
    found = [f"{one.name}={one.value}" for one in ignored]
    if content.get("quantization_config") and getattr(model, "hf_quantizer", None) is None:
        found.append("quantization_config")
    return found


def ignored_weights(unexpected: Iterable[str]) -> list[str]:
    """Of the tensors that no module took, those that are weights."""
    return sorted(name for name in unexpected if not NO_WEIGHTS.search(name))


def _settings(content: dict, config: object, prefix: str = "") -> Iterator[Setting]:
    from transformers import PreTrainedConfig

    for name, value in content.items():
        if isinstance(value, dict) and name != "quantization_config":
            yield from _settings(value, getattr(config, name, None), f"{prefix}{name}.")
        elif not isinstance(value, dict):
            known = isinstance(config, PreTrainedConfig)
            default = getattr(type(config), name, UNKNOWN) if known else UNKNOWN
            yield Setting(f"{prefix}{name}", _in_words(value), _in_words(default))


def _in_words(value: object) -> object:
    return ", ".join(sorted({str(one) for one in value})) if isinstance(value, list) else value


@cache
def _names_in(module: str) -> frozenset[str]:
    """Attributes and texts that stand in a module's source: whatever it reads of a configuration is among them."""
    nodes = _nodes_of(module)
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return frozenset({node.attr for node in nodes if isinstance(node, ast.Attribute)} | texts)


def _imports(module: str, what: str) -> bool:
    return any(isinstance(node, ast.ImportFrom) and what.endswith(f".{node.module}") for node in _nodes_of(module))


@cache
def _nodes_of(module: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))))


def ignored_files(folder: Path) -> list[str]:
    """Names of files with weights that transformers does not read, and of an adapter's."""
    adapters = [
        path.name for path in sorted(folder.glob("adapter_*")) if path.suffix in (".json", ".safetensors", ".bin")
    ]
    if not (found := weight_files(folder)):
        return adapters
    whole = folder / ("model.safetensors" if found[0].suffix == ".safetensors" else "pytorch_model.bin")
    index = folder / f"{whole.name}.index.json"
    if whole.exists():
        read = {whole.name}
    elif index.exists():
        read = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    else:
        return adapters
    copies = ("*.fp16.*", "*.bf16.*", *OTHER_COPIES)
    unread = [path.name for path in found if path.name not in read and not any(map(path.match, copies))]
    return sorted({*adapters, *unread})

"""The folder of a model of transformers, local or fetched from the hub, and what in it transformers silently ignores.

Another model would be scored where a setting, a tensor or a file is passed over. Settings are compared with the source
of the classes that the model is made of: a setting whose name does not occur there is never read. Most such settings
change nothing. Refused are those whose name says that they change what is computed, unless their value switches it off.
"""

import ast
import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from torch import nn

from alibi.data.hub import check_sound, fetch
from alibi.files import file_sha256

# No code is fetched, and pickles only if there is nothing else.
FILES = ("*.json", "*.model", "*.txt", "*.safetensors")
OTHER_COPIES = ("original/*", "consolidated*", "onnx/*")
PICKLES = ("*.bin", "*.bin.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
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


def model_folder(source: str) -> Path:
    """The folder for a path or a hub id (also ID@REVISION); it has a configuration, a tokenizer and weights.

    Raises:
        FileNotFoundError: there is no such folder, or one of the three is missing.
        ConnectionError: the hub does not have it, or cannot be reached.
    """
    folder = Path(source)
    if not folder.exists():
        if folder.is_absolute() or source.startswith("."):
            raise FileNotFoundError(f"hf:{source} does not exist; give a folder, or a model's id on the hub.")
        folder = _from_hub(source)
    needed = {
        "config.json; save_pretrained writes one (a run of this project is named without hf:)": ["config.json"],
        "tokenizer.json or the like; save the model's own there too, tokenizer.save_pretrained(FOLDER)": TOKENIZERS,
        "weights: neither *.safetensors nor *.bin is there": [path.name for path in weight_files(folder)],
    }
    for what, names in needed.items():
        if not any((folder / name).is_file() for name in names):
            raise FileNotFoundError(f"hf:{source} has no {what}.")
    return folder


def _from_hub(source: str) -> Path:
    name, _, revision = source.partition("@")
    try:
        folder = fetch(name, FILES, revision=revision or None, but=OTHER_COPIES)
        if not list(folder.glob("*.safetensors")):
            folder = fetch(name, (*FILES, *PICKLES), revision=revision or None, but=OTHER_COPIES)
    except ConnectionError as error:
        remedy = "There is no such folder here either; without a network, give a model's folder, runs=hf:FOLDER."
        raise ConnectionError(f"{error} {remedy}") from error.__cause__
    check_sound(path for path in folder.rglob("*") if path.is_file())
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights: safetensors, or pickles if there is nothing else."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def unread_files(folder: Path) -> list[str]:
    """Files of adapters, and files with weights, that transformers does not read."""
    found = weight_files(folder)
    whole = "model.safetensors" if found[0].suffix == ".safetensors" else "pytorch_model.bin"
    index = folder / f"{whole}.index.json"
    read = {whole}
    if index.exists() and not (folder / whole).exists():
        read = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    copies = ("*.fp16.*", "*.bf16.*", *OTHER_COPIES)
    unread = {path.name for path in found if path.name not in read and not any(map(path.match, copies))}
    adapters = {path.name for path in folder.glob("adapter_*") if path.suffix in (".json", ".safetensors", ".bin")}
    return sorted(unread | adapters)


def model_sha256(folder: Path) -> str:
    """Hash of the names and contents of weights and configuration, which holds the rotary angles."""
    files = [*weight_files(folder), folder / "config.json"]
    lines = "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


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

"""A run as a folder that transformers loads without code of ours: an MPT and its tokenizer.

    AutoModelForCausalLM.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
    pipeline("text-generation", FOLDER)

The tokenizer puts the end-of-text token before a text, as this project does in training, evaluation and generation.

`MptForCausalLM` is an independent implementation of ALiBi: pre-norm, without biases, with an exact GELU of four times
the width. It adds m * j to the scores, in rows of `max_seq_len` numbers; the softmax makes that -m * (i - j), but
float32 loses digits as j grows (2e-5 on a logit of unit size at 2,048).
"""

import json
import shutil
from pathlib import Path

import tokenizers as hf
import torch
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from alibi.data import Tokenizer
from alibi.data.tokenizers import BYTES, END_OF_TEXT, FastTokenizer
from alibi.interop.huggingface import quiet_transformers
from alibi.model import LanguageModel, ModelConfig
from alibi.positions import LinearBias, Position
from alibi.runs import Checkpoint

# An MPT's bias is this long, and its precision falls with the length.
MIN_LENGTH = 2048
# What Python's str.split() takes for space; the library's \s lacks four of these.
SPACE = r"[\s\x1c-\x1f]+"


def export_run(checkpoint: Checkpoint, out: Path, max_length: int | None = None) -> None:
    """Write a run's model and tokenizer into `out`, whole or not at all.

    Args:
        max_length: the longest input that the exported model will take; None means 2,048, or the training length if
            that is longer.

    Raises:
        ValueError: a part of the model that MPT does not have, by name; max_length below 1.
        FileExistsError: `out` is not empty.
        ImportError: transformers is not installed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty; give a new folder, or move it away.")
    trained = checkpoint.config["train"]["seq_len"]
    length = max(MIN_LENGTH, trained) if max_length is None else max_length
    model = to_mpt(checkpoint.load_model(), length)
    tokenizer = checkpoint.load_tokenizer()
    exported = as_fast_tokenizer(tokenizer, length)
    model.config.train_seq_len = trained
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id = tokenizer.end_of_text, exported.eos_token_id
        config.pad_token_id, config.use_cache = exported.pad_token_id, True
    beside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        model.save_pretrained(beside)
        exported.save_pretrained(beside)
        # transformers 5 names a class here that 4 does not have; the two are the same.
        path = beside / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for weights in beside.glob("*.safetensors"):
            shutil.copymode(path, weights)  # safetensors lets nobody else read its files
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def as_fast_tokenizer(tokenizer: Tokenizer, max_length: int):
    """A tokenizer of ours as transformers' PreTrainedTokenizerFast: the same ids for every line.

    With words as tokens the end-of-text token is a line end, which would end a generated text at once: it is put
    before a text, but not declared as an end. Neither it nor `<unk>` is declared there at all, since declared tokens
    (bos, unk) are dropped from generated text.
    """
    from transformers import PreTrainedTokenizerFast

    if isinstance(tokenizer, FastTokenizer):
        backend = hf.Tokenizer.from_str(tokenizer.tokenizer.to_str())
    else:
        backend = {"byte": _bytes, "word": _words}[tokenizer.name](tokenizer)
    first = backend.id_to_token(tokenizer.end_of_text)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", pair=f"{first} $A $B", special_tokens=[(first, tokenizer.end_of_text)]
    )
    words = tokenizer.name == "word"
    names = {"pad_token": "<pad>"} if words else dict.fromkeys(("bos_token", "eos_token", "pad_token"), first)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )


def _bytes(tokenizer: Tokenizer) -> hf.Tokenizer:
    """Byte-level BPE without merges: each byte is a character of GPT-2's table."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    characters = bytes_to_unicode()
    backend = hf.Tokenizer(models.BPE({characters[byte]: byte for byte in range(BYTES)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([END_OF_TEXT])
    return backend


def _words(tokenizer: Tokenizer) -> hf.Tokenizer:
    """Words between spaces, and a line end as the word `</s>`."""
    backend = hf.Tokenizer(models.WordLevel(tokenizer.ids, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace("\n", " </s> ")
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(SPACE), "removed")
    # The space comes before a word, so that a continuation can be appended to its prompt.
    line_end, space = decoders.Replace(Regex("^</s>$"), "\n"), decoders.Replace(Regex(r"\A"), " ")
    backend.decoder = decoders.Sequence([line_end, space])
    return backend


def to_mpt(model: LanguageModel, max_length: int) -> nn.Module:
    """transformers' `MptForCausalLM` with the weights of `model`, in evaluation mode, on its device and in its dtype.

    Input and output embeddings are two matrices there even if ours are one.

    Args:
        max_length: the longest input it will take; only its memory depends on it.

    Raises:
        ValueError: a part of the model that MPT does not have, by name; max_length below 1.
        ImportError: transformers is not installed.
    """
    quiet_transformers("to_mpt")
    from transformers import MptConfig, MptForCausalLM
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    if max_length < 1:
        raise ValueError(f"max_length ({max_length}) must be at least 1.")
    ours = model.config
    _check(model, -build_mpt_alibi_tensor(ours.num_heads, 2)[:, 0, 0])
    config = MptConfig(
        d_model=ours.d_model,
        n_heads=ours.num_heads,
        n_layers=ours.num_layers,
        max_seq_len=max_length,
        vocab_size=model.vocab_size,
        tie_word_embeddings=False,
        layer_norm_epsilon=model.transformer.final_norm.eps,
    )
    mpt = MptForCausalLM(config).to(model.device, model.embedding.weight.dtype).eval()
    mpt.load_state_dict(mpt_weights(model), strict=True)
    return mpt.requires_grad_(False)


def _check(model: LanguageModel, slopes_H: Tensor) -> None:
    """Refuse what MPT cannot hold.

    Args:
        slopes_H: as MPT makes them for this number of heads.
    """
    ours, position = model.config, model.transformer.method_of(0)
    hooks = ("embed", "turn_query", "turn_key", "head_windows", "content_bias")
    own = any(getattr(type(position), hook) is not getattr(Position, hook) for hook in hooks)
    bias = None if own else position.bias()
    names, plain = ("window", "sink_tokens", "query_scale"), ModelConfig()
    switches = [name for name in names if getattr(ours, name) != getattr(plain, name)]
    if own or ours.pattern or switches or not isinstance(bias, LinearBias) or list(position.parameters()):
        beside = f" with model.{switches[0]}" if switches else ""
        rule = "is not what MPT does, ALiBi in every layer. No other architecture is exported"
        raise ValueError(f"model={ours.method}{beside} {rule}; train with model=alibi.")
    if not torch.allclose(bias.slopes_H.float(), slopes_H.cpu().float(), rtol=1e-6, atol=0):
        raise ValueError(f"the slopes of {position.name} ({bias.slopes_H.tolist()}) are not MPT's.")
    wanted = {"activation": "gelu", "bias": False, "final_norm": True, "adaptive_cutoffs": None}
    for name, value in {**wanted, "d_ff": 4 * ours.d_model}.items():
        if getattr(ours, name) != value:
            raise ValueError(f"model.{name} ({getattr(ours, name)}) must be {value} for MPT, which has no other.")


@torch.no_grad()
def mpt_weights(model: LanguageModel) -> dict[str, Tensor]:
    """The weights of a model of ours by MPT's names.

    MPT does not scale embeddings when reading them, so the factor goes into the matrix.
    """
    weights = {
        "transformer.wte.weight": model.embedding.weight * model.embedding.scale,
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

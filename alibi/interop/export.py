"""A run as a folder that transformers loads, without code of ours: an MPT, and its tokenizer.

    AutoModelForCausalLM.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
    pipeline("text-generation", FOLDER)

The tokenizer puts the end-of-text token before a text, as this project does in training, evaluation
and generation.
"""

import json
import shutil
from pathlib import Path

import tokenizers as hf
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from alibi.data import Tokenizer
from alibi.data.tokenizers import BYTES, END_OF_TEXT
from alibi.interop.guest import quiet_transformers
from alibi.interop.mpt import to_mpt
from alibi.runs import Checkpoint

# transformers measures an MPT's bias by this, and its precision falls with the width.
LEAST_LENGTH = 2048
# What Python's str.split() takes for space and the library does not.
SPACE = r"[\s\x1c-\x1f]+"


def export_run(checkpoint: Checkpoint, out: Path, max_length: int | None = None) -> None:
    """Write a run's model and tokenizer into `out`, whole or not at all.

    Args:
        max_length: the longest input that the folder's model will take; None means 2,048, or the training length
            where that is longer.

    Raises:
        ValueError: a part of the model that MPT does not have, by name; a max_length that is none.
        FileExistsError: there is something in `out`.
        ImportError: transformers is not installed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} holds something already; give a new folder, or move it away.")
    trained = checkpoint.config["train"]["seq_len"]
    length = max(LEAST_LENGTH, trained) if max_length is None else max_length
    model = to_mpt(checkpoint.load_model(), length)
    tokenizer = checkpoint.load_tokenizer()
    theirs = as_fast_tokenizer(tokenizer, length)
    model.config.train_seq_len = trained
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id = tokenizer.end_of_text, theirs.eos_token_id
        config.pad_token_id, config.use_cache = theirs.pad_token_id, True
    beside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with quiet_transformers():
            model.save_pretrained(beside)
            theirs.save_pretrained(beside)
        _for_older_releases(beside / "tokenizer_config.json")
        for weights in beside.glob("*.safetensors"):
            shutil.copymode(beside / "config.json", weights)  # safetensors shuts its files to everybody else
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _for_older_releases(path: Path) -> None:
    """transformers 5 names a class that 4 does not have; they are one and the same."""
    settings = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def as_fast_tokenizer(tokenizer: Tokenizer, max_length: int):
    """A tokenizer of ours as transformers' PreTrainedTokenizerFast: the same ids for every line.

    With words as tokens the end-of-text token is a line's end, which would end a generated text at once: it
    begins a text there, and ends none. Neither it nor `<unk>` is named there, since what has a name (bos, unk) is
    dropped from a generated text.
    """
    from transformers import PreTrainedTokenizerFast

    build = {"bpe": _byte_pairs, "byte": _bytes, "word": _words}
    backend = build[tokenizer.name](tokenizer)
    first = backend.id_to_token(tokenizer.end_of_text)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", pair=f"{first} $A $B", special_tokens=[(first, tokenizer.end_of_text)]
    )
    names = {"bos_token": first, "eos_token": first, "pad_token": first}
    if tokenizer.name == "word":
        names = {"pad_token": "<pad>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )


def _byte_pairs(tokenizer: Tokenizer) -> hf.Tokenizer:
    return hf.Tokenizer.from_str(tokenizer.to_json())


def _bytes(tokenizer: Tokenizer) -> hf.Tokenizer:
    """Byte-level BPE without merges: each byte's own character, by the table that such tokenizers share."""
    characters = _byte_characters()
    backend = hf.Tokenizer(models.BPE({characters[byte]: byte for byte in range(BYTES)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([END_OF_TEXT])
    return backend


def _byte_characters() -> list[str]:
    """GPT-2's table: printable bytes stand for themselves, the others for the characters from 256 on, in order."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(BYTES, 2 * BYTES))
    return [chr(byte if byte in printable else next(others)) for byte in range(BYTES)]


def _words(tokenizer: Tokenizer) -> hf.Tokenizer:
    """Words between spaces, and a line end as the word `</s>`."""
    backend = hf.Tokenizer(models.WordLevel(tokenizer.ids, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace("\n", " </s> ")
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(SPACE), "removed")
    # The space stands before a word, so that a continuation may be put behind its prompt.
    line_end, space = decoders.Replace(Regex("^</s>$"), "\n"), decoders.Replace(Regex(r"\A"), " ")
    backend.decoder = decoders.Sequence([line_end, space])
    return backend

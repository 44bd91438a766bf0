"""A tokenizer of transformers as one of ours: lines in, ids out, line by line.

Its users hand it a whole text. Here a line is a piece of its own, so that ids do not depend on how
the text was cut for streaming, and so that the words and bytes of every line can be counted: a
token never spans a line end. Three things are therefore as they are in the middle of a text:

    no token begins or ends a line for its own sake (`add_special_tokens`)
    no space is put before a line that has none (sentencepiece's dummy prefix, `add_prefix_space`)
    the name of a special token in a text is text
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers as hf

from alibi.data import Tokenizer
from alibi.interop.token_coverage import Coverage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class GuestTokenizer(Tokenizer):
    """
    Args:
        tokenizer: as transformers loaded it.

    Attributes:
        first_input: begins the stream: the begin-of-text token, or else the one that the tokenizer itself puts before
            a text, or the end-of-text token.
        end_of_text: closes a document: the same two, in the other order.

    Raises:
        ValueError: it has neither token.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        whole = json.loads(tokenizer.backend_tokenizer.to_str())
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        begin = first_of_template(whole) if begin is None else begin
        if begin is None and end is None:
            raise ValueError(
                "the tokenizer has neither a bos nor an eos token, and the text's first token needs an input before "
                "it; name one in its tokenizer_config.json."
            )
        self._first, self.end_of_text = (end if begin is None else begin), (begin if end is None else end)
        content = plain(whole)
        self.tokenizer = hf.Tokenizer.from_str(json.dumps(content))
        self.tokenizer.encode_special_tokens = True
        # Words between spaces are WikiText's `.tokens`, as with our own.
        self.name = "word" if content["model"]["type"] == "WordLevel" else "hf"
        self.vocab_size = 1 + max(self.tokenizer.get_vocab().values())
        self.coverage = Coverage(self.tokenizer)

    @property
    def first_input(self) -> int:
        return self._first

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int | None) -> "GuestTokenizer":
        raise NotImplementedError("it comes with its model")

    def encode(self, lines: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(lines, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def uncovered_bytes(self, lines: list[str]) -> int:
        return self.coverage.uncovered_bytes(lines)

    def to_json(self) -> str:
        return self.tokenizer.to_str()


def first_of_template(content: dict) -> int | None:
    """The id that a tokenizer's JSON puts before a text; None where it puts none there."""
    part = content.get("post_processor") or {}
    parts = part["processors"] if part.get("type") == "Sequence" else [part]
    for template in (one for one in parts if one.get("type") == "TemplateProcessing"):
        if special := template["single"][0].get("SpecialToken"):
            return template["special_tokens"][special["id"]]["ids"][0]
    return None


def plain(content: dict) -> dict:
    """A tokenizer's JSON without what belongs to the beginning and end of a whole text."""
    normalizer = content.get("normalizer")
    if normalizer and normalizer["type"] == "Sequence":
        kept = [one for one in normalizer["normalizers"] if one["type"] != "Prepend"]
        normalizer = normalizer | {"normalizers": kept}
    elif normalizer and normalizer["type"] == "Prepend":
        normalizer = None
    more = {"post_processor": None, "truncation": None, "padding": None}
    return content | more | {"normalizer": normalizer, "pre_tokenizer": _no_prefix(content.get("pre_tokenizer"))}


def _no_prefix(part: dict | None) -> dict | None:
    if part is None:
        return None
    if part["type"] == "Sequence":
        return part | {"pretokenizers": [_no_prefix(one) for one in part["pretokenizers"]]}
    never = {"ByteLevel": {"add_prefix_space": False}, "Metaspace": {"prepend_scheme": "never"}}
    return part | never.get(part["type"], {})


def load_tokenizer(folder: Path, source: str) -> GuestTokenizer:
    """The tokenizer in a model's folder.

    Raises:
        ValueError: transformers cannot load it, it is not one of the `tokenizers` library, or has no bos and eos.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # as many kinds as there are tokenizers
        reason = str(error).splitlines()[0] if str(error) else ""
        raise ValueError(
            f"hf:{source}: transformers cannot load its tokenizer without code from the model's folder "
            f"({type(error).__name__}: {reason}); save one of the `tokenizers` library there (tokenizer.json)."
        ) from error
    if not tokenizer.is_fast:
        raise ValueError(
            f"hf:{source}: its tokenizer ({type(tokenizer).__name__}) is not one of the `tokenizers` library, which "
            "reads a text fast; save it as such (tokenizer.json)."
        )
    try:
        return GuestTokenizer(tokenizer)
    except ValueError as error:
        raise ValueError(f"hf:{source}: {error}") from error

"""A tokenizer of transformers as one of ours: lines in, ids out, line by line.

transformers encodes a whole text. Here every line is encoded by itself, so that ids do not depend on how the text was
cut for streaming, and so that the words and bytes of every line can be counted: no token spans a line end. A line is
therefore encoded as if it stood in the middle of a text:

    no token is added at its beginning or end (`add_special_tokens`)
    no space is put before it (sentencepiece's dummy prefix, `add_prefix_space`)
    the name of a special token in a text is text
"""

import json
from typing import TYPE_CHECKING

import tokenizers as hf

from alibi.data.tokenizers import FastTokenizer
from alibi.interop.token_coverage import Coverage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class GuestTokenizer(FastTokenizer):
    """
    Args:
        tokenizer: as transformers loaded it.

    Attributes:
        first_input: begins the stream: the begin-of-text token, else the one that the tokenizer puts before a text,
            else the end-of-text token.
        end_of_text: closes a document: the same two, in the other order.

    Raises:
        ValueError: it has neither token, or is not one of the `tokenizers` library.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        if not tokenizer.is_fast:
            kind = f"({type(tokenizer).__name__}) is not one of the `tokenizers` library"
            raise ValueError(f"its tokenizer {kind}; save it as such (tokenizer.json).")
        whole = json.loads(tokenizer.backend_tokenizer.to_str())
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        begin = first_of_template(whole) if begin is None else begin
        if begin is None and end is None:
            message = "its tokenizer has neither a bos nor an eos token to begin a text with"
            raise ValueError(f"{message}; name one in its tokenizer_config.json.")
        self.first_input, self.end_of_text = (end if begin is None else begin), (begin if end is None else end)
        content = of_a_line(whole)
        super().__init__(hf.Tokenizer.from_str(json.dumps(content)))
        # A word tokenizer reads WikiText's `.tokens`, as ours does.
        self.name = "word" if content["model"]["type"] == "WordLevel" else "hf"
        self.vocab_size = 1 + max(self.tokenizer.get_vocab().values())
        self.uncovered_bytes = Coverage(self.tokenizer).uncovered_bytes


def first_of_template(content: dict) -> int | None:
    """The id that a tokenizer's JSON puts before a text; None if it puts none there."""
    part = content.get("post_processor") or {}
    for template in part["processors"] if part.get("type") == "Sequence" else [part]:
        special = template["single"][0].get("SpecialToken") if template.get("type") == "TemplateProcessing" else None
        if special:
            return template["special_tokens"][special["id"]]["ids"][0]
    return None


def of_a_line(content: dict) -> dict:
    """A tokenizer's JSON without what it does at the beginning and end of a whole text."""
    normalizer = content.get("normalizer") or {}
    if normalizer.get("type") == "Sequence":
        kept = [one for one in normalizer["normalizers"] if one["type"] != "Prepend"]
        normalizer = normalizer | {"normalizers": kept}
    elif normalizer.get("type") == "Prepend":
        normalizer = {}
    nothing = dict.fromkeys(("post_processor", "truncation", "padding"))
    split = _without_prefix(content["pre_tokenizer"]) if content.get("pre_tokenizer") else None
    return content | nothing | {"normalizer": normalizer or None, "pre_tokenizer": split}


def _without_prefix(part: dict) -> dict:
    if part["type"] == "Sequence":
        return part | {"pretokenizers": [_without_prefix(one) for one in part["pretokenizers"]]}
    never = {"ByteLevel": {"add_prefix_space": False}, "Metaspace": {"prepend_scheme": "never"}}
    return part | never.get(part["type"], {})

"""A tokenizer of transformers as one of ours: lines in, ids out, line by line; and what of a text its ids cover.

transformers encodes a whole text. Here every line is encoded by itself, so that ids do not depend on how the text was
cut for streaming, and so that the words and bytes of every line can be counted: no token spans a line end. A line is
therefore encoded as if it stood in the middle of a text:

    no token is added at its beginning or end (`add_special_tokens`)
    no space is put before it (sentencepiece's dummy prefix, `add_prefix_space`)
    the name of a special token in a text is text

A tokenizer may drop characters (white space, line ends), change them (case, accents, compatibility forms) or have no
token for them. The model then predicts less than the text, and nats per byte of the whole text come out too low. A
line's tokens are decoded; a character of the line that the decoded text has fewer of is not covered, nor is text for
which the unknown token stands. Canonically equivalent characters (NFC) are the same.

A decoder that puts a space between any two tokens has no token for it: such tokenizers split at white space, and one
space goes with a word. A line end that has a token of its own is covered, whatever the token is called.
"""

import json
from collections import Counter
from collections.abc import Iterable
from unicodedata import normalize

import tokenizers as hf
from tokenizers import decoders

from alibi.data.tokenizers import FastTokenizer, beyond_one_space

# Settings of a tokenizer's parts, by which they act on the beginning of a text, and their values without that.
NO_PREFIX = {"add_prefix_space": False, "prepend_scheme": "never"}


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

    def __init__(self, tokenizer) -> None:
        if not tokenizer.is_fast:
            raise ValueError(f"its tokenizer ({type(tokenizer).__name__}) is a slow one; save it as a tokenizer.json.")
        content = of_a_line(json.loads(tokenizer.backend_tokenizer.to_str()))
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        if begin is None:
            letter = tokenizer("a", return_special_tokens_mask=True)
            begin = letter["input_ids"][0] if letter["special_tokens_mask"][:1] == [1] else end
        if begin is None:
            raise ValueError("its tokenizer has neither a bos nor an eos token; name one in tokenizer_config.json.")
        self.first_input, self.end_of_text = begin, begin if end is None else end
        super().__init__(hf.Tokenizer.from_str(json.dumps(content)))
        model = content["model"]
        # A word tokenizer reads WikiText's `.tokens`, as ours does.
        self.name = "word" if model["type"] == "WordLevel" else "hf"
        self.vocab_size = 1 + max(self.tokenizer.get_vocab().values())
        self.decoder = _decoder(content)
        self.between_words = model["type"] in ("WordLevel", "WordPiece") or bool(model.get("end_of_word_suffix"))
        self.unknown = model.get("unk_id", self.tokenizer.token_to_id(model.get("unk_token") or ""))

    def uncovered_bytes(self, lines: list[str]) -> int:
        """Bytes of the lines that no token covers."""
        encodings = self.tokenizer.encode_batch(lines, add_special_tokens=False)
        return sum(map(self._uncovered, lines, encodings))

    def _uncovered(self, line: str, encoding: hf.Encoding) -> int:
        """Characters are counted, not aligned: takes linear time, and offsets are wrong after a dropped character."""
        known, spans = line, [*zip(encoding.ids, encoding.offsets, strict=True)]
        for number, (start, end) in reversed(spans):
            if number == self.unknown:
                known = known[:start] + known[end:]
        found = len(line.encode()) - len(known.encode())
        text = self._decoded(encoding.ids)
        if text == line:
            return 0
        missing = Counter(normalize("NFC", known)) - Counter(normalize("NFC", text))
        if self._decoded(number for number, (start, _) in spans if start == len(line) - 1).strip():
            del missing["\n"]  # the line end has a token of its own
        if self.between_words:
            found += beyond_one_space(line if missing["\n"] else line.removesuffix("\n"))
            missing = {letter: count for letter, count in missing.items() if not letter.isspace()}
        return found + sum(len(letter.encode()) * count for letter, count in missing.items())

    def _decoded(self, ids: Iterable[int]) -> str:
        """Text of the ids but the unknown one; by id, since Unigram's encoding gives the text itself for that."""
        return self.decoder.decode([self.tokenizer.id_to_token(number) for number in ids if number != self.unknown])


def of_a_line(content: dict) -> dict:
    """A tokenizer's JSON without what it does at the beginning and end of a whole text."""
    nothing = dict.fromkeys(("post_processor", "truncation", "padding"))
    return content | nothing | {part: _without_prefix(content[part]) for part in ("normalizer", "pre_tokenizer")}


def _without_prefix(part: dict | None) -> dict | None:
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Sequence":
        [inner] = part.keys() - {"type"}  # normalizers or pretokenizers
        return part | {inner: [kept for one in part[inner] if (kept := _without_prefix(one))]}
    return part | {name: value for name, value in NO_PREFIX.items() if name in part}


def _decoder(content: dict) -> decoders.Decoder:
    """Tokens to text, without what is done at the beginning of a whole text."""
    decoder = content["decoder"]
    if decoder is None:  # then the inverse of how the tokenizer splits
        split = json.dumps([content["pre_tokenizer"], content["normalizer"]])
        if "ByteLevel" in split:
            return decoders.ByteLevel()
        return decoders.Metaspace(prepend_scheme="never") if "Metaspace" in split else decoders.Fuse()
    parts = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    changes = {"Metaspace": {"prepend_scheme": "never"}, "WordPiece": {"cleanup": False}, "CTC": {"cleanup": False}}
    parts = [part | changes.get(part["type"], {}) for part in parts if part["type"] != "Strip"]
    whole = content | {"decoder": {"type": "Sequence", "decoders": parts}}
    return hf.Tokenizer.from_str(json.dumps(whole)).decoder

"""How many bytes of a text a tokenizer's ids stand for, and how many they leave out.

A tokenizer may drop characters (white space, line ends), change them (case, accents, compatibility forms) or have no
token for them. The model then predicts less than the text, and nats per byte of the whole text come out too low. A
line's tokens are decoded; a character of the line that the decoded text has fewer of is not covered, nor is text for
which the unknown token stands. Canonically equivalent characters (NFC) are the same.

A decoder that puts a space between any two tokens has no token for it: such tokenizers split at white space, and one
space goes with a word. A line end that has a token of its own is covered, whatever the token is called.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable

import tokenizers as hf
from tokenizers import decoders

from alibi.data.tokenizers import beyond_one_space


class Coverage:
    """
    Args:
        tokenizer: as it encodes lines.
    """

    def __init__(self, tokenizer: hf.Tokenizer) -> None:
        content = json.loads(tokenizer.to_str())
        model = content["model"]
        self.tokenizer = tokenizer
        self.decoder = _decoder(content)
        self.between_words = model["type"] in ("WordLevel", "WordPiece") or bool(model.get("end_of_word_suffix"))
        self.unknown = model.get("unk_id", tokenizer.token_to_id(model.get("unk_token") or ""))

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
        missing = Counter(_composed(known)) - Counter(_composed(text))
        if self._decoded(number for number, (start, _) in spans if start == len(line) - 1).strip():
            del missing["\n"]  # the line end has a token of its own
        if self.between_words:
            found += beyond_one_space(line if missing["\n"] else line.removesuffix("\n"))
            missing = {letter: count for letter, count in missing.items() if not letter.isspace()}
        return found + sum(len(letter.encode()) * count for letter, count in missing.items())

    def _decoded(self, ids: Iterable[int]) -> str:
        """Text of the ids but the unknown one; by id, since Unigram's encoding gives the text itself for that."""
        return self.decoder.decode([self.tokenizer.id_to_token(number) for number in ids if number != self.unknown])


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _decoder(content: dict) -> decoders.Decoder:
    """Tokens to text, without what is done at the beginning of a whole text."""
    decoder = content["decoder"] or _default_decoder(content)
    parts = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    parts = [part for part in parts if part["type"] != "Strip"]
    changes = {"Metaspace": {"prepend_scheme": "never"}, "WordPiece": {"cleanup": False}, "CTC": {"cleanup": False}}
    parts = [part | changes.get(part["type"], {}) for part in parts]
    bare = json.loads(hf.Tokenizer(hf.models.WordLevel({}, "")).to_str())
    return hf.Tokenizer.from_str(json.dumps(bare | {"decoder": {"type": "Sequence", "decoders": parts}})).decoder


def _default_decoder(content: dict) -> dict:
    """The inverse of how the tokenizer splits, for a file that names no decoder."""
    split = json.dumps([content["pre_tokenizer"], content["normalizer"]])
    if "ByteLevel" in split:
        return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    if "Metaspace" in split:
        return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False}
    return {"type": "Fuse"}

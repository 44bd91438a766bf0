"""How many bytes of a text a tokenizer's ids stand for, and how many they leave out.

A tokenizer may drop characters (white space, line ends), change them (case, accents, compatibility forms) or have no
token for them. The model then predicts less than the text, and nats per byte of the whole text come out too low. A
byte is covered if there is a token at its place, and the tokens there decode to the character; canonically equivalent
characters (NFC) are the same.

A decoder that puts a space between any two tokens has no token for it: such tokenizers split at white space, and one
space goes with a word. A line end that has a token of its own is covered, whatever the token is called.
"""

import json
import unicodedata
from collections.abc import Iterator
from difflib import SequenceMatcher

import tokenizers as hf
from tokenizers import decoders

from alibi.data.tokenizers import beyond_one_space

Span = tuple[int, int]
# Longer pieces are not aligned character by character, which takes quadratic time.
MAX_ALIGNED = 200


class Coverage:
    """
    Args:
        tokenizer: as it encodes lines.
    """

    def __init__(self, tokenizer: hf.Tokenizer) -> None:
        content = json.loads(tokenizer.to_str())
        model = content["model"]
        self.tokenizer = tokenizer
        # By id: for text that Unigram does not know, an encoding's tokens are the text itself.
        self.tokens = {number: token for token, number in tokenizer.get_vocab().items()}
        self.decoder = _decoder(content)
        self.prefix = model.get("continuing_subword_prefix") or ""
        self.between_words = model["type"] in ("WordLevel", "WordPiece") or bool(model.get("end_of_word_suffix"))
        self.unknown = model.get("unk_token")
        if model["type"] == "Unigram" and model.get("unk_id") is not None:
            self.unknown = model["vocab"][model["unk_id"]][0]

    def uncovered_bytes(self, lines: list[str]) -> int:
        """Bytes of the lines that no token covers."""
        found = 0
        for line, encoding in zip(lines, self.tokenizer.encode_batch(lines, add_special_tokens=False), strict=True):
            tokens = [self.tokens[number] for number in encoding.ids]
            text = self.decoder.decode(tokens)
            if _same(text, line):
                continue
            if not self.between_words and _is_subsequence(text, line):
                # Not by offsets: they are wrong after a character that BPE drops for lack of a token.
                found += len(line.encode()) - len(text.encode())
            else:
                found += self._uncovered(line, tokens, encoding.offsets)
        return found

    def _uncovered(self, line: str, tokens: list[str], offsets: list[Span]) -> int:
        found = reached = 0
        for start, end, tokens_here in _pieces(line, tokens, offsets):
            found += self._left_out(line[reached:start]) + self._changed(line[start:end], tokens_here)
            reached = end
        return found + self._left_out(line[reached:])

    def _left_out(self, text: str) -> int:
        """Bytes of a text without tokens; one space between words goes with a word."""
        if self.between_words:
            return beyond_one_space(text) + len("".join(text.split()).encode())
        return len(text.encode())

    def _changed(self, piece: str, tokens: list[str]) -> int:
        """Bytes of a piece of text that its tokens do not decode to."""
        text = self.decoder.decode([tokens[0].removeprefix(self.prefix), *tokens[1:]])
        if self.between_words:
            piece, text = piece.strip(" "), text.strip(" ")
        if _same(piece, text) or (piece == "\n" and text.strip() and self.unknown not in tokens):
            return 0
        if self.unknown in tokens or max(len(piece), len(text)) > MAX_ALIGNED:
            return len(piece.encode())
        same = SequenceMatcher(None, piece, text, autojunk=False).get_matching_blocks()
        return len(piece.encode()) - sum(len(piece[block.a : block.a + block.size].encode()) for block in same)


def _same(one: str, other: str) -> bool:
    return one == other or unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def _is_subsequence(text: str, line: str) -> bool:
    rest = iter(line)
    return all(character in rest for character in text)


def _pieces(line: str, tokens: list[str], offsets: list[Span]) -> Iterator[tuple[int, int, list[str]]]:
    """(start, end, tokens) of stretches of text.

    Tokens that share a character, as its bytes do, are one piece, and so are a letter and its combining marks.
    """
    start, end, piece = 0, 0, []
    for token, (first, last) in zip(tokens, offsets, strict=True):
        if first == last:  # stands for nothing in the text
            continue
        if piece and first >= end:
            yield start, end, piece
            piece = []
        start, end = (start, max(end, last)) if piece else (first, last)
        while end < len(line) and unicodedata.combining(line[end]):
            end += 1
        piece.append(token)
    if piece:
        yield start, end, piece


def _decoder(content: dict) -> decoders.Decoder:
    """Tokens to text, without what is done at the beginning of a whole text."""
    decoder = content["decoder"] or _default_decoder(content)
    parts = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    parts = [part for part in parts if part["type"] != "Strip"]
    parts = [part | {"prepend_scheme": "never"} if part["type"] == "Metaspace" else part for part in parts]
    parts = [part | {"cleanup": False} if "cleanup" in part else part for part in parts]
    bare = json.loads(hf.Tokenizer(hf.models.WordLevel({}, "")).to_str())
    return hf.Tokenizer.from_str(json.dumps(bare | {"decoder": {"type": "Sequence", "decoders": parts}})).decoder


def _default_decoder(content: dict) -> dict:
    """The inverse of how the tokenizer splits, for a file that names no decoder."""
    if "ByteLevel" in json.dumps([content["pre_tokenizer"], content["normalizer"]]):
        return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    if "Metaspace" in json.dumps(content["pre_tokenizer"]):
        return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False}
    return {"type": "Fuse"}

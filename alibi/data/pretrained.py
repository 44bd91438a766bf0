"""Tokenizers made elsewhere, as one of ours: lines in, ids out, line by line; and what of a text the ids cover.

Their own library encodes a whole text. Here every line is encoded by itself, so that ids do not depend on how the text
was cut for streaming, and so that the words and bytes of every line can be counted: no token spans a line end. A line
is therefore encoded as if it stood in the middle of a text:

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
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

import tokenizers as hf
from tokenizers import decoders

from alibi.data.hub import fetch
from alibi.data.tokenizers import END_OF_TEXT, FastTokenizer, beyond_one_space
from alibi.files import one_line

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
# Names of the end-of-text token, for a file that states none.
USUAL_ENDS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>")
# Settings of a tokenizer's parts, by which they act on the beginning of a text, and their values without that.
NO_PREFIX = {"add_prefix_space": False, "prepend_scheme": "never"}


class LineTokenizer(FastTokenizer):
    """A tokenizer of the `tokenizers` library that encodes a line as if it stood in the middle of a text.

    Args:
        content: its JSON.
        first_input, end_of_text: ids, see Tokenizer.
    """

    def __init__(self, content: dict, first_input: int, end_of_text: int) -> None:
        content = of_a_line(content)
        super().__init__(hf.Tokenizer.from_str(json.dumps(content)))
        self.first_input, self.end_of_text = first_input, end_of_text
        model = content["model"]
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


class PretrainedTokenizer(LineTokenizer):
    """A tokenizer.json of somebody else, to train with: end-of-text begins the stream and closes a document."""

    name = "pretrained"

    def __init__(self, content: dict, end_of_text: int) -> None:
        super().__init__(content, end_of_text, end_of_text)

    def to_json(self) -> str:
        content = json.loads(super().to_json())
        return json.dumps({"kind": self.name, "end_of_text": self.end_of_text, "content": content})


def load_pretrained(path: str, end_of_text: str | None) -> PretrainedTokenizer:
    """A tokenizer from a tokenizer.json, a folder that holds one, or the hub.

    Args:
        path: of the file or the folder; or an id on the hub, such as gpt2 or ID@REVISION.
        end_of_text: the token that closes a document; None: the one that tokenizer_config.json names (eos_token), else
            a usual name that the vocabulary has.

    Raises:
        ValueError: not a tokenizer of the `tokenizers` library, or no end-of-text token is known.
        FileNotFoundError: a folder without a tokenizer.json.
        ConnectionError: the hub does not give it.
    """
    place = Path(path)
    if not place.exists():
        name, _, revision = path.partition("@")
        if not HUB_ID.fullmatch(name):
            raise FileNotFoundError(f"tokenizer.path ({path}) is no file or folder here, and no hub id (OWNER/NAME).")
        place = fetch(name, (FILE, SETTINGS), revision=revision or None)
    file = place if place.is_file() else place / FILE
    if not file.is_file():
        raise FileNotFoundError(f"tokenizer.path ({path}) has no {FILE}; tokenizer.save_pretrained(FOLDER) writes it.")
    try:
        tokenizer = hf.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises Exception itself
        raise ValueError(f"tokenizer.path ({path}): {file.name} is no tokenizer ({one_line(error)}).") from error
    names = [end_of_text] if end_of_text else [*_stated_end(file.with_name(SETTINGS)), *USUAL_ENDS]
    number = next((n for name in names if (n := tokenizer.token_to_id(name)) is not None), None)
    if number is None:
        what = f"{end_of_text} is not in its vocabulary" if end_of_text else "its files name none"
        raise ValueError(
            f"tokenizer.path ({path}) needs an end-of-text token, and {what}; "
            "name one of its tokens by tokenizer.end_of_text=TOKEN."
        )
    return PretrainedTokenizer(json.loads(tokenizer.to_str()), number)


def _stated_end(settings: Path) -> list[str]:
    """The eos_token of a tokenizer_config.json, if it names one.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        content = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{settings} is not JSON ({error}); remove or mend it.") from error
    stated = content.get("eos_token") if isinstance(content, dict) else None
    name = stated.get("content") if isinstance(stated, dict) else stated
    return [name] if isinstance(name, str) else []


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

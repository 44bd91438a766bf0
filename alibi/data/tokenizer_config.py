"""Which tokenizer a run has: its settings, and how it is made or read again."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import tokenizers as hf

from alibi.data.pretrained import PretrainedTokenizer, load_pretrained
from alibi.data.tokenizers import BYTES, WORD_SPECIALS, BytePairTokenizer, ByteTokenizer, Tokenizer, WordTokenizer
from alibi.files import one_line

MAX_IDS = 2**24  # the BPE trainer allocates room for all of them before it begins
TRAINED = {kind.name: kind for kind in (BytePairTokenizer, WordTokenizer, ByteTokenizer)}
NAMES = (*TRAINED, PretrainedTokenizer.name)
LATER_SETTINGS = {"pad_to_multiple_of", "path", "end_of_text"}  # None is what was done before


@dataclass
class TokenizerConfig:
    """
    Attributes:
        name: bpe, word, byte or pretrained.
        vocab_size: number of ids; None means 8192 for bpe and every word for word. byte always has 257.
        pad_to_multiple_of: made-up words are added to word until its number of ids is a multiple of this, as fairseq
            does; None adds none.
        path: of pretrained: a tokenizer.json, a folder that holds one, or an id on the hub.
        end_of_text: of pretrained: the token that closes a document; None: the one that its files name.
    """

    name: str = "bpe"
    vocab_size: int | None = None
    pad_to_multiple_of: int | None = None
    path: str | None = None
    end_of_text: str | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"tokenizer.name ({self.name}) must be one of: {', '.join(NAMES)}.")
        if self.name == "bpe" and self.vocab_size is None:
            self.vocab_size = 8192
        least = {"vocab_size": {"bpe": BYTES + 1, "word": len(WORD_SPECIALS) + 1}, "pad_to_multiple_of": {"word": 1}}
        for setting, kinds in least.items():
            value, low = getattr(self, setting), kinds.get(self.name)
            if value is not None and low is None:
                raise ValueError(f"tokenizer.{setting} ({value}) would be ignored by {self.name}; remove it.")
            if value is not None and not low <= value <= MAX_IDS:
                raise ValueError(f"tokenizer.{setting} ({value}) must be from {low} to {MAX_IDS} for {self.name}.")
        if self.is_pretrained and not self.path:
            raise ValueError("tokenizer=pretrained needs tokenizer.path: a tokenizer.json, its folder, or a hub id.")
        if self.is_pretrained and self.end_of_text == "":
            raise ValueError("tokenizer.end_of_text () must be one of the tokenizer's tokens; null: the one it names.")
        for setting in () if self.is_pretrained else ("path", "end_of_text"):
            if (value := getattr(self, setting)) is not None:
                raise ValueError(f"tokenizer.{setting} ({value}) would be ignored by {self.name}; remove it.")

    @property
    def is_pretrained(self) -> bool:
        return self.name == PretrainedTokenizer.name

    @property
    def key(self) -> dict:
        """What identifies a trained tokenizer, beside its text."""
        return {name: value for name, value in asdict(self).items() if name not in LATER_SETTINGS or value}

    def train(self, lines: Iterable[str]) -> Tokenizer:
        """The tokenizer that these lines give."""
        padding = {"pad_to_multiple_of": self.pad_to_multiple_of} if self.pad_to_multiple_of else {}
        return TRAINED[self.name].train(lines, self.vocab_size, **padding)

    def load(self) -> Tokenizer | None:
        """The tokenizer that needs no training; None if this one does. Raises as load_pretrained."""
        return load_pretrained(self.path, self.end_of_text) if self.is_pretrained else None


def tokenizer_from_json(text: str) -> Tokenizer:
    """Inverse of `Tokenizer.to_json`.

    Raises:
        ValueError: not a tokenizer of this project.
    """
    try:
        content = json.loads(text)
        made = {
            "byte": lambda: ByteTokenizer(),
            "word": lambda: WordTokenizer(content["words"]),
            "pretrained": lambda: PretrainedTokenizer(content["content"], content["end_of_text"]),
        }
        return made[content["kind"]]() if "kind" in content else BytePairTokenizer(hf.Tokenizer.from_str(text))
    except Exception as error:  # the library raises Exception itself
        raise ValueError(f"not a tokenizer file of this project ({one_line(error)}).") from error

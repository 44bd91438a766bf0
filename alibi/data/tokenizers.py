"""Tokenizers: `bpe` (byte-level), `word` (WikiText's words), `byte`. Lines in, ids out, line by line.

Each is a JSON text, whose hash is its identity. Lines are encoded one by one, so that ids do not
depend on how the text was cut for streaming.
"""

import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import tokenizers as hf
from tokenizers import decoders, models, pre_tokenizers, trainers

from alibi.data.text import beyond_one_space

BYTES = 256
MOST_IDS = 2**24  # the trainer of bpe makes room for all of them before it begins
WORD_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
END_OF_TEXT = "<|endoftext|>"


@dataclass
class TokenizerConfig:
    """
    Attributes:
        name: bpe, word or byte.
        vocab_size: number of ids; None means 8192 for bpe and every word for word. byte has 257, always.
        pad_to_multiple_of: word gets made-up words until its number of ids is a multiple, as fairseq does; None: none.
    """

    name: str = "bpe"
    vocab_size: int | None = None
    pad_to_multiple_of: int | None = None

    def __post_init__(self) -> None:
        if self.name not in TOKENIZERS:
            raise ValueError(f"tokenizer.name ({self.name}) must be one of: {', '.join(TOKENIZERS)}.")
        if self.name == "byte" and self.vocab_size is not None:
            raise ValueError(f"tokenizer.vocab_size ({self.vocab_size}) would be ignored: byte has 257 ids; remove it.")
        if self.name == "bpe" and self.vocab_size is None:
            self.vocab_size = 8192
        least = {"bpe": BYTES + 1, "word": len(WORD_SPECIALS) + 1, "byte": 0}[self.name]
        if self.vocab_size is not None and not least <= self.vocab_size <= MOST_IDS:
            raise ValueError(
                f"tokenizer.vocab_size ({self.vocab_size}) must be at least {least} for {self.name}, and at most "
                f"{MOST_IDS}."
            )
        if self.pad_to_multiple_of is not None and self.name != "word":
            raise ValueError(
                f"tokenizer.pad_to_multiple_of ({self.pad_to_multiple_of}) would be ignored by {self.name}: it is for "
                "word only; remove it."
            )
        if self.pad_to_multiple_of is not None and not 1 <= self.pad_to_multiple_of <= MOST_IDS:
            raise ValueError(
                f"tokenizer.pad_to_multiple_of ({self.pad_to_multiple_of}) must be at least 1 and at most {MOST_IDS}."
            )

    @property
    def key(self) -> dict:
        """What a trained tokenizer is known by, beside its text; a setting of later date only where it is set."""
        key = {"name": self.name, "vocab_size": self.vocab_size}
        return key if self.pad_to_multiple_of is None else key | {"pad_to_multiple_of": self.pad_to_multiple_of}

    def train(self, lines: Iterable[str]) -> "Tokenizer":
        """The tokenizer that lines give."""
        tokenizer = TOKENIZERS[self.name].train(lines, self.vocab_size)
        return tokenizer if self.pad_to_multiple_of is None else tokenizer.padded(self.pad_to_multiple_of)


class Tokenizer(ABC):
    """
    Attributes:
        name: of the kind.
        vocab_size: number of ids.
        end_of_text: id of the first input of every stream, and of what closes a document.
    """

    name: str
    vocab_size: int
    end_of_text: int

    @classmethod
    @abstractmethod
    def train(cls, lines: Iterable[str], vocab_size: int | None) -> "Tokenizer":
        """Learn from lines, in one pass that holds no more than the words and their counts."""

    @abstractmethod
    def encode(self, lines: list[str]) -> list[list[int]]:
        """Ids of each line, its line end included where it has one."""

    @property
    def first_input(self) -> int:
        """What stands before the first token of a stream."""
        return self.end_of_text

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text that is to be continued: its last line goes on where it has no line end."""
        return [token for line in self.encode(io.StringIO(text, newline="\n").readlines()) for token in line]

    @abstractmethod
    def decode(self, ids: list[int]) -> str: ...

    @abstractmethod
    def to_json(self) -> str: ...

    def uncovered_bytes(self, lines: list[str]) -> int:
        """Bytes of the lines that no token stands for, so that no prediction of them is scored."""
        return 0

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class BytePairTokenizer(Tokenizer):
    """Byte-level BPE of the `tokenizers` library; lossless on any text."""

    name = "bpe"

    def __init__(self, tokenizer: hf.Tokenizer) -> None:
        # The name of the end-of-text token may stand in a text, where it is text.
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.get_vocab_size()
        self.end_of_text = tokenizer.token_to_id(END_OF_TEXT)
        if self.end_of_text is None:
            raise ValueError(f"the tokenizer has no token {END_OF_TEXT}, which begins every stream; train it here.")

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int | None) -> "BytePairTokenizer":
        tokenizer = cls.blank()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(lines, trainer)
        return cls(tokenizer)

    @staticmethod
    def blank() -> hf.Tokenizer:
        """Its parts, before it has learnt anything."""
        tokenizer = hf.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def encode(self, lines: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(lines, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def to_json(self) -> str:
        return self.tokenizer.to_str()


class WordTokenizer(Tokenizer):
    """Words between spaces, and `</s>` for every line end; other words are `<unk>`.

    Ids are fairseq's: four special symbols, then words by falling count, ties by code point.
    """

    name = "word"

    def __init__(self, words: list[str]) -> None:
        self.words = [*WORD_SPECIALS, *words]
        self.ids = {word: index for index, word in enumerate(self.words)}
        if len(self.ids) != len(self.words):
            raise ValueError("the word list holds a word twice or a special symbol; train the tokenizer anew.")
        self.vocab_size = len(self.words)
        self.end_of_text, self.unknown = self.ids["</s>"], self.ids["<unk>"]

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int | None) -> "WordTokenizer":
        counts = Counter()
        for line in lines:
            counts.update(line.split())
        for special in WORD_SPECIALS:
            counts.pop(special, None)
        words = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(words if vocab_size is None else words[: vocab_size - len(WORD_SPECIALS)])

    def padded(self, multiple_of: int) -> "WordTokenizer":
        """With madeupword0000, madeupword0001, ... at the end, those that the text has left out, until it fits."""
        words, number = self.words[len(WORD_SPECIALS) :], 0
        while (len(WORD_SPECIALS) + len(words)) % multiple_of:
            made_up, number = f"madeupword{number:04d}", number + 1
            if made_up not in self.ids:
                words.append(made_up)
        return WordTokenizer(words)

    def encode(self, lines: list[str]) -> list[list[int]]:
        get, unknown, end = self.ids.get, self.unknown, self.end_of_text
        # A document's last line may have no line end, and a prompt's has none.
        return [[*(get(word, unknown) for word in line.split()), *[end] * line.endswith("\n")] for line in lines]

    def decode(self, ids: list[int]) -> str:
        return " ".join("\n" if i == self.end_of_text else self.words[i] for i in ids)

    def uncovered_bytes(self, lines: list[str]) -> int:
        """Unknown words, and white space beyond one space beside a word; a word `<unk>` of the text is known."""
        return sum(
            sum(len(word.encode()) for word in line.split() if word not in self.ids)
            + beyond_one_space(line.removesuffix("\n"))
            for line in lines
        )

    def to_json(self) -> str:
        return json.dumps({"kind": self.name, "words": self.words[len(WORD_SPECIALS) :]}, ensure_ascii=False)


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes, and id 256 for the end of a text."""

    name = "byte"
    vocab_size = BYTES + 1
    end_of_text = BYTES

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int | None) -> "ByteTokenizer":
        return cls()

    def encode(self, lines: list[str]) -> list[list[int]]:
        return [list(line.encode()) for line in lines]

    def decode(self, ids: list[int]) -> str:
        return bytes(i for i in ids if i < BYTES).decode(errors="replace")

    def to_json(self) -> str:
        return json.dumps({"kind": self.name})


TOKENIZERS: dict[str, type[Tokenizer]] = {t.name: t for t in (BytePairTokenizer, WordTokenizer, ByteTokenizer)}


def tokenizer_from_json(text: str) -> Tokenizer:
    """Inverse of `to_json`.

    Raises:
        ValueError: not a tokenizer of ours.
    """
    try:
        content = json.loads(text)
        kind = content.get("kind") or content["model"]["type"].lower()
        if kind == "bpe":
            _check_byte_pairs(content)
            return BytePairTokenizer(hf.Tokenizer.from_str(text))
        if kind == "word":
            words = content["words"]
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError("its words must be a list of texts")
            return WordTokenizer(words)
        return {"byte": ByteTokenizer}[kind]()
    except Exception as error:
        what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {str(error)[:200]}"
        raise ValueError(f"not a tokenizer file of this project ({what}).") from error


def _check_byte_pairs(content: dict) -> None:
    """Whether a file says nothing but what `train` makes: the library would obey more.

    A stranger's normaliser or pattern can take for ever, padding to 10^9 all memory, and an id that
    no embedding has ends in an error of the device.
    """
    vocab, merges = content["model"]["vocab"], content["model"]["merges"]
    if not all(type(i) is int for i in vocab.values()) or sorted(vocab.values()) != list(range(len(vocab))):
        raise ValueError(f"its {len(vocab):,} ids must be 0 to {len(vocab) - 1:,}, each once")
    if END_OF_TEXT not in vocab:
        raise ValueError(f"it has no token {END_OF_TEXT}, which begins every stream")
    if not all(isinstance(pair, (str, list)) for pair in merges):
        raise ValueError("its merges must be pairs of texts")
    own = BytePairTokenizer.blank()
    own.add_special_tokens([END_OF_TEXT])
    known = json.loads(own.to_str())
    known["added_tokens"][0]["id"] = vocab[END_OF_TEXT]
    model = {name: value for name, value in content["model"].items() if name not in ("vocab", "merges")}
    found, allowed = {**content, "model": None, **_named("model", model)}, {**known, "model": None}
    allowed |= _named("model", known["model"])
    for name in sorted((found.keys() | allowed.keys()) - {"version"}):
        # Other versions of the library leave out, or put in, what does nothing.
        value, wanted = found.get(name) or None, allowed.get(name) or None
        if value != wanted:
            raise ValueError(f"its {name[:40]} is {str(value)[:80]}, which `train` does not make")


def _named(prefix: str, values: dict) -> dict:
    return {f"{prefix}.{name}": value for name, value in values.items()}

"""Tokenizers trained here: `bpe` (byte-level), `word` (WikiText's words), `byte`. Lines in, ids out, line by line.

Each is a JSON text, whose hash identifies it. Every line is encoded by itself, so that ids do not depend on how the
text was cut for streaming.
"""

import hashlib
import io
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from itertools import count, islice

import tokenizers as hf
from tokenizers import decoders, models, pre_tokenizers, trainers

BYTES = 256
WORD_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
END_OF_TEXT = "<|endoftext|>"


class Tokenizer(ABC):
    """
    Attributes:
        name: of the kind.
        vocab_size: number of ids.
        end_of_text: id of what closes a document.
        first_input: id of what stands before the first token of a stream.
    """

    name: str
    vocab_size: int
    end_of_text: int
    first_input: int

    @abstractmethod
    def encode(self, lines: list[str]) -> list[list[int]]:
        """Ids of each line, including its line end if it has one."""

    @abstractmethod
    def decode(self, ids: list[int]) -> str: ...

    @abstractmethod
    def to_json(self) -> str: ...

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text that is to be continued; its last line goes on unless it has a line end."""
        return [token for line in self.encode(io.StringIO(text, newline="\n").readlines()) for token in line]

    def uncovered_bytes(self, lines: list[str]) -> int:
        """Bytes of the lines that no token stands for, so that predicting them is never scored."""
        return 0

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class FastTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library."""

    def __init__(self, tokenizer: hf.Tokenizer) -> None:
        self.tokenizer = tokenizer
        # The name of a special token is ordinary text when it occurs in a text.
        tokenizer.encode_special_tokens = True

    def encode(self, lines: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(lines, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def to_json(self) -> str:
        return self.tokenizer.to_str()


class BytePairTokenizer(FastTokenizer):
    """Byte-level BPE; lossless on any text."""

    name = "bpe"

    def __init__(self, tokenizer: hf.Tokenizer) -> None:
        super().__init__(tokenizer)
        self.vocab_size = tokenizer.get_vocab_size()
        self.end_of_text = self.first_input = tokenizer.token_to_id(END_OF_TEXT)

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int) -> "BytePairTokenizer":
        tokenizer = hf.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        settings = {"special_tokens": [END_OF_TEXT], "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, **settings)
        tokenizer.train_from_iterator(lines, trainer)
        return cls(tokenizer)


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
        self.end_of_text = self.first_input = self.ids["</s>"]

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: int | None, pad_to_multiple_of: int = 1) -> "WordTokenizer":
        """Padding appends those of madeupword0000, madeupword0001, ... that are not words of the text."""
        counts = Counter(word for line in lines for word in line.split())
        words = sorted(counts.keys() - set(WORD_SPECIALS), key=lambda word: (-counts[word], word))
        if vocab_size is not None:
            words = words[: vocab_size - len(WORD_SPECIALS)]
        made_up = (f"madeupword{number:04d}" for number in count())
        unused = (word for word in made_up if word not in words)
        padding = -(len(WORD_SPECIALS) + len(words)) % pad_to_multiple_of
        return cls(words + list(islice(unused, padding)))

    def encode(self, lines: list[str]) -> list[list[int]]:
        get, unknown, end = self.ids.get, self.ids["<unk>"], self.end_of_text
        # A document's last line may have no line end, and a prompt's has none.
        return [[*(get(word, unknown) for word in line.split()), *[end] * line.endswith("\n")] for line in lines]

    def decode(self, ids: list[int]) -> str:
        return " ".join("\n" if i == self.end_of_text else self.words[i] for i in ids)

    def uncovered_bytes(self, lines: list[str]) -> int:
        """Unknown words, and white space beyond one space between words; a word `<unk>` of the text is known."""
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
    end_of_text = first_input = BYTES

    @classmethod
    def train(cls, lines: Iterable[str], vocab_size: None) -> "ByteTokenizer":
        return cls()

    def encode(self, lines: list[str]) -> list[list[int]]:
        return [list(line.encode()) for line in lines]

    def decode(self, ids: list[int]) -> str:
        return bytes(i for i in ids if i < BYTES).decode(errors="replace")

    def to_json(self) -> str:
        return json.dumps({"kind": self.name})


def beyond_one_space(text: str) -> int:
    """Bytes of white space in a text that is more, or other, than one space between words."""
    return sum(len(run.encode()) - (" " in run) for run in re.findall(r"\s+", text))

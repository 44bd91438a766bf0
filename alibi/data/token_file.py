"""Tokens on disk: a folder of flat binary files, memory-mapped, with a manifest.

tokens.bin      uint16 or uint32, the stream
lines.bin       uint32 (tokens, words, bytes) of each line, to cut at a line
documents.bin   uint32, the line that begins each document
manifest.json   counts, and sha256 of text, tokenizer and the three files; written last
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alibi.files import file_sha256

FORMAT = 2  # 1 counted a word for the line end that a document's last line may lack
LINE_FIELDS = ("tokens", "words", "bytes")
FILES = ("tokens", "lines", "documents")


@dataclass(frozen=True)
class TokenFile:
    """A stream of N tokens, all of which are targets; the first input is the end-of-text token.

    Attributes:
        path: of the folder.
        text: {"name", "split", "form", "sha256"} of the text.
        tokenizer: {"name", "vocab_size", "sha256"}.
        end_of_text: the first input.
        num_words, num_bytes, num_lines: of the part in use; num_words counts line ends, as WikiText does.
        tokens: (N,) memory map.
    """

    path: Path
    text: dict
    tokenizer: dict
    end_of_text: int
    num_words: int
    num_bytes: int
    num_lines: int
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def inputs(self, start: int, stop: int) -> np.ndarray:
        """Inputs of the targets [start, stop), int64: the stream shifted by one."""
        if start > 0:
            return self.tokens[start - 1 : stop - 1].astype(np.int64)
        return np.concatenate([[self.end_of_text], self.tokens[: stop - 1].astype(np.int64)])[:stop]

    def targets(self, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop), int64."""
        return self.tokens[start:stop].astype(np.int64)

    def ids_sha256(self) -> str:
        """Hash of the ids in use, as uint32: independent of the tokenizer's name and of how wide ids are stored."""
        return hashlib.sha256(self.tokens.astype("<u4").data).hexdigest()

    def line_sizes(self) -> np.ndarray:
        """(num_lines, 3) uint32: tokens, words and bytes of each line of the part in use."""
        lines = np.memmap(self.path / "lines.bin", np.uint32, "r")
        return lines.reshape(-1, len(LINE_FIELDS))[: self.num_lines]

    def document_lines(self) -> np.ndarray:
        """Index of the line that begins each document of the part in use."""
        # Not mapped: an empty file cannot be, and a text need not begin a document.
        starts = np.fromfile(self.path / "documents.bin", np.uint32).astype(np.int64)
        return starts[starts < self.num_lines]

    def document_ends(self) -> np.ndarray:
        """(D,) int64: for each document of the part in use, the token after its last one.

        Lines before the first heading belong to the first document.
        """
        ends = np.cumsum(self.line_sizes()[:, 0], dtype=np.int64)
        return np.append(ends[self.document_lines()[1:] - 1], len(self))

    def largest_document(self) -> float:
        """Share of the tokens that the largest document of the part in use has."""
        return np.diff(self.document_ends(), prepend=0).max().item() / len(self)

    def cut(self, max_tokens: int) -> "TokenFile":
        """The longest run of whole lines, from the first, with at most `max_tokens` tokens.

        A document's end-of-text token stays with its last line.

        Raises:
            ValueError: not even the first line fits.
        """
        if max_tokens >= len(self):
            return self
        sizes = self.line_sizes()
        ends = np.cumsum(sizes, axis=0, dtype=np.int64)
        # Never before a line without bytes, which is the end of a document.
        places = np.flatnonzero(np.append(sizes[1:, 2], 1)) + 1
        # Nor before the first word: a line of spaces without a line end has none.
        places = places[ends[places - 1, 1] > 0]
        fitting = places[ends[places - 1, 0] <= max_tokens]
        if not len(fitting):
            rule = f"is below the {ends[places[0] - 1, 0]} tokens of the first line; text is cut at whole lines only"
            raise ValueError(f"max_tokens ({max_tokens}) {rule}.")
        kept = int(fitting[-1])
        tokens, words, num_bytes = ends[kept - 1].tolist()
        return replace(self, num_words=words, num_bytes=num_bytes, num_lines=kept, tokens=self.tokens[:tokens])


def open_token_file(folder: Path) -> TokenFile | None:
    """The token file in a folder; None if there is none, or a damaged one, which the cache makes again."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        hashes = {name: file_sha256(folder / f"{name}.bin") for name in FILES}
        if (manifest["format"], manifest["sha256"]) != (FORMAT, hashes):
            return None
        about = {name: manifest[name] for name in ("text", "tokenizer", "end_of_text")}
        counts = {f"num_{name}": manifest[name] for name in ("words", "bytes", "lines")}
        tokens = np.memmap(folder / "tokens.bin", manifest["dtype"], "r")
        return TokenFile(folder, **about, **counts, tokens=tokens)
    except (OSError, ValueError, KeyError, TypeError):
        return None

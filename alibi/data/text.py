"""A text as a stream of lines: one split of a corpus. No more than a line is held in memory.

A line ends at a line feed and nowhere else, and the line feed belongs to it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from alibi.data.token_file import TokenFile

Line = tuple[str, bool]


@dataclass(frozen=True)
class Text:
    """One split of a corpus.

    Attributes:
        name: of the corpus.
        split: train, validation or test; or all, for a corpus of documents.
        form: raw or tokens (the two forms of WikiText), or files.
        paths: of its files.
        separate_documents: an end-of-text token follows each document.
        left_out: files beside the text that are not part of it, and why; None if there are none.
        documents_in_text: number of documents in all splits together; None if the splits are published ones.
    """

    name: str
    split: str
    form: str
    paths: tuple[Path, ...]
    separate_documents: bool
    # Not annotated, so not fields, which would have to stand behind those of subclasses.
    left_out = None
    documents_in_text = None

    def lines(self) -> Iterator[Line]:
        """Each line, with True where it begins a document."""
        raise NotImplementedError

    def share(self, tokens: TokenFile) -> str | None:
        """How much of the named corpus `tokens` holds, in words; None for all of a published split."""
        raise NotImplementedError

    @cached_property
    def sha256(self) -> str:
        """Hash of the UTF-8 text, and of where documents begin if they are kept apart."""
        return self.sha256_of(None)

    def sha256_of(self, num_lines: int | None) -> str:
        """Hash of the first `num_lines` lines."""
        digest = hashlib.sha256()
        mark = "\0document\0" if self.separate_documents else ""
        for lines in in_batches(islice(self.lines(), num_lines), 4096):
            digest.update("".join(mark + line if starts else line for line, starts in lines).encode())
        return digest.hexdigest()


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a file.

    Raises:
        ValueError: bytes that are not UTF-8, with their offset.
    """
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                bad = f"byte 0x{line[error.start]:02x} at offset {offset + error.start} ({error.reason})"
                message = f"{path} is not UTF-8: {bad}; convert the file to UTF-8."
                raise ValueError(message) from error
            offset += len(line)


def in_batches(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items, the last one shorter (itertools.batched, which Python 3.11 lacks)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

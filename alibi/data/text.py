"""Text in: one split of a corpus as a stream of lines, each known to begin a document or not.

Nothing here holds more than a line. Lines end where a line feed stands and nowhere else; the line
feed belongs to the line. Undecodable bytes are an error that names the file and the byte.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

from alibi.data.token_file import TokenFile

Line = tuple[str, bool]


def in_batches(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items, the last one shorter (itertools.batched, which Python 3.11 lacks)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


@dataclass(frozen=True)
class Text:
    """One split of a corpus.

    Attributes:
        name: of the corpus.
        split: train, validation, test, or all of a text that is documents.
        form: raw or tokens (WikiText's two forms), files for a folder of documents.
        num_bytes: size as the source states it, for progress bars.
        separate_documents: an end-of-text token follows each document.
    """

    name: str
    split: str
    form: str
    num_bytes: int
    separate_documents: bool

    def lines(self) -> Iterator[Line]:
        """Each line, with True where it begins a document."""
        raise NotImplementedError

    @property
    def left_out(self) -> str | None:
        """What lies beside the text and is no part of it, in words; None where nothing is to be said."""
        return None

    @property
    def documents_in_text(self) -> int | None:
        """Documents of the whole text, where its splits are a choice of documents."""
        return None

    def share(self, tokens: TokenFile) -> str | None:
        """How much of what the name promises some tokens of it are, in words; None where nothing is to be said."""
        return None

    @cached_property
    def sha256(self) -> str:
        """Hash of the UTF-8 text, and of where documents begin if they are kept apart."""
        return self.sha256_of(None)

    def sha256_of(self, num_lines: int | None) -> str:
        """Likewise, of the first `num_lines` lines only."""
        digest = hashlib.sha256()
        mark = "\0document\0" if self.separate_documents else ""
        for lines in in_batches(islice(self.lines(), num_lines), 4096):
            digest.update("".join(mark + line if starts else line for line, starts in lines).encode())
        return digest.hexdigest()


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """Lines of a file, each decoded by itself.

    Raises:
        ValueError: bytes that are not of the encoding, with their place.
    """
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                yield line.decode(encoding)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} is not {error.encoding.upper()}: byte 0x{line[error.start]:02x} at offset "
                    f"{offset + error.start} ({error.reason}); convert the file to UTF-8."
                ) from error
            offset += len(line)


def beyond_one_space(text: str) -> int:
    """Bytes of white space in a text that is more, or other, than one space between words."""
    return sum(len(run.encode()) - (" " in run) for run in re.findall(r"\s+", text))


def mark_articles(lines: Iterable[str]) -> Iterator[Line]:
    """WikiText's articles: a heading ` = Title = ` of the first level between blank lines begins one.

    The first article begins with the text. Headings without a blank line on both sides are table
    legends; with this rule validation and test have 60 articles each and WikiText-2's train 600, as
    published.
    """
    before, line, headed = "", None, False
    for after in chain(lines, [""]):
        if line is not None:
            heading = line.startswith(" = ") and not line.startswith(" = =") and line.rstrip().endswith(" =")
            heading = heading and not before.strip() and not after.strip()
            yield line, before == "" or (heading and headed)
            headed = headed or heading
            before = line
        line = after
    # The last `after` is the end of the text, not a line.

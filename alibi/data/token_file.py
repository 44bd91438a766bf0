"""Tokens on disk: a folder of flat binary files, memory-mapped, with a manifest.

tokens.bin      uint16 or uint32, the stream
lines.bin       uint32 (tokens, words, bytes) of each line, to cut at a line
documents.bin   uint32, the line that begins each document
manifest.json   counts, and sha256 of text, tokenizer and the three files; written last
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alibi.faults import naming

FORMAT = 2  # 1 counted a word for the line end that a document's last line may lack
LINE_FIELDS = ("tokens", "words", "bytes")
FILES = ("tokens", "lines", "documents")
COUNTS = ("tokens", "words", "bytes", "lines", "documents")
READ_BYTES, READ_LINES = 2**20, 2**14


@dataclass(frozen=True)
class TokenFile:
    """A stream of N tokens, all of which are targets; the first input is the end-of-text token.

    Attributes:
        path: of the folder.
        text: {"name", "split", "form", "sha256"} of the text.
        tokenizer: {"name", "vocab_size", "sha256"}.
        end_of_text: the first input.
        num_tokens, num_words, num_bytes: of the part in use; words counts line ends too, as WikiText does.
        num_lines: likewise.
        tokens: (N,) memory map.
    """

    path: Path
    text: dict
    tokenizer: dict
    end_of_text: int
    num_tokens: int
    num_words: int
    num_bytes: int
    num_lines: int
    tokens: np.ndarray

    def __len__(self) -> int:
        return self.num_tokens

    def inputs(self, start: int, stop: int) -> np.ndarray:
        """What precedes the targets [start, stop), int64: the stream moved by one."""
        if start > 0:
            return self.tokens[start - 1 : stop - 1].astype(np.int64)
        return np.concatenate([[self.end_of_text], self.tokens[: stop - 1].astype(np.int64)])[:stop]

    def targets(self, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop), int64."""
        return self.tokens[start:stop].astype(np.int64)

    def ids_sha256(self) -> str:
        """Of the ids in use, whatever tokenizer they came from and however wide they are stored."""
        digest = hashlib.sha256()
        for start in range(0, self.num_tokens, READ_BYTES):
            digest.update(self.tokens[start : min(start + READ_BYTES, self.num_tokens)].astype("<u4").tobytes())
        return digest.hexdigest()

    def line_sizes(self) -> np.ndarray:
        """(num_lines, 3) uint32: tokens, words and bytes of each line of the part in use."""
        lines = np.memmap(self.path / "lines.bin", np.uint32, "r")
        return lines.reshape(-1, len(LINE_FIELDS))[: self.num_lines]

    def document_lines(self) -> np.ndarray:
        """Index of the line that begins each document of the part in use."""
        # Read, not mapped: the file is empty where no document begins, and nothing cannot be mapped.
        starts = np.fromfile(self.path / "documents.bin", np.uint32).astype(np.int64)
        return starts[starts < self.num_lines]

    def cut(self, max_tokens: int) -> "TokenFile":
        """The longest run of whole lines, from the first, with at most `max_tokens` tokens.

        The end of a document goes with its last line, so that other parts are other text.

        Raises:
            ValueError: not even the first line fits.
        """
        if max_tokens >= self.num_tokens:
            return self
        sizes = self.line_sizes()
        ends = np.cumsum(sizes, axis=0, dtype=np.int64)
        # A line without bytes is the end of a document: before it is no place to cut.
        places = np.flatnonzero(np.append(sizes[1:, 2], 1)) + 1
        # Nor is there one before the first word: spaces without a line end have none.
        places = places[ends[places - 1, 1] > 0]
        fitting = places[ends[places - 1, 0] <= max_tokens]
        if not len(fitting):
            least = ends[places[0] - 1, 0]
            raise ValueError(
                f"max_tokens ({max_tokens}) is below the {least} tokens of the first line, and text is cut at "
                f"whole lines only; use at least {least}."
            )
        kept = int(fitting[-1])
        tokens, words, num_bytes = (int(n) for n in ends[kept - 1])
        return replace(
            self, num_tokens=tokens, num_words=words, num_bytes=num_bytes, num_lines=kept, tokens=self.tokens[:tokens]
        )


class TokenFileWriter:
    """Writes the files of a folder, then the manifest. The caller moves the folder to its place.

    As a context manager it lets go of the files also where the manifest is never reached.
    """

    def __init__(self, folder: Path, vocab_size: int, end_of_text: int, separate_documents: bool) -> None:
        self.folder = folder
        self.dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
        self.end_of_text = end_of_text
        self.separate_documents = separate_documents
        self.counts = dict.fromkeys(COUNTS, 0)
        self.sha256 = {name: hashlib.sha256() for name in FILES}
        self.files = {name: open(folder / f"{name}.bin", "wb") for name in FILES}  # noqa: SIM115, closed by close()

    def __enter__(self) -> "TokenFileWriter":
        return self

    def __exit__(self, *raised: object) -> None:
        for file in self.files.values():
            # On a full disk it tries once more to write what it holds; the first error is the one to tell.
            with suppress(OSError):
                file.close()

    def add(self, lines: list[str], starts: list[bool], ids: list[list[int]]) -> None:
        """Append lines with their ids; where documents are kept apart, end-of-text closes the one before."""
        if self.separate_documents:
            for index, begins in enumerate(starts):
                if begins and self.counts["lines"] + index > 0:
                    ids[index] = [self.end_of_text, *ids[index]]
        sizes = np.array(
            [
                (len(i), len(line.split()) + line.endswith("\n"), len(line.encode()))
                for line, i in zip(lines, ids, strict=True)
            ],
            np.uint32,
        )
        tokens = np.fromiter((token for line in ids for token in line), self.dtype, int(sizes[:, 0].sum()))
        first_lines = self.counts["lines"] + np.flatnonzero(starts)
        self._write(tokens, sizes, first_lines)
        self.counts["lines"] += len(lines)

    def _write(self, tokens: np.ndarray, sizes: np.ndarray, first_lines: np.ndarray) -> None:
        for name, array in zip(FILES, (tokens, sizes, first_lines.astype(np.uint32)), strict=True):
            data = array.tobytes()
            with naming(self.folder / f"{name}.bin"):
                self.files[name].write(data)
            self.sha256[name].update(data)
        for name, total in zip(LINE_FIELDS, sizes.sum(axis=0, dtype=np.int64), strict=True):
            self.counts[name] += int(total)
        self.counts["documents"] += len(first_lines)

    def close(self, text: dict, tokenizer: dict) -> None:
        if self.separate_documents and self.counts["lines"]:
            # The last document's end-of-text belongs to no line of text.
            self._write(np.array([self.end_of_text], self.dtype), np.array([(1, 0, 0)], np.uint32), np.array([], int))
            self.counts["lines"] += 1
        for name, file in self.files.items():
            with naming(self.folder / f"{name}.bin"):
                file.close()
        manifest = {
            "format": FORMAT,
            "text": text,
            "tokenizer": tokenizer,
            **self.counts,
            "dtype": self.dtype.name,
            "end_of_text": self.end_of_text,
            "sha256": {name: digest.hexdigest() for name, digest in self.sha256.items()},
        }
        with naming(self.folder / "manifest.json"):
            (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def open_token_file(folder: Path) -> TokenFile | None:
    """The token file in a folder, or None where there is none, or an unsound one (a cache is made again).

    What the manifest states is compared with the files, and their sizes before anything of that size is made.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["dtype"] not in ("uint16", "uint32"):
            return None
        kinds = {"text": dict, "tokenizer": dict, "end_of_text": int, **dict.fromkeys(COUNTS, int)}
        if any(type(manifest[name]) is not kind for name, kind in kinds.items()):
            return None
        dtype = np.dtype(manifest["dtype"])
        widths = {"tokens": dtype.itemsize, "lines": 4 * len(LINE_FIELDS), "documents": 4}
        if any((folder / f"{name}.bin").stat().st_size != manifest[name] * width for name, width in widths.items()):
            return None
        largest = {name: _checked(folder / f"{name}.bin", dtype, manifest["sha256"][name]) for name in FILES}
        vocab_size = manifest["tokenizer"].get("vocab_size", largest["tokens"] + 1)
        if not largest["tokens"] < vocab_size or not 0 <= manifest["end_of_text"] <= np.iinfo(dtype).max:
            return None
        tokens = np.memmap(folder / "tokens.bin", dtype, "r")
        counts = {f"num_{name}": manifest[name] for name in COUNTS if name != "documents"}
        about = manifest["text"], manifest["tokenizer"], manifest["end_of_text"]
        file = TokenFile(folder, *about, tokens=tokens, **counts)
        return file if _lines_fit(file) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _checked(path: Path, dtype: np.dtype, stated: object) -> int:
    """The largest number in a file whose sha256 is as stated.

    Raises:
        ValueError: it is another.
    """
    digest, largest = hashlib.sha256(), -1
    # Read, not mapped: mapped pages would count as this process's memory.
    with open(path, "rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
            largest = max(largest, int(np.frombuffer(part, dtype).max()))
    if digest.hexdigest() != stated:
        raise ValueError("its sha256 is another")
    return largest


def _lines_fit(file: TokenFile) -> bool:
    """Whether lines add up to the text, and documents begin at lines, one after the other."""
    totals = np.zeros(len(LINE_FIELDS), np.int64)
    with open(file.path / "lines.bin", "rb") as lines:  # read, not mapped, as above
        while part := lines.read(4 * len(LINE_FIELDS) * READ_LINES):
            totals += np.frombuffer(part, np.uint32).reshape(-1, len(LINE_FIELDS)).sum(axis=0, dtype=np.int64)
    starts = np.fromfile(file.path / "documents.bin", np.uint32).astype(np.int64)
    in_order = not len(starts) or (bool((np.diff(starts) > 0).all()) and int(starts[-1]) < file.num_lines)
    return totals.tolist() == [file.num_tokens, file.num_words, file.num_bytes] and in_order

"""From text to tokenizer and token file: each is made once and kept in a cache keyed by content.

The key of a tokenizer is its settings and the hash of the text it is trained on; that of a token file is the hashes
of text and tokenizer. A changed text or tokenizer is therefore another entry, and no entry is ever stale. While one
process makes an entry, others wait for it. An entry is made in a folder beside its place and renamed, so that a
killed process leaves nothing half made.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from alibi.data.text import Line, Text, in_batches
from alibi.data.token_file import FILES, FORMAT, LINE_FIELDS, TokenFile, open_token_file
from alibi.data.tokenizer_config import TokenizerConfig, tokenizer_from_json
from alibi.data.tokenizers import Tokenizer
from alibi.files import file_sha256, hold, naming

# Lines encoded at once: enough to keep the tokenizer's threads busy, few enough to stay small.
LINES_PER_BATCH = 16384
T = TypeVar("T")


def prepare_tokenizer(config: TokenizerConfig, text: Text, cache: Path, quiet: bool = False) -> Tokenizer:
    """The tokenizer that `config` describes, trained on `text` unless it is a pretrained one.

    Raises:
        ValueError: the text is empty or not UTF-8; or as load_pretrained.
        FileNotFoundError, ConnectionError: as load_pretrained.
    """
    if (tokenizer := config.load()) is not None:
        return tokenizer
    key = _key(format=1, text=text.sha256, **config.key)
    folder = cache / "tokenizers" / f"{text.name}-{config.name}-{key}"

    def read() -> Tokenizer | None:
        try:
            tokenizer = tokenizer_from_json((folder / "tokenizer.json").read_text(encoding="utf-8"))
            return tokenizer if tokenizer.sha256 == (folder / "sha256").read_text().strip() else None
        except (OSError, ValueError):
            return None

    def make(target: Path) -> None:
        lines = (line for line, _ in _with_progress(text, f"training tokenizer {config.name}", quiet))
        tokenizer = config.train(lines)
        with naming(target / "tokenizer.json"):
            (target / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
            (target / "sha256").write_text(tokenizer.sha256 + "\n")

    return _cached(folder, read, make)


def prepare_tokens(text: Text, tokenizer: Tokenizer, cache: Path, quiet: bool = False) -> TokenFile:
    """`text` encoded by `tokenizer`, as a token file.

    Raises:
        ValueError: the text is empty or not UTF-8.
    """
    key = _key(format=FORMAT, text=text.sha256, form=text.form, tokenizer=tokenizer.sha256)
    folder = cache / "tokens" / f"{text.name}-{text.split}-{tokenizer.name}-{key}"

    def make(target: Path) -> None:
        write_token_file(target, text, tokenizer, _with_progress(text, f"encoding {text.split}", quiet))

    return _cached(folder, lambda: open_token_file(folder), make)


def write_token_file(folder: Path, text: Text, tokenizer: Tokenizer, lines: Iterable[Line]) -> None:
    """Encode the lines of a text into the files of a new folder; if documents are separate, end-of-text closes each."""
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    counts = dict.fromkeys((*LINE_FIELDS, "lines", "documents"), 0)

    def append(tokens: list[int], sizes: list[tuple[int, int, int]], first_lines: np.ndarray) -> None:
        arrays = np.array(tokens, dtype), np.array(sizes, np.uint32), first_lines.astype(np.uint32)
        for name, array in zip(FILES, arrays, strict=True):
            path = folder / f"{name}.bin"
            with naming(path), open(path, "ab") as file:
                file.write(array.tobytes())
        added = (*arrays[1].sum(axis=0, dtype=np.int64).tolist(), len(sizes), len(first_lines))
        for name, more in zip(counts, added, strict=True):
            counts[name] += more

    def encode(lines: list[str], starts: list[bool]) -> None:
        ids = tokenizer.encode(lines)
        if text.separate_documents:
            for index, begins in enumerate(starts):
                if begins and counts["lines"] + index > 0:
                    ids[index] = [tokenizer.end_of_text, *ids[index]]
        words = [len(line.split()) + line.endswith("\n") for line in lines]
        sizes = [*zip(map(len, ids), words, (len(line.encode()) for line in lines), strict=True)]
        append([token for line in ids for token in line], sizes, counts["lines"] + np.flatnonzero(starts))

    for batch in in_batches(lines, LINES_PER_BATCH):
        encode(*map(list, zip(*batch, strict=True)))
    if not counts["words"]:
        raise ValueError(f"the {text.split} split of {text.name} is empty; give a text with at least one word.")
    if text.separate_documents:
        # The last document's end-of-text token is on no line of the text.
        append([tokenizer.end_of_text], [(1, 0, 0)], np.array([], int))
    manifest = {
        "format": FORMAT,
        "text": {"name": text.name, "split": text.split, "form": text.form, "sha256": text.sha256},
        "tokenizer": {"name": tokenizer.name, "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256},
        **counts,
        "dtype": dtype.name,
        "end_of_text": tokenizer.end_of_text,
        "sha256": {name: file_sha256(folder / f"{name}.bin") for name in FILES},
    }
    with naming(folder / "manifest.json"):
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _key(**what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _with_progress(text: Text, title: str, quiet: bool) -> Iterator[Line]:
    title, total = f"{text.name}: {title}", sum(path.stat().st_size for path in text.paths)
    with tqdm(total=total, unit="B", unit_scale=True, desc=title, disable=quiet, mininterval=0.5) as bar:
        for line, begins in text.lines():
            yield line, begins
            bar.update(len(line.encode()))


def _cached(folder: Path, read: Callable[[], T | None], make: Callable[[Path], None]) -> T:
    """What `read` finds in `folder`; made first if `read` finds nothing sound.

    The first look takes no lock: a cache that this user may only read has none to give.
    """
    if (found := read()) is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with hold(folder.with_name(f"{folder.name}.lock")):
        if (found := read()) is not None:
            return found
        target = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        for leftover in (folder, *folder.parent.glob(f"{folder.name}.*.partial")):
            shutil.rmtree(leftover, ignore_errors=True)
        target.mkdir()
        try:
            make(target)
            os.replace(target, folder)
        finally:
            shutil.rmtree(target, ignore_errors=True)
        return read()

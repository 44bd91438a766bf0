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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from alibi.data.text import Line, Text, in_batches
from alibi.data.token_file import FORMAT, TokenFile, TokenFileWriter, open_token_file
from alibi.data.tokenizers import Tokenizer, TokenizerConfig, tokenizer_from_json
from alibi.faults import hold, naming

# Lines encoded at once: enough to keep the tokenizer's threads busy, few enough to stay small.
LINES_PER_BATCH = 16384
TOKENIZER_FORMAT = 1  # of an entry in the cache
T = TypeVar("T")


def prepare_tokenizer(config: TokenizerConfig, text: Text, cache: Path, quiet: bool = False) -> Tokenizer:
    """The tokenizer that `config` describes, trained on `text`.

    Raises:
        ValueError: the text is empty or not UTF-8.
    """
    key = _key(format=TOKENIZER_FORMAT, text=text.sha256, **config.key)
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
        writer = TokenFileWriter(target, tokenizer.vocab_size, tokenizer.end_of_text, text.separate_documents)
        for batch in in_batches(_with_progress(text, f"encoding {text.split}", quiet), LINES_PER_BATCH):
            lines, starts = map(list, zip(*batch, strict=True))
            writer.add(lines, starts, tokenizer.encode(lines))
        if not writer.counts["words"]:
            raise ValueError(f"the {text.split} split of {text.name} is empty; give a text with at least one word.")
        writer.close(
            {"name": text.name, "split": text.split, "form": text.form, "sha256": text.sha256},
            {"name": tokenizer.name, "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256},
        )

    return _cached(folder, lambda: open_token_file(folder), make)


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

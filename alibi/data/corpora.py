"""Corpora by name: `wikitext103`, `wikitext2`, `stdlib`, `text`."""

from dataclasses import dataclass
from pathlib import Path

from alibi.data.documents import open_folder, open_stdlib
from alibi.data.text import Text
from alibi.data.wikitext import open_wikitext

CORPORA = ("wikitext103", "wikitext2", "stdlib", "text")


@dataclass
class DataConfig:
    """
    Attributes:
        name: of the corpus.
        path: a local folder to read instead of the hub; for `text`, the folder of documents, or one document.
        pattern: glob that selects the documents of `text`; None means all files.
    """

    name: str = "wikitext103"
    path: str | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        if self.name not in CORPORA:
            raise ValueError(f"data.name ({self.name}) is not a corpus; choose one of: {', '.join(CORPORA)}.")
        if self.pattern is not None and self.name != "text":
            raise ValueError(f"data.pattern is for data=text only, and would be ignored by {self.name}; remove it.")
        if self.path is not None and self.name == "stdlib":
            raise ValueError("data.path would be ignored by data=stdlib; remove it, or use data=text.")
        if self.path is None and self.name == "text":
            raise ValueError("data=text needs data.path, a folder of text files; set data.path=FOLDER.")


def open_text(config: DataConfig, split: str, words: bool) -> Text:
    """One split of a corpus.

    Args:
        split: train, validation, test, or all.
        words: the tokenizer splits at spaces (`tokenizer=word`), which needs WikiText's `.tokens` form.

    Raises:
        ValueError: shards that do not belong together, or text that is not UTF-8 (when read).
        TooFewDocuments: a split would have no document.
        FileNotFoundError: the folder, or the split's file in it, does not exist.
        ConnectionError: the hub cannot be reached.
    """
    if config.name == "text":
        return open_folder(Path(config.path), config.pattern, split)
    if config.name == "stdlib":
        return open_stdlib(split)
    return open_wikitext(config.name, config.path, split, words)

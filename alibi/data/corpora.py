"""Corpora by name: `wikitext103`, `wikitext2`, `stdlib`, `text`; and tasks, whose strings stand in place of a text."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alibi.data.documents import open_folder, open_stdlib
from alibi.data.tasks import Task
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
        task: settings of a task; of a corpus None.
    """

    name: str = "wikitext103"
    path: str | None = None
    pattern: str | None = None
    task: Any = None

    def __post_init__(self) -> None:
        if self.is_task:
            self.task = asdict(Task.registry[self.name].settings_of(self.task or {}))
        elif self.task is not None:
            raise ValueError(
                f"data.task is for {', '.join(Task.registry)}, and would be ignored by {self.name}; remove it."
            )
        elif self.name not in CORPORA:
            known = ", ".join((*CORPORA, *Task.registry))
            raise ValueError(f"data.name ({self.name}) is neither a corpus nor a task; choose one of: {known}.")
        if self.pattern is not None and self.name != "text":
            raise ValueError(f"data.pattern is for data=text only, and would be ignored by {self.name}; remove it.")
        if self.path is not None and (self.is_task or self.name == "stdlib"):
            raise ValueError(f"data.path would be ignored by data={self.name}; remove it, or use data=text.")
        if self.path is None and self.name == "text":
            raise ValueError("data=text needs data.path, a folder of text files; set data.path=FOLDER.")

    @property
    def is_task(self) -> bool:
        return self.name in Task.registry


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

"""WikiText, from the hub, from the hub's parquet files in a folder, or from the classic files.

The classic files are `wiki.{train,valid,test}.raw` and `.tokens`; the hub holds the same text as
rows, its blank lines as empty strings where the file has a space and a line end. The blank lines
are restored, so that the same text has the same hash in every layout.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from alibi.data.text import Line, Text, mark_articles, read_lines

HUB = "Salesforce/wikitext"
HUB_CONFIG = {"wikitext103": "wikitext-103", "wikitext2": "wikitext-2"}
FILE_SPLIT = {"train": "train", "validation": "valid", "test": "test"}
BLANK_LINE = " \n"


@dataclass(frozen=True)
class ClassicFile(Text):
    path: Path

    def lines(self) -> Iterator[Line]:
        return mark_articles(read_lines(self.path))


@dataclass(frozen=True)
class HubRows(Text):
    rows: object = field(repr=False, compare=False)  # datasets.Dataset

    def lines(self) -> Iterator[Line]:
        return mark_articles(row or BLANK_LINE for batch in self.rows.iter(1000) for row in batch["text"])


@dataclass(frozen=True)
class ParquetFiles(Text):
    """The hub's files in a folder, read as they are: no copy, so nothing can be stale."""

    paths: tuple[Path, ...]

    def lines(self) -> Iterator[Line]:
        return mark_articles(row or BLANK_LINE for path in self.paths for row in _parquet_rows(path))


def _parquet_rows(path: Path) -> Iterator[str]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            if "text" not in file.schema_arrow.names:
                raise ValueError(f"{path} has no column text; its columns are {', '.join(file.schema_arrow.names)}.")
            for batch in file.iter_batches(columns=["text"]):
                yield from batch.column(0).to_pylist()
    except ArrowException as error:
        raise ValueError(f"{path} is no sound parquet file ({str(error).splitlines()[0]}); fetch it again.") from error


def open_wikitext(config, split: str, words: bool, cache: Path) -> Text:
    """One split, in the form that all splits of a run share: `.tokens` for words, else `.raw` where complete."""
    if config.path is None:
        return _from_hub(config.name, split, "tokens" if words else "raw", cache)
    root = Path(config.path)
    if not root.is_dir():
        raise FileNotFoundError(f"data.path ({root}) is not a folder; give the folder that holds WikiText's files.")
    classic = {form: {s: root / f"wiki.{FILE_SPLIT[s]}.{form}" for s in FILE_SPLIT} for form in ("raw", "tokens")}
    if any(path.exists() for files in classic.values() for path in files.values()):
        form = "raw" if not words and all(path.exists() for path in classic["raw"].values()) else "tokens"
        return _from_classic(config.name, split, form, classic[form][split])
    return _from_parquet(config.name, split, words, root)


def _from_classic(name: str, split: str, form: str, path: Path) -> ClassicFile:
    if not path.exists():
        there = ", ".join(sorted(p.name for p in path.parent.glob("wiki.*")))
        raise FileNotFoundError(
            f"{path} does not exist, and {split} of {name} in the form .{form} needs it (.raw is taken only where "
            f"train, valid and test all have it, and never for tokenizer=word); the folder has: {there}."
        )
    return ClassicFile(name, split, form, path.stat().st_size, False, path)


def _from_parquet(name: str, split: str, words: bool, root: Path) -> ParquetFiles:
    def files_of(form: str, split: str) -> tuple[Path, ...]:
        config = _hub_config(name, form)
        # A folder that says nothing of its form is taken for raw, the form of the hub's that has no <unk>.
        itself = root.name == config or (form == "raw" and not root.name.startswith("wikitext-"))
        folders = (root / config, root) if itself else (root / config,)
        return next((found for f in folders if (found := tuple(sorted(f.glob(f"{split}-*.parquet"))))), ())

    form = "raw" if not words and all(files_of("raw", s) for s in FILE_SPLIT) else "tokens"
    if files := files_of(form, split):
        return ParquetFiles(name, split, form, sum(f.stat().st_size for f in files), False, files)
    forms = ("tokens",) if words else ("raw", "tokens")
    wanted = " or ".join(f"{_hub_config(name, form)}/{split}-*.parquet" for form in forms)
    raise FileNotFoundError(
        f"data.path ({root}) has no file for {split} of {name}: neither wiki.{FILE_SPLIT[split]}.raw or .tokens nor "
        f"{wanted}; give the folder that holds them (raw is taken only where all three splits have it)."
    )


def _from_hub(name: str, split: str, form: str, cache: Path) -> HubRows:
    from datasets import load_dataset
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # its retries say nothing that the message below does not
    try:
        rows = load_dataset(HUB, _hub_config(name, form), split=split)
    except Exception as error:  # offline, each library below raises a kind of its own
        raise ConnectionError(
            f"the hub did not give {HUB} ({_hub_config(name, form)}, {split}): {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''} Set data.path to a folder with the files "
            f"wiki.{{train,valid,test}}.{form}, or use data=stdlib, which needs no network."
        ) from error
    return HubRows(name, split, form, rows.data.nbytes, False, rows)


def _hub_config(name: str, form: str) -> str:
    return f"{HUB_CONFIG[name]}{'-raw' if form == 'raw' else ''}-v1"

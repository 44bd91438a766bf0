"""WikiText, from the hub, from the hub's parquet files in a folder, or from the classic files.

The classic files are `wiki.{train,valid,test}.raw` and `.tokens`; the hub holds the same text as
rows, its blank lines as empty strings where the file has a space and a line end. The blank lines
are restored, so that the same text has the same hash in every layout.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alibi.data.hub import check_sound, fetch, remedy
from alibi.data.parquet import check_rows, find_shards, read_rows
from alibi.data.text import Line, Text, mark_articles, read_lines
from alibi.data.token_file import TokenFile

HUB = "Salesforce/wikitext"
HUB_CONFIG = {"wikitext103": "wikitext-103", "wikitext2": "wikitext-2"}
FILE_SPLIT = {"train": "train", "validation": "valid", "test": "test"}
BLANK_LINE = " \n"
# As published: lines of the classic files, rows of the hub; the same in both forms.
HELD_OUT_LINES = {"validation": 3_760, "test": 4_358}
LINES = {
    "wikitext103": {"train": 1_801_350, **HELD_OUT_LINES},
    "wikitext2": {"train": 36_718, **HELD_OUT_LINES},
}


class WikiText(Text):
    def share(self, tokens: TokenFile) -> str | None:
        published = LINES[self.name][self.split]
        if tokens.num_lines == published:
            return None
        return f"{self.split}: {tokens.num_lines:,} lines; {self.name} as published has {published:,}"


@dataclass(frozen=True)
class ClassicFile(WikiText):
    path: Path

    def lines(self) -> Iterator[Line]:
        return mark_articles(read_lines(self.path))


@dataclass(frozen=True)
class ParquetFiles(WikiText):
    """The hub's files in a folder, read as they are: no copy, so nothing can be stale."""

    paths: tuple[Path, ...]

    def lines(self) -> Iterator[Line]:
        return mark_articles(row or BLANK_LINE for path in self.paths for row in read_rows(path))


def open_wikitext(config, split: str, words: bool) -> Text:
    """One split, in the form that all splits of a run share: `.tokens` for words, else `.raw` where complete.

    Raises:
        ValueError: `all`, or files that do not make up a split.
        FileNotFoundError: files are missing.
    """
    if split not in FILE_SPLIT:
        raise ValueError(
            f"{config.name} is scored in its published splits, validation and test, and not by split={split}; "
            "use one of these. All documents are for data=text and data=stdlib."
        )
    if config.path is None:
        return _from_hub(config.name, split, "tokens" if words else "raw")
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
        return next((found for f in folders if (found := find_shards(f, split))), ())

    form = "raw" if not words and all(files_of("raw", s) for s in FILE_SPLIT) else "tokens"
    if files := files_of(form, split):
        check_rows(files, _hub_config(name, form))
        return ParquetFiles(name, split, form, sum(f.stat().st_size for f in files), False, files)
    forms = ("tokens",) if words else ("raw", "tokens")
    wanted = " or ".join(f"{_hub_config(name, form)}/{split}-*.parquet" for form in forms)
    raise FileNotFoundError(
        f"data.path ({root}) has no file for {split} of {name}: neither wiki.{FILE_SPLIT[split]}.raw or .tokens nor "
        f"{wanted}; give the folder that holds them (raw is taken only where all three splits have it)."
    )


def _from_hub(name: str, split: str, form: str) -> ParquetFiles:
    config = _hub_config(name, form)
    try:
        folder = fetch(HUB, (f"{config}/*.parquet",), "dataset") / config
    except ConnectionError as error:
        raise ConnectionError(
            f"{error} {name} is {config} there. Set data.path to a folder with the files "
            f"wiki.{{train,valid,test}}.{form}, or use data=stdlib, which needs no network."
        ) from error.__cause__
    try:
        files = find_shards(folder, split)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error} {remedy(folder)}") from error
    if not files:
        raise FileNotFoundError(f"{HUB} has no {split}-*.parquet in {config} (it was fetched to {folder}).")
    check_sound(files)
    check_rows(files, config)
    return ParquetFiles(name, split, form, sum(f.stat().st_size for f in files), False, files)


def _hub_config(name: str, form: str) -> str:
    return f"{HUB_CONFIG[name]}{'-raw' if form == 'raw' else ''}-v1"

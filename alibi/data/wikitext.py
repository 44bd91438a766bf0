"""WikiText from the hub, from the hub's parquet files in a folder, or from the classic files.

The classic files are `wiki.{train,valid,test}.raw` and `.tokens`. The hub holds the same text as rows, in which a
blank line is an empty string; the file has a space and a line feed there. Blank lines are restored, so that the same
text has the same hash in every layout.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from alibi.data.hub import check_sound, fetch, remedy
from alibi.data.text import Line, Text, read_lines
from alibi.data.token_file import TokenFile
from alibi.files import one_line

Paths = tuple[Path, ...]
HUB = "Salesforce/wikitext"
FILE_SPLIT = {"train": "train", "validation": "valid", "test": "test"}
BLANK_LINE = " \n"
# train-00000-of-00002.parquet; older datasets append a hash: train-00000-of-00002-0f3a9c21d4e85b67.parquet.
SHARD = re.compile(r"[a-z]+-(?P<index>\d{5})-of-(?P<total>\d{5})(-[0-9a-f]{16})?\.parquet")
# As published: lines of the classic files, rows of the hub; the same in both forms.
LINES = {
    "wikitext103": {"train": 1_801_350, "validation": 3_760, "test": 4_358},
    "wikitext2": {"train": 36_718, "validation": 3_760, "test": 4_358},
}


class WikiText(Text):
    """One classic file, or the parquet files of the split."""

    def lines(self) -> Iterator[Line]:
        if self.paths[0].suffix == ".parquet":
            return mark_articles(row or BLANK_LINE for path in self.paths for row in read_rows(path))
        return mark_articles(read_lines(self.paths[0]))

    def share(self, tokens: TokenFile) -> str | None:
        published = LINES[self.name][self.split]
        if tokens.num_lines == published:
            return None
        return f"{self.split}: {tokens.num_lines:,} lines; {self.name} as published has {published:,}"


def open_wikitext(name: str, path: str | None, split: str, words: bool) -> WikiText:
    """One split, in the form that all splits of a run share: `.tokens` for words, else `.raw` if it is complete.

    Raises:
        ValueError: split=all, or files that do not make up a split.
        FileNotFoundError: files are missing.
        ConnectionError: the hub cannot be reached.
    """
    if split not in FILE_SPLIT:
        message = f"{name} is scored in its published splits, validation and test, and not by split={split}"
        raise ValueError(f"{message}; use one of these. All documents are for data=text and data=stdlib.")
    form = "tokens" if words else "raw"
    try:
        root = Path(path) if path is not None else fetch(HUB, (f"{_hub_config(name, form)}/*.parquet",), "dataset")
    except ConnectionError as error:
        local = f"a folder with the files wiki.{{train,valid,test}}.{form}"
        message = f"{error} {name} is {_hub_config(name, form)} there. Set data.path to {local}, or use data=stdlib"
        raise ConnectionError(f"{message}, which needs no network.") from error.__cause__
    if not root.is_dir():
        raise FileNotFoundError(f"data.path ({root}) is not a folder; give the folder that holds WikiText's files.")
    if path is not None and not words and not all(_files_in(root, name, s, "raw") for s in FILE_SPLIT):
        form = "tokens"
    if not (paths := _files_in(root, name, split, form)):
        forms = ("tokens",) if words else ("raw", "tokens")
        wanted = [f"wiki.{FILE_SPLIT[split]}.{form}" for form in forms]
        wanted += [f"{_hub_config(name, form)}/{split}-*.parquet" for form in forms]
        there = ", ".join(sorted(path.name for path in root.glob("wiki*"))) or "nothing of WikiText"
        rule = "All splits come in one form: raw only if train, valid and test all have it, never for tokenizer=word"
        lacking = f"no file for {split} of {name}; it needs {' or '.join(wanted)}, and has: {there}"
        raise FileNotFoundError(f"data.path ({root}) has {lacking}. {rule}.")
    if paths[0].suffix == ".parquet":
        check_sound(paths)
    return WikiText(name, split, form, paths, False)


def _files_in(root: Path, name: str, split: str, form: str) -> Paths:
    """The classic file of a split, or else its parquet files; empty if there is neither."""
    classic = root / f"wiki.{FILE_SPLIT[split]}.{form}"
    if classic.exists():
        return (classic,)
    config = _hub_config(name, form)
    # A folder whose name says nothing is taken for raw, the hub's form without <unk>.
    is_config = root.name == config or (form == "raw" and not root.name.startswith("wikitext-"))
    folders = (root / config, root) if is_config else (root / config,)
    return next((found for folder in folders if (found := find_shards(folder, split))), ())


def find_shards(folder: Path, split: str) -> Paths:
    """The parquet files of a split in a folder, in order; empty if there are none.

    Every shard must be there once. Otherwise an interrupted download, a browser's second copy (`... (1).parquet`) or
    two versions in one folder would be read as one text.

    Raises:
        FileNotFoundError: some are missing.
        ValueError: a name that is not a shard's, or a shard that is there twice.
    """
    paths, found = tuple(sorted(folder.glob(f"{split}-*.parquet"))), []
    for path in paths:
        name = SHARD.fullmatch(path.name)
        if name is None:
            rule = f"a shard is named {split}-NNNNN-of-NNNNN.parquet"
            raise ValueError(f"{path} may be a second copy: {rule}; move it away or rename it.")
        found.append((name["index"], name["total"]))
    total = max((total for _, total in found), default="0")
    wanted = [(f"{index:05d}", total) for index in range(int(total))]
    if missing := [index for index, _ in wanted if index not in dict(found)]:
        lacking = f"{len(missing)} of the {len(wanted)} shards of {split}: {', '.join(missing)}"
        raise FileNotFoundError(f"{folder} lacks {lacking}. {remedy(folder)}")
    if found != wanted:
        raise ValueError(f"{folder} holds shards of {split} twice; keep each once, all from one version.")
    return paths


def read_rows(path: Path) -> Iterator[str]:
    """The column `text` of a parquet file, row by row.

    Raises:
        ValueError: a damaged file, or one without such a column of strings.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                rows = batch.to_pydict().get("text", [None])
                if not all(isinstance(row, str) for row in rows):
                    raise ValueError(f"{path} needs a column text of strings, none of them null.")
                yield from rows
    except (ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the disk's; pyarrow's own OSErrors have none
            raise
        raise ValueError(f"{path} is no sound parquet file ({one_line(error)}). {remedy(path)}") from error


def _hub_config(name: str, form: str) -> str:
    return f"wikitext-{name.removeprefix('wikitext')}-{'raw-' if form == 'raw' else ''}v1"


def mark_articles(lines: Iterable[str]) -> Iterator[Line]:
    """WikiText's articles: a first-level heading ` = Title = ` between blank lines begins one.

    The first article begins with the text. A heading without a blank line on both sides is a table legend. With this
    rule validation and test have 60 articles each, and the train split of WikiText-2 has 600, as published.
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

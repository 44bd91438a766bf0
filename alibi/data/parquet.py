"""The hub's parquet files of one split: all shards, each once, with the number of rows that the dataset card states.

The hub names them `train-00000-of-00002.parquet`; older datasets append a hash
(`train-00000-of-00002-0f3a9c21d4e85b67.parquet`). Without these checks an interrupted download, a browser's second
copy (`... (1).parquet`) or two versions side by side would be read as one text.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from alibi.data.hub import remedy

SHARD = re.compile(r"(?P<split>[a-z]+)-(?P<index>\d{5})-of-(?P<total>\d{5})(-[0-9a-f]{16})?\.parquet")


def find_shards(folder: Path, split: str) -> tuple[Path, ...]:
    """The files of a split in a folder, in order; empty if there are none.

    Raises:
        FileNotFoundError: some are missing.
        ValueError: a name that is not a shard's, or a shard that is there twice.
    """
    paths, numbers = tuple(sorted(folder.glob(f"{split}-*.parquet"))), []
    for path in paths:
        name = SHARD.fullmatch(path.name)
        if name is None or int(name["index"]) >= int(name["total"]):
            wanted = f"{split}-NNNNN-of-NNNNN.parquet, counting from 0"
            raise ValueError(f"{path} may be a second copy: a shard is named {wanted}; move it away or rename it.")
        numbers.append((int(name["index"]), int(name["total"])))
    indices, totals = {index for index, _ in numbers}, {total for _, total in numbers}
    if len(indices) < len(paths) or len(totals) > 1:
        there = ", ".join(path.name for path in paths[:8])
        raise ValueError(f"{folder} holds shards of {split} twice ({there}); keep each once, all from one version.")
    total = max(totals, default=0)
    if missing := sorted(set(range(total)) - indices):
        few = ", ".join(f"{index:05d}" for index in missing[:8]) + (", ..." if len(missing) > 8 else "")
        lacking = f"{len(missing)} of the {total} shards of {split}: {few} of {total:05d}"
        raise FileNotFoundError(f"{folder} lacks {lacking}. {remedy(folder)}")
    return paths


def check_rows(paths: tuple[Path, ...], config: str) -> None:
    """Compare the number of rows with the dataset card (README.md or dataset_infos.json), if there is one.

    Args:
        paths: the files of one split, in the folder of the configuration or beside the card.
        config: name of the configuration, such as wikitext-2-raw-v1.

    Raises:
        ValueError: the card states another number, or a file is damaged.
    """
    folder, split = paths[0].parent, SHARD.fullmatch(paths[0].name)["split"]
    for card in (place / name for place in (folder, folder.parent) for name in ("README.md", "dataset_infos.json")):
        stated = _stated_rows(card, config, split)
        if stated is not None and (rows := sum(map(_num_rows, paths))) != stated:
            found = f"{split} in {folder} has {rows:,} rows, and {card} states {stated:,}"
            raise ValueError(f"{found}. {remedy(folder)} If it is meant to be another text, move that file away.")


def _stated_rows(card: Path, config: str, split: str) -> int | None:
    """The number of rows that a card states for a split; None if it states none."""
    try:
        text = card.read_text(encoding="utf-8")
        if card.suffix == ".json":
            return json.loads(text)[config]["splits"][split]["num_examples"]
        infos = yaml.safe_load(text.split("---\n")[1])["dataset_info"]
        [info] = [one for one in (infos if isinstance(infos, list) else [infos]) if one["config_name"] == config]
        return {one["name"]: one["num_examples"] for one in info["splits"]}[split]
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return None


def read_rows(path: Path) -> Iterator[str]:
    """The column `text`, row by row.

    Raises:
        ValueError: a damaged file, one without that column, or rows without a text.
    """
    with _opened(path) as file:
        kinds = {field.name: str(field.type) for field in file.schema_arrow}
        if kinds.get("text") not in ("string", "large_string"):
            raise ValueError(f"{path} has no column text of strings; its columns are {kinds}.")
        for batch in file.iter_batches(columns=["text"]):
            if batch.column(0).null_count:
                raise ValueError(f"{path} has rows without a text (null); a blank line is an empty text there.")
            yield from batch.column(0).to_pylist()


def _num_rows(path: Path) -> int:
    with _opened(path) as file:
        return file.metadata.num_rows


@contextmanager
def _opened(path: Path) -> Iterator:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            yield file
    except (ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the disk's; pyarrow's own OSErrors have none
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} is no sound parquet file ({reason}). {remedy(path)}") from error

"""The hub's parquet files of one split: all of them there, each once, with the rows that the folder's card states.

The hub names them `train-00000-of-00002.parquet`, in older data sets with a hash behind
(`train-00000-of-00002-0f3a9c21d4e85b67.parquet`). A download that stopped half-way, a second copy by a browser
(`... (1).parquet`) or two versions side by side would otherwise be read as one text.
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
    """The files of a split in a folder, in their order; none where there is none.

    Raises:
        FileNotFoundError: some are missing.
        ValueError: a file that is no shard by its name, or a shard that is there twice.
    """
    paths = sorted(folder.glob(f"{split}-*.parquet"))
    names = [SHARD.fullmatch(path.name) for path in paths]
    for path, name in zip(paths, names, strict=True):
        if name is None or not int(name["index"]) < int(name["total"]):
            raise ValueError(
                f"{path} may be a second copy: a shard of the hub is named {split}-NNNNN-of-NNNNN.parquet, counted "
                "from 0; move it away, or give it the name that it has there."
            )
    found = {int(name["index"]): path for name, path in zip(names, paths, strict=True)}
    totals = {int(name["total"]) for name in names}
    if len(found) < len(paths) or len(totals) > 1:
        raise ValueError(
            f"{folder} holds shards of {split} twice ({', '.join(path.name for path in paths[:8])}), of two versions "
            "or two copies; leave each shard once, all of one version."
        )
    missing = [f"{index:05d}" for index in range(max(totals, default=0)) if index not in found]
    if missing:
        few = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of the {max(totals)} shards of {split}: {few} of {max(totals):05d}; fetch "
            "what is missing, for a part of the text would be taken for the whole."
        )
    return tuple(paths)


def check_rows(paths: tuple[Path, ...], config: str) -> None:
    """Hold the number of rows against the data set's card (README.md or dataset_infos.json), where one lies beside.

    Args:
        paths: the files of one split, in the folder of the configuration or beside the card.
        config: name of the configuration, such as wikitext-2-raw-v1.

    Raises:
        ValueError: the card states another number, or a file is no sound parquet file.
    """
    folder, split = paths[0].parent, SHARD.fullmatch(paths[0].name)["split"]
    for card in (place / name for place in (folder, folder.parent) for name in ("README.md", "dataset_infos.json")):
        stated = _stated_rows(card, config, split)
        if stated is not None and (rows := sum(map(_num_rows, paths))) != stated:
            raise ValueError(
                f"{split} in {folder} has {rows:,} rows, and {card} states {stated:,}. {remedy(paths[0])} If the text "
                "is meant to be another one, move that file away."
            )


def _stated_rows(card: Path, config: str, split: str) -> int | None:
    """What a card says of a split; None where it says nothing that can be read."""
    try:
        text = card.read_text(encoding="utf-8")
        if card.suffix == ".json":
            stated = json.loads(text)[config]["splits"][split]["num_examples"]
        else:
            told = yaml.safe_load(text.split("---\n")[1])["dataset_info"]
            [about] = [one for one in (told if isinstance(told, list) else [told]) if one["config_name"] == config]
            [stated] = [one["num_examples"] for one in about["splits"] if one["name"] == split]
        return stated if type(stated) is int else None
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return None


def read_rows(path: Path) -> Iterator[str]:
    """The column `text`, row by row.

    Raises:
        ValueError: no sound parquet file, or one without that column, or with rows that have no text.
    """
    with _opened(path) as file:
        if "text" not in file.schema_arrow.names:
            raise ValueError(f"{path} has no column text; its columns are {', '.join(file.schema_arrow.names)}.")
        if (kind := str(file.schema_arrow.field("text").type)) not in ("string", "large_string"):
            raise ValueError(f"{path} has a column text of {kind}, and it must be of string.")
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

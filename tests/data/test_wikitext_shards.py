"""Parquet files of the hub: a split is all of its shards, each once."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alibi.data import DataConfig, open_text

HASHES = "0f3a9c21d4e85b67", "6f14abdd00b2c9e1"
BOTH = ("train-00000-of-00002", "train-00001-of-00002")


def written(root: Path, train: tuple[str, ...]) -> Path:
    """WikiText-2's raw configuration, its train split under the given names; shard n holds `line n`."""
    folder = root / "wikitext-2-raw-v1"
    folder.mkdir(parents=True)
    for name in (*train, "validation-00000-of-00001", "test-00000-of-00001"):
        pq.write_table(pa.table({"text": ["", f" line {int(name.split('-')[1])} \n"]}), folder / f"{name}.parquet")
    return folder


def opened(root: Path, split: str = "train"):
    return open_text(DataConfig("wikitext2", str(root)), split, False)


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00001",),
        BOTH[::-1],
        [f"{name}-{digits}" for name, digits in zip(BOTH, HASHES, strict=True)],
        [f"{BOTH[0]}-{HASHES[1]}", BOTH[1]],  # by the order of shards, whatever is behind the number
        [f"train-{n:05d}-of-00012" for n in range(12)],
    ],
)
def test_whole_splits_are_read_in_the_order_of_their_shards(tmp_path: Path, names) -> None:
    written(tmp_path, tuple(names))
    lines = [line for line, _ in opened(tmp_path).lines() if line.strip()]
    assert lines == [f" line {n} \n" for n in range(len(names))]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (BOTH[:1], r"lacks 1 of the 2 shards of train: 00001\."),
        (BOTH[1:], r"lacks 1 of the 2 shards of train: 00000\."),
        (["train-00007-of-00020"], r"lacks 19 of the 20 shards.*00000, .*00006, 00008"),
        ([*BOTH, f"{BOTH[0]}-{HASHES[0]}"], r"twice"),
        ([f"{BOTH[0]}-{digits}" for digits in HASHES] + [BOTH[1]], r"twice"),
        (["train-00000-of-00001", *BOTH], r"holds shards of train twice"),
        (["train-00000-of-00001", BOTH[1]], r"twice"),
        ([*BOTH, "train-00002-of-00002"], r"twice"),
    ],
)
def test_a_part_or_a_mixture_is_refused(tmp_path: Path, names, message: str) -> None:
    written(tmp_path, tuple(names))
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        opened(tmp_path)


@pytest.mark.parametrize("copy", [" (1)", " - Copy", "-copy1", "-2", "(2)"])
def test_a_second_copy_is_named(tmp_path: Path, copy: str) -> None:
    folder = written(tmp_path, BOTH)
    shutil.copy(folder / f"{BOTH[1]}.parquet", folder / f"{BOTH[1]}{copy}.parquet")
    with pytest.raises(ValueError, match=r"may be a second copy") as caught:
        opened(tmp_path)
    assert f"{BOTH[1]}{copy}.parquet" in str(caught.value)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_every_split_is_held_to_it(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path, BOTH)
    (folder / f"{name}-00000-of-00001.parquet").rename(folder / f"{name}-00000-of-00003.parquet")
    with pytest.raises(FileNotFoundError, match=rf"lacks 2 of the 3 shards of {name}"):
        opened(tmp_path, name)


def test_an_unfinished_download_beside_its_place_is_a_missing_shard(tmp_path: Path) -> None:
    folder = written(tmp_path, BOTH)
    (folder / f"{BOTH[1]}.parquet").rename(folder / f"{BOTH[1]}.parquet.part")
    with pytest.raises(FileNotFoundError, match="lacks 1 of the 2 shards of train: 00001"):
        opened(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "page", "null", "numbers"])
def test_a_shard_that_cannot_be_read_is_named(tmp_path: Path, damage: str) -> None:
    folder = written(tmp_path, BOTH)
    path = folder / f"{BOTH[1]}.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)  # behind the magic: the header of the first page
    made = {"empty": b"", "cut": path.read_bytes()[:-20], "page": bytes(content)}
    if rows := {"null": ["a\n", None], "numbers": [1, 2]}.get(damage):
        pq.write_table(pa.table({"text": rows}), path)
    else:
        path.write_bytes(made[damage])
    with pytest.raises(ValueError, match=f"{path.name} (is no sound parquet|needs a column text of strings)"):
        list(opened(tmp_path).lines())

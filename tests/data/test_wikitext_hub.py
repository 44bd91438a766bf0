"""WikiText as the hub's parquet and from the hub itself: the classic files' text, with the same hash."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alibi.data import DataConfig, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens
from alibi.data.wikitext import FILE_SPLIT

SPLITS = tuple(FILE_SPLIT)


def hub_rows(lines: list[str]) -> list[str]:
    """What the hub holds of lines: empty strings for blank ones."""
    return ["" if line == " \n" else line for line in lines]


def write_parquet(folder: Path, split: str, rows: list[str], parts: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cuts = [len(rows) * part // parts for part in range(parts + 1)]
    for part in range(parts):
        table = pa.table({"text": pa.array(rows[cuts[part] : cuts[part + 1]], pa.string())})
        pq.write_table(table, folder / f"{split}-{part:05d}-of-{parts:05d}.parquet", row_group_size=100)


@pytest.fixture
def parquet(tmp_path: Path, raw_lines, token_lines) -> Path:
    """The generated corpus as the hub's repository holds it."""
    root = tmp_path / "hub"
    for config, lines in (("wikitext-2-raw-v1", raw_lines), ("wikitext-2-v1", token_lines)):
        for split in SPLITS:
            write_parquet(root / config, split, hub_rows(lines[FILE_SPLIT[split]]), 2 if split == "train" else 1)
    return root


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_both_layouts_are_the_same_text(corpus: Path, parquet: Path, split: str, words: bool) -> None:
    classic = open_text(DataConfig("wikitext2", str(corpus)), split, words)
    folder = parquet / ("wikitext-2-v1" if words else "wikitext-2-raw-v1")
    for given in (parquet, folder):
        rows = open_text(DataConfig("wikitext2", str(given)), split, words)
        assert list(rows.lines()) == list(classic.lines())
        assert rows.sha256 == classic.sha256
        assert rows.form == classic.form == ("tokens" if words else "raw")


def test_both_layouts_give_the_same_token_file(corpus: Path, parquet: Path, tmp_path: Path) -> None:
    made = []
    for given in (corpus, parquet):
        config, cache = DataConfig("wikitext2", str(given)), tmp_path / f"cache-{given.name}"
        text = open_text(config, "train", False)
        tokenizer = prepare_tokenizer(TokenizerConfig("bpe", 400), text, cache, quiet=True)
        made.append(prepare_tokens(text, tokenizer, cache, quiet=True))
    assert made[0].path != made[1].path
    assert made[0].path.name == made[1].path.name
    for name in ("tokens.bin", "lines.bin", "documents.bin", "manifest.json"):
        assert (made[0].path / name).read_bytes() == (made[1].path / name).read_bytes()


def test_without_the_blank_lines_the_hash_would_differ(corpus, parquet, monkeypatch) -> None:
    classic = open_text(DataConfig("wikitext2", str(corpus)), "validation", False)
    monkeypatch.setattr("alibi.data.wikitext.BLANK_LINE", "\n")
    rows = open_text(DataConfig("wikitext2", str(parquet)), "validation", False)
    assert rows.sha256 != classic.sha256
    assert sum(1 for _ in rows.lines()) == sum(1 for _ in classic.lines())


@pytest.mark.parametrize("split", ["validation", "test"])
def test_both_layouts_are_the_same_on_the_real_text(wikitext: Path, tmp_path: Path, split: str) -> None:
    source = wikitext / f"wiki.{FILE_SPLIT[split]}.raw"
    lines = [f"{line}\n" for line in source.read_bytes().decode().split("\n")[:-1]]
    for each in SPLITS:
        write_parquet(tmp_path / "wikitext-103-raw-v1", each, hub_rows(lines))
    for s in FILE_SPLIT.values():
        shutil.copy(source, tmp_path / f"wiki.{s}.raw")
    classic_folder = tmp_path / "classic"
    classic_folder.mkdir()
    for path in tmp_path.glob("wiki.*"):
        path.rename(classic_folder / path.name)
    classic, rows = (
        open_text(DataConfig("wikitext103", str(folder)), split, False) for folder in (classic_folder, tmp_path)
    )
    assert rows.sha256 == classic.sha256
    assert sum(begins for _, begins in rows.lines()) == 60


def test_a_parquet_file_changed_in_place_is_noticed(parquet: Path, raw_lines) -> None:
    config = DataConfig("wikitext2", str(parquet))
    before = open_text(config, "test", False).sha256
    changed = [line.replace("lobster", "mobster") for line in raw_lines["test"]]
    write_parquet(parquet / "wikitext-2-raw-v1", "test", hub_rows(changed))
    after = open_text(config, "test", False)
    assert "".join(line for line, _ in after.lines()) == "".join(changed)
    assert after.sha256 != before


def test_parquet_of_another_configuration_is_refused(parquet: Path) -> None:
    for folder in ("wikitext-103-raw-v1", "wikitext-2-v1"):
        (parquet / folder).mkdir(exist_ok=True)
        shutil.copy(parquet / "wikitext-2-raw-v1" / "test-00000-of-00001.parquet", parquet / folder)
    # WikiText-2 in a folder that says WikiText-103, and raw text where words are asked for.
    for name, folder, words in (
        ("wikitext2", "wikitext-103-raw-v1", False),
        ("wikitext103", "wikitext-2-raw-v1", False),
        ("wikitext2", "wikitext-2-raw-v1", True),
    ):
        with pytest.raises(FileNotFoundError, match=f"has no file for test of {name}.*-v1/test-"):
            open_text(DataConfig(name, str(parquet / folder)), "test", words)
    shutil.move(parquet / "wikitext-2-raw-v1", parquet / "mine")
    assert open_text(DataConfig("wikitext2", str(parquet / "mine")), "test", False).form == "raw"


def raising(error: Exception) -> Callable:
    def snapshot_download(*args, **kwargs):
        raise error

    return snapshot_download


@pytest.mark.parametrize("error", [ConnectionError("no route to host\nand more"), OSError(), ValueError("no cache")])
def test_a_hub_out_of_reach_is_one_message_with_the_remedies(monkeypatch, error: Exception) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", raising(error))
    with pytest.raises(ConnectionError) as caught:
        open_text(DataConfig("wikitext103"), "train", False)
    message = str(caught.value)
    for part in ("Salesforce/wikitext", "wikitext-103-raw-v1", "data.path", "data=stdlib", type(error).__name__):
        assert part in message
    assert "\n" not in message
    assert caught.value.__cause__ is error


def test_interrupting_the_hub_is_no_missing_connection(monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        open_text(DataConfig("wikitext103"), "train", False)


OFFLINE = """
import sys, time
from pathlib import Path
import huggingface_hub
from alibi.data import DataConfig, open_text
began = time.monotonic()
try:
    open_text(DataConfig("wikitext103"), "train", False)
except ConnectionError as error:
    print(error)
print(time.monotonic() - began)
"""


def test_offline_the_real_hub_is_given_up_at_once(tmp_path: Path) -> None:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    env = {name: value for name, value in env.items() if name not in ("HF_DATASETS_CACHE", "HF_HUB_CACHE")}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert time.monotonic() - began < 60
    message, seconds = done.stdout.splitlines()
    assert "data.path" in message
    assert "data=stdlib" in message
    assert float(seconds) < 5


def test_a_file_changed_with_its_time_kept_is_noticed(parquet: Path, raw_lines) -> None:
    folder = parquet / "wikitext-2-raw-v1"
    before = open_text(DataConfig("wikitext2", str(parquet)), "test", False).sha256
    [path] = folder.glob("test-*.parquet")
    times = path.stat()
    write_parquet(folder, "test", hub_rows(raw_lines["valid"]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert open_text(DataConfig("wikitext2", str(parquet)), "test", False).sha256 != before


def test_all_splits_come_in_the_form_that_all_have(parquet: Path) -> None:
    for path in (parquet / "wikitext-2-raw-v1").glob("test-*.parquet"):
        path.unlink()
    texts = [open_text(DataConfig("wikitext2", str(parquet)), split, False) for split in SPLITS]
    assert [text.form for text in texts] == ["tokens"] * 3


@pytest.mark.parametrize(("content", "message"), [(b"junk", "no sound parquet"), (None, "needs a column text")])
def test_what_is_no_such_parquet_file_is_named(parquet: Path, content: bytes | None, message: str) -> None:
    [path] = (parquet / "wikitext-2-raw-v1").glob("test-*.parquet")
    pq.write_table(pa.table({"other": ["x"]}), path) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path.name}.*{message}"):
        list(open_text(DataConfig("wikitext2", str(parquet)), "test", False).lines())

"""The cache in real processes: made by one at a time, whole or not at all, in bounded memory."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from prepare_corpus import entries, prepared

pytestmark = pytest.mark.slow

# Each tokenizer says in a file that it has begun, and is slow enough for others to come.
PROCESS = """
import os, sys, time
from pathlib import Path
import alibi.data.prepare as prepare
from alibi.data import DataConfig, open_text, prepare_tokens
from alibi.data.tokenizers import ByteTokenizer

corpus, cache, notes, seconds = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
prepare.LINES_PER_BATCH = 20

class SlowTokenizer(ByteTokenizer):
    batches = 0

    def encode(self, lines):
        self.batches += 1
        if self.batches == 2:
            (notes / f"encoding-{os.getpid()}").touch()
            time.sleep(seconds)
        return super().encode(lines)

text = open_text(DataConfig("wikitext2", str(corpus)), "validation", False)
text.sha256
(notes / f"ready-{os.getpid()}").touch()
while not (notes / "go").exists():
    time.sleep(0.005)
tokens = prepare_tokens(text, SlowTokenizer(), cache, quiet=True)
print(tokens.path, len(tokens), bytes(tokens.tokens.astype("uint8")).hex())
"""


def start(corpus: Path, cache: Path, notes: Path, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-c", PROCESS, *map(str, (corpus, cache, notes, seconds))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(notes: Path, pattern: str, count: int) -> None:
    until = time.monotonic() + 60
    while len(list(notes.glob(pattern))) < count:
        assert time.monotonic() < until, f"no {pattern} within a minute"
        time.sleep(0.01)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def test_two_processes_at_once_make_one_entry(corpus: Path, cache: Path, notes: Path) -> None:
    both = [start(corpus, cache, notes, 0.5) for _ in range(2)]
    wait_for(notes, "ready-*", 2)
    (notes / "go").touch()
    said = []
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        said.append(out)
    assert len(list(notes.glob("encoding-*"))) == 1, "one encodes while the other waits"
    assert said[0] == said[1]
    path, count, content = said[0].split()
    assert bytes.fromhex(content) == (corpus / "wiki.valid.raw").read_bytes()
    assert int(count) == len(bytes.fromhex(content))
    assert [str(entry) for entry in entries(cache)] == [path]


def test_a_killed_process_leaves_no_half_entry(corpus: Path, cache: Path, notes: Path) -> None:
    (notes / "go").touch()
    process = start(corpus, cache, notes, 300)
    wait_for(notes, "encoding-*", 1)
    (partial,) = entries(cache)
    assert partial.suffix == ".partial"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert entries(cache) == [partial]
    tokens = prepared(corpus, cache)
    assert bytes(tokens.tokens.astype(np.uint8)) == (corpus / "wiki.valid.raw").read_bytes()
    assert entries(cache) == [tokens.path]


PEAK = """
import sys
from pathlib import Path
from alibi.data import DataConfig, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

kind, *folders = sys.argv[1:]
for folder in folders:
    cache = Path(folder) / "cache"
    text = open_text(DataConfig("wikitext2", folder), "train", kind == "word")
    tokenizer = prepare_tokenizer(TokenizerConfig(kind), text, cache, quiet=True)
    print(len(prepare_tokens(text, tokenizer, cache, quiet=True)), peak())
held = "".join(line for line, _ in text.lines())
print(len(held), peak())
"""
LINE = " the lobster was found in the sea , and again \n"
NUM_LINES, TIMES_LARGER = 20_000, 15  # above one batch of lines, so that a batch is not what grows


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux's /proc")
@pytest.mark.parametrize("kind", ["byte", "word"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, kind: str) -> None:
    folders = [tmp_path / "small", tmp_path / "large"]
    for folder, times in zip(folders, (1, TIMES_LARGER), strict=True):
        folder.mkdir()
        for name in ("train.raw", "valid.raw", "test.raw", "train.tokens"):
            (folder / f"wiki.{name}").write_text(LINE * NUM_LINES * (times if "train" in name else 1))
    command = [sys.executable, "-c", PEAK, kind, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    small, large, held = (line.split() for line in done.stdout.splitlines())
    per_line = {"byte": len(LINE), "word": 11}[kind]
    assert [int(small[0]), int(large[0])] == [NUM_LINES * per_line, NUM_LINES * TIMES_LARGER * per_line]
    text_mib = int(held[0]) / 2**20
    assert text_mib > 12
    streamed = float(large[1]) - float(small[1])
    assert streamed < text_mib / 3
    # Control: a process that holds the text shows it.
    assert float(held[1]) - float(small[1]) > text_mib * 0.9

"""Preparing text against the `tokenizers` library alone: training a BPE and encoding, the same text and threads.

    python scripts/benchmark_tokenizer.py FILE [--megabytes 60] [--rounds 3]

FILE is repeated until it is that large. Prints seconds and the ratio of each round; alternating, so
that a noisy machine disturbs both alike.
"""

import statistics
import tempfile
import time
from pathlib import Path

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from alibi.data import TokenizerConfig, prepare_tokenizer, prepare_tokens
from alibi.data.wikitext import ClassicFile
from alibi.options import Options
from alibi.paths import user_path
from alibi.script import script


def library_alone(path: Path, vocab_size: int) -> None:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train([str(path)], trainer)
    with open(path, encoding="utf-8", newline="\n") as file:
        while lines := file.readlines(2**20):
            for encoding in tokenizer.encode_batch_fast(lines):
                _ = encoding.ids


def ours(path: Path, vocab_size: int) -> None:
    text = ClassicFile("benchmark", "train", "raw", path.stat().st_size, False, path)
    with tempfile.TemporaryDirectory() as cache:
        tokenizer = prepare_tokenizer(TokenizerConfig("bpe", vocab_size), text, Path(cache), quiet=True)
        prepare_tokens(text, tokenizer, Path(cache), quiet=True)


def seconds(work, *args) -> float:
    begun = time.perf_counter()
    work(*args)
    return time.perf_counter() - begun


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("file", type=user_path)
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=8192)
    options = parser.parse_args()
    content = options.file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text"
        path.write_bytes(content * max(1, round(options.megabytes * 1e6 / len(content))))
        ratios = []
        for number in range(1, options.rounds + 1):
            mine, alone = seconds(ours, path, options.vocab_size), seconds(library_alone, path, options.vocab_size)
            ratios.append(mine / alone)
            print(
                f"round {number}: ours {mine:.1f} s, tokenizers alone {alone:.1f} s, ratio {mine / alone:.2f}",
                flush=True,
            )
        size = path.stat().st_size / 1e6
    print(f"{size:.0f} MB, median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    with script():
        main()

"""What Press, Smith and Lewis published, and in what a run's setup differs from theirs. Their numbers: published.csv.

Source: "Train Short, Test Long", arXiv 2108.12409v2 (ICLR 2022), Tables 2-7 and 13-15.
"""

import csv
from pathlib import Path

from alibi.results import Result

PAPER = "Press, Smith and Lewis, Train Short, Test Long, arXiv 2108.12409v2"
UNIT = "word_perplexity"
# The setup of every published number (section 2, Table 6; the authors' code).
SHAPE = {"model.num_layers": 16, "model.d_model": 1024, "model.num_heads": 8, "model.d_ff": 4096}
UPDATES, TOKENS_PER_UPDATE = 286_000, 73_728
# Words and special symbols, and the same padded to a multiple of 8.
VOCAB_SIZES = (267_737, 267_744)
WORDS = {"validation": 217_646, "test": 245_569}


def published_rows() -> list[dict[str, str]]:
    """The rows of published.csv, in the order of the tables."""
    with (Path(__file__).parent / "published.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def published_points(method: str, seq_len: int | None, protocol: str, split: str) -> dict[int, tuple[float, str]]:
    """What was published of a method trained at a length: (perplexity, table) by length of evaluation.

    Args:
        protocol: as result files name it: nonoverlapping, or stride-512.
    """
    found: dict[int, tuple[float, str]] = {}
    for row in published_rows():
        if (row["method"], row["trained_at"], row["protocol"], row["split"]) == (method, str(seq_len), protocol, split):
            found.setdefault(int(row["evaluated_at"]), (float(row["perplexity"]), row["table"]))
    return found


def differences_in_setup(result: Result) -> list[str]:
    """How a result's text and training differ from those of the published numbers; empty where levels compare."""
    data, settings = result.data, result.checkpoint.settings or {}
    tokenizer = f"{data.tokenizer.name} of {data.tokenizer.vocab_size:,} ids" if data.tokenizer else "unknown"
    found = []
    if (words := WORDS.get(data.split, 0)) != data.words:
        found.append(f"another text or a part of it ({data.words:,} words, not {words:,})")
    if data.form != "tokens":
        form = f"its form .{data.form}" if data.form else "an unknown form"
        found.append(f"the text in {form}, not .tokens with <unk> for rare words")
    if tokenizer not in [f"word of {size:,} ids" for size in VOCAB_SIZES]:
        found.append(f"another vocabulary ({tokenizer}, not {VOCAB_SIZES[1]:,} words)")
    if "train.batch_tokens" not in settings:
        return [*found, "unknown training settings"]
    if settings.get("data.name") != "wikitext103":
        found.append(f"trained on other data ({settings.get('data.name')}, not wikitext103)")
    updates, batch = result.checkpoint.step, settings["train.batch_tokens"]
    if updates * batch != UPDATES * TOKENS_PER_UPDATE:
        found.append(f"other updates ({updates:,} of {batch:,} tokens, not {UPDATES:,} of {TOKENS_PER_UPDATE:,})")
    if other := [name for name, value in SHAPE.items() if settings.get(name) != value]:
        shape = ", ".join(f"{name.removeprefix('model.')} {settings.get(name)}" for name in other)
        found.append(f"another shape ({shape})")
    return found

"""The text that a checkpoint is evaluated on: its own, or another, encoded by the run's own tokenizer."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from alibi.data import DataConfig, TokenFile, open_text, prepare_tokens
from alibi.data.text import Text, in_batches
from alibi.runs import Checkpoint, Guest

# Above this share of bytes that no token stands for, nats per word and per byte say nothing of the text.
MOST_UNCOVERED = 0.01


@dataclass(frozen=True)
class EvaluationText:
    """A text in tokens, and whether it is the one that the run validates on (or its sibling, test).

    Attributes:
        sha256: of the part in use.
        whole: not cut.
        uncovered_bytes: of the part in use, those that no token stands for.
    """

    tokens: TokenFile
    sha256: str
    own: bool
    whole: bool
    uncovered_bytes: int = 0

    @property
    def has_text_units(self) -> bool:
        """Whether nats per word and per byte are of this text."""
        return self.uncovered_bytes <= MOST_UNCOVERED * self.tokens.num_bytes


def open_evaluation_text(
    checkpoint: Checkpoint | Guest,
    data: DataConfig,
    split: str,
    max_tokens: int | None,
    cache: Path,
    quiet: bool = False,
) -> EvaluationText:
    """The split, encoded by the checkpoint's own tokenizer and cut at `max_tokens`.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as open_text and prepare_tokens.
    """
    tokenizer = checkpoint.load_tokenizer()
    words = tokenizer.name == "word"
    text = open_text(data, split, words, cache)
    whole = replace(prepare_tokens(text, tokenizer, cache, quiet), end_of_text=tokenizer.first_input)
    tokens = whole if max_tokens is None else whole.cut(max_tokens)
    is_whole = len(tokens) == len(whole)
    sha256 = text.sha256 if is_whole else text.sha256_of(tokens.num_lines)
    lines = (line for line, _ in islice(text.lines(), tokens.num_lines))
    uncovered = sum(map(tokenizer.uncovered_bytes, in_batches(lines, 4096)))
    return EvaluationText(tokens, sha256, _is_own(checkpoint, data, text, words, cache), is_whole, uncovered)


def _is_own(checkpoint: Checkpoint | Guest, data: DataConfig, text: Text, words: bool, cache: Path) -> bool:
    if isinstance(checkpoint, Guest) or data.name != checkpoint.data_config.name:
        return False
    # A run reads no test split; its text is known by the validation split beside it.
    try:
        validation = text if text.split == "validation" else open_text(data, "validation", words, cache)
    except FileNotFoundError:
        return False
    return validation.sha256 == checkpoint.texts["validation"]

"""The text that a checkpoint is evaluated on: its own or another, encoded by the run's own tokenizer."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from alibi.data import DataConfig, TokenFile, Tokenizer, TooFewDocuments, open_text, prepare_tokens
from alibi.data.text import Text, in_batches
from alibi.evaluation.evaluation_settings import EvaluationSettings
from alibi.evaluation.measures.repeats import repeat_distances
from alibi.evaluation.sums import Groups, text_groups
from alibi.results import said_of_uncovered
from alibi.runs import Checkpoint, Guest

# With a larger share of bytes that no token stands for, nats per word and per byte are not of this text.
MOST_UNCOVERED = 0.01


@dataclass(frozen=True)
class EvaluationText:
    """A tokenized text, or the part of it that is scored.

    Attributes:
        groups: what the bootstrap resamples.
        sha256: of the part that is scored.
        own_sha256: of the run's own text of this split; None where this is another text.
        uncovered_bytes: of that part, those that no token stands for.
        documents_in_text: of all splits together; None for a corpus that comes in splits.
        has_text_units: whether nats per word and per byte are of this text.
        repeat_distances: (N,) as `repeat_distances` gives them; None where they are not asked for.
        notes: which share of the text is scored, and what else a user should know of it, in words.
    """

    tokens: TokenFile
    groups: Groups
    sha256: str
    own_sha256: str | None
    uncovered_bytes: int
    has_text_units: bool
    documents_in_text: int | None
    repeat_distances: np.ndarray | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        about = self.tokens.text
        return f"{len(self.tokens):,} tokens of {about['name']} {about['split']}"


def open_evaluation_text(
    checkpoint: Checkpoint | Guest, data: DataConfig, settings: EvaluationSettings, cache: Path, quiet: bool = False
) -> EvaluationText:
    """`settings.split`, encoded by the checkpoint's own tokenizer and cut at `settings.max_tokens`.

    A text of one or two documents has no validation split; all of it is used instead.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as open_text and prepare_tokens.
    """
    tokenizer = checkpoint.load_tokenizer()
    words = tokenizer.name == "word"
    try:
        text = open_text(data, settings.split, words)
    except TooFewDocuments:
        if settings.split != "validation":
            raise
        text = open_text(data, "all", words)
    whole = replace(prepare_tokens(text, tokenizer, cache, quiet), end_of_text=tokenizer.first_input)
    tokens = whole.cut(settings.max_tokens or len(whole))
    sha256 = text.sha256 if len(tokens) == len(whole) else text.sha256_of(tokens.num_lines)
    uncovered, covered = count_uncovered(text, tokens, tokenizer)
    own_sha256 = _own_sha256(checkpoint, data, text, words)

    share, notes = text.share(tokens), []
    if text.split != "all" and text.documents_in_text and not own_sha256:
        share = f"{share}; eval.split=all scores every document"
    if text.split != settings.split:
        notes.append(f"fewer than three documents have no {settings.split} split: all of the text is scored")
    elif text.split == "all" and own_sha256:
        notes.append("these are also the documents that the run was trained on: no measure of unseen text")
    if own_sha256 is None and isinstance(checkpoint, Checkpoint):
        run = checkpoint.run.name
        notes.append(f"this is not {run}'s own text: the result's name includes its hash")
    if uncovered:
        none = "there are no numbers per word and per byte, which would not describe this text"
        then = "numbers per word and per byte are left out of comparisons" if covered else none
        notes.append(f"{said_of_uncovered(uncovered, tokens.num_bytes)}; {then}")
    notes = tuple(filter(None, [share, *notes, text.left_out]))
    repeats = None
    if "repeats" in settings.wanted_measures:
        repeats = repeat_distances(tokens, _training_tokens(checkpoint, data, tokenizer, cache, quiet), tokenizer)
    about = sha256, own_sha256, uncovered, covered, text.documents_in_text, repeats, notes
    return EvaluationText(tokens, text_groups(tokens), *about)


def _training_tokens(
    checkpoint: Checkpoint | Guest, data: DataConfig, tokenizer: Tokenizer, cache: Path, quiet: bool
) -> TokenFile:
    """The text that the run was trained on; a guest's is unknown, and that of the evaluated corpus stands for it.

    Raises:
        ValueError: it is not there any more, or the corpus has none.
    """
    own = checkpoint.data_config if isinstance(checkpoint, Checkpoint) else data
    problem, words = "", tokenizer.name == "word"
    # The run's folder may have moved, and data.path may name the new one.
    for place in [own, replace(own, path=data.path)] if own.name == data.name else [own]:
        try:
            text = open_text(place, "train", words)
        except (FileNotFoundError, ValueError) as error:
            problem = problem or f"there is none: {error}"
            continue
        if isinstance(checkpoint, Guest) or text.sha256 == checkpoint.texts["train"]:
            return prepare_tokens(text, tokenizer, cache, quiet)
        problem = problem or f"that of {checkpoint.run.name} has changed since (data={own.name})."
    raise ValueError(f"eval.measures=[repeats] counts how often a bigram occurs in the training text, and {problem}")


def count_uncovered(text: Text, tokens: TokenFile, tokenizer: Tokenizer) -> tuple[int, bool]:
    """Bytes of the scored part that no token stands for, and whether nats per word and per byte may still be given."""
    lines = (line for line, _ in islice(text.lines(), tokens.num_lines))
    uncovered = sum(map(tokenizer.uncovered_bytes, in_batches(lines, 4096)))
    return uncovered, uncovered <= MOST_UNCOVERED * tokens.num_bytes


def _own_sha256(checkpoint: Checkpoint | Guest, data: DataConfig, text: Text, words: bool) -> str | None:
    """Of the run's own text of this split, whole; None where it is another text."""
    if isinstance(checkpoint, Guest) or data.name != checkpoint.data_config.name:
        return None
    # The manifest may lack the split: all of a text, and test in older ones. It is known by those beside it.
    beside = ("train", "validation") if text.split == "all" else ("validation",)
    known = (text.split,) if text.split in checkpoint.texts else beside
    try:
        parts = [text if split == text.split else open_text(data, split, words) for split in known]
    except (FileNotFoundError, TooFewDocuments):
        return None
    return text.sha256 if all(part.sha256 == checkpoint.texts[part.split] for part in parts) else None

"""The tokenizer and token files of a run."""

from dataclasses import dataclass
from pathlib import Path

from alibi.data import TokenFile, Tokenizer, open_text, prepare_tokenizer, prepare_tokens
from alibi.evaluation import count_uncovered, is_covered, said_of_uncovered
from alibi.processes import Processes
from alibi.training.training_settings import RunConfig


@dataclass(frozen=True)
class RunTexts:
    """
    Attributes:
        covered: the tokens cover enough of the validation text for metrics per word and per byte.
        test_sha256: of the test text, which training does not read; None if it is unknown.
    """

    tokenizer: Tokenizer
    train: TokenFile
    validation: TokenFile
    covered: bool = True
    test_sha256: str | None = None

    @property
    def sha256(self) -> dict[str, str]:
        """Of the text, by split."""
        return {"train": self.train.text["sha256"], "validation": self.validation.text["sha256"]}

    @property
    def every_sha256(self) -> dict[str, str]:
        """As `sha256`, with the test split if it is known: it identifies results on the run's own text."""
        return self.sha256 | ({"test": self.test_sha256} if self.test_sha256 else {})


def prepare_texts(config: RunConfig, procs: Processes) -> RunTexts:
    """Prepare the tokenizer and token files, or take them from the cache.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as open_text and prepare_tokens.
    """
    cache, words = Path(config.paths.cache), config.tokenizer.name == "word"
    train = open_text(config.data, "train", words)
    procs.say(f"data       {train.name}, in the form {train.form}")
    if train.left_out:
        procs.say(f"           {train.left_out}")
    quiet = not procs.is_main
    tokenizer = prepare_tokenizer(config.tokenizer, train, cache, quiet)
    texts = train, open_text(config.data, "validation", words)
    tokens = [prepare_tokens(text, tokenizer, cache, quiet) for text in texts]
    for text, encoded in zip(texts, tokens, strict=True):
        if share := text.share(encoded):
            procs.say(f"           {share}")
    uncovered = count_uncovered(texts[1], tokens[1], tokenizer)
    covered = is_covered(uncovered, tokens[1])
    if uncovered:
        then = "" if covered else "; val/word_ppl and val/bpb, which would be of another text, are left out"
        procs.say(f"           validation: {said_of_uncovered(uncovered, tokens[1].num_bytes)}{then}")
    return RunTexts(tokenizer, *tokens, covered, procs.on_main(_test_sha256, config, words))


def _test_sha256(config: RunConfig, words: bool) -> str | None:
    if config.data.path is None and config.data.name != "stdlib":
        return None  # nothing is fetched from the hub that the run does not need
    try:
        return open_text(config.data, "test", words).sha256
    except (OSError, ValueError):  # training does not need it
        return None

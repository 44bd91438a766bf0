"""What a run is trained on: a text, or the strings of a task."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from alibi.data import TokenFile, Tokenizer, TrainingOrder, open_text, prepare_tokenizer, prepare_tokens
from alibi.data.tasks import HELD_OUT, Task, TaskOrder, task_of
from alibi.evaluation import count_uncovered, said_of_uncovered
from alibi.processes import Processes
from alibi.runs import Checkpoint
from alibi.training.from_origin import check_form
from alibi.training.training_settings import RunConfig


@dataclass(frozen=True)
class RunTexts:
    """
    Attributes:
        covered: the tokens cover enough of the validation text for metrics per word and per byte.
        form: raw or tokens (of WikiText), or files.
        sha256: of the text, by split; of test, on which nothing is trained or validated, only where it is there.
    """

    tokenizer: Tokenizer
    train: TokenFile
    validation: TokenFile
    covered: bool
    form: str
    sha256: dict[str, str]

    def order(self, seq_len: int, seed: int) -> TrainingOrder:
        return TrainingOrder(self.train, seq_len, seed)

    def notes(self, lengths: list[int]) -> list[str]:
        """What a user may not expect of validation at these lengths."""
        number = len(self.validation)
        long = (length for length in lengths if length > number)
        return [f"length {length} is above the {number} validation tokens: one window" for length in long]

    def in_words(self) -> str:
        counts = f"{len(self.train):,} train, {len(self.validation):,} validation"
        return f"tokens     {counts}; {self.tokenizer.name}, {self.tokenizer.vocab_size:,} ids"

    def passes(self, tokens: int) -> str:
        """Of training on so many tokens."""
        return f", {tokens / len(self.train):.2f} epochs"

    @property
    def facts(self) -> dict:
        return {"train_tokens": len(self.train), "validation_tokens": len(self.validation)}


@dataclass(frozen=True)
class RunTask:
    """
    Attributes:
        sha256: of the task's strings at the training length, by split.
    """

    task: Task
    tokenizer: Tokenizer
    sha256: dict[str, str]
    form: str = "strings"

    def order(self, seq_len: int, seed: int) -> TaskOrder:
        return TaskOrder(self.task, seed)

    def notes(self, lengths: list[int]) -> list[str]:
        """
        Raises:
            ValueError: the task has no strings of such a length.
        """
        for length in lengths:
            self.task.check_length(length, "train.eval_lengths")
        return []

    def in_words(self) -> str:
        task = self.task
        lengths = f"{task.shortest:,} to {task.trained:,}" if task.shortest < task.trained else f"{task.trained:,}"
        settings = ", ".join(f"{name} {value}" for name, value in asdict(task.settings).items())
        return f"task       {task.name}: {settings}; strings of {lengths} tokens, {self.tokenizer.vocab_size:,} ids"

    def passes(self, tokens: int) -> str:
        return f" of padded strings, {tokens // self.task.trained:,} strings"

    @property
    def facts(self) -> dict:
        return {"validation_strings": HELD_OUT}


RunData = RunTexts | RunTask


def prepare_data(config: RunConfig, procs: Processes, checkpoint: Checkpoint | None = None) -> RunData:
    """Prepare tokenizer and token files, or take them from the cache; or a task.

    Args:
        checkpoint: to continue or to start from. It holds a pretrained tokenizer, whose own files may be gone by
            then, and an origin's, which may have been trained on another text.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as open_text and prepare_tokens.
        ValueError: the text comes in another form than that which an origin's tokenizer was made for.
    """
    if config.data.is_task:
        task = task_of(config.data.name, config.data.task, config.train.seq_len)
        return RunTask(task, task.tokenizer, task.sha256)
    cache, words = Path(config.paths.cache), config.tokenizer.name == "word"
    train = open_text(config.data, "train", words)
    if config.origin and checkpoint:
        check_form(train.form, checkpoint)
    procs.say(f"data       {train.name}, in the form {train.form}")
    if train.left_out:
        procs.say(f"           {train.left_out}")
    quiet = not procs.is_main
    if checkpoint and (config.origin or config.tokenizer.is_pretrained):
        tokenizer = checkpoint.load_tokenizer()
    else:
        tokenizer = prepare_tokenizer(config.tokenizer, train, cache, quiet)
    texts = train, open_text(config.data, "validation", words)
    tokens = [prepare_tokens(text, tokenizer, cache, quiet) for text in texts]
    for text, encoded in zip(texts, tokens, strict=True):
        if share := text.share(encoded):
            procs.say(f"           {share}")
    uncovered, covered = count_uncovered(texts[1], tokens[1], tokenizer)
    if uncovered:
        then = "" if covered else "; val/word_ppl and val/bpb, which would not describe this text, are left out"
        procs.say(f"           validation: {said_of_uncovered(uncovered, tokens[1].num_bytes)}{then}")
    sha256 = {text.split: text.sha256 for text in texts} | procs.on_main(_test_sha256, config, words)
    return RunTexts(tokenizer, *tokens, covered, train.form, sha256)


def _test_sha256(config: RunConfig, words: bool) -> dict[str, str]:
    """Empty where there is no test split: training does not need it."""
    with suppress(OSError, ValueError):
        return {"test": open_text(config.data, "test", words).sha256}
    return {}

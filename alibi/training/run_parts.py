"""The parts of a run: its text, its state and its model, from its settings and the checkpoint that it continues."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from alibi.data import TokenFile, Tokenizer, TrainingOrder, open_text, prepare_tokenizer, prepare_tokens
from alibi.environment import has_fast_bf16
from alibi.evaluation import count_uncovered, in_order, said_of_uncovered
from alibi.model import LanguageModel
from alibi.processes import Processes
from alibi.runs import CONFIG, Checkpoint, RunFolder, earlier_runs, load_weights, run_name
from alibi.runs.fingerprint import source_sha256
from alibi.runs.origin import load_kept, weights_from
from alibi.training.from_origin import begin, check_form
from alibi.training.optimizer import build_optimizer
from alibi.training.parallel import load_moments, place
from alibi.training.schedule import stable_step
from alibi.training.train_state import TrainState
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


def prepare_texts(config: RunConfig, procs: Processes, checkpoint: Checkpoint | None = None) -> RunTexts:
    """Prepare the tokenizer and token files, or take them from the cache.

    Args:
        checkpoint: to continue or to start from. It holds a pretrained tokenizer, whose own files may be gone by
            then, and an origin's, which may have been trained on another text.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as open_text and prepare_tokens.
        ValueError: the text comes in another form than that which an origin's tokenizer was made for.
    """
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


class RunParts:
    """
    Args:
        checkpoint: to continue from; None starts a new run.
        origin: to start a new run from.

    Attributes:
        began: what was taken from the origin and what starts anew, in words; empty without one, or when continuing.
        source: the run folder that the state comes from, another one if the run branches off.
        method_source: hash of the position method's code, taken now: the file may be edited during training.
        stable_step: the step whose checkpoint is kept, so that the run can be extended; None: no such step.
        lengths: further lengths of each validation.
        notes: what a user may not expect of these settings, one sentence each.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        procs: Processes,
        texts: RunTexts,
        checkpoint: Checkpoint | None,
        origin: Checkpoint | None = None,
    ) -> None:
        self.config, self.folder, self.procs, self.texts = config, folder, procs, texts
        self.order = TrainingOrder(texts.train, config.train.seq_len, config.seed)
        self.model = LanguageModel(config.model, texts.tokenizer.vocab_size, seed=config.seed)
        self.model.transformer.skip_far_keys = config.train.skip_far_keys
        self.method_source = source_sha256(self.model)
        self.state, self.source, self.began = TrainState(), folder, []
        kept = {}
        if checkpoint:
            load_weights(self.model, checkpoint.path)
        elif origin:
            with procs.together():
                kept = weights_from(self.model, origin)
                load_kept(self.model, origin, kept)
        place(self.model, config.train.parallel, procs)
        self.optimizer = build_optimizer(config.optimizer, self.model)
        if checkpoint:
            with procs.together():
                self.state = TrainState.from_json(checkpoint.state, checkpoint.path)
                load_moments(checkpoint.load_moments(), self.model, self.optimizer)
            self.source = RunFolder(checkpoint.run)
            if self.source.path.resolve() != folder.path.resolve():
                # A branch has a wandb run and a best checkpoint of its own.
                self.state.wandb_id, self.state.best_val_loss, self.state.best_step = None, None, 0
        elif origin:
            with procs.together():
                self.state, self.began = begin(config, origin, texts.sha256["train"], self.model, self.optimizer, kept)
        self.stable_step = stable_step(config.optimizer, config.train.max_steps)
        self.lengths, note = in_order(config.train.eval_lengths)
        tokens, self.notes = len(texts.validation), [note] if note else []
        long = (length for length in self.lengths if length > tokens)
        self.notes += [f"length {length} is above the {tokens} validation tokens: one window" for length in long]
        settings = asdict(config)
        named_by_settings = not checkpoint and folder.path.name == run_name(settings)
        for name, overrides in earlier_runs(settings).items() if named_by_settings else ():
            if ((earlier := folder.path.with_name(name)) / CONFIG).is_file():
                self.notes.append(f"{earlier} is the run of this command before a default changed; {overrides} goes on")
        if config.precision == "bf16" and not has_fast_bf16(procs.device):
            self.notes.append("this machine has no bf16 instructions; bf16 is many times slower than precision=fp32")

"""The training loop: update, log, validate, save, until max_steps.

Imports `data`, `model`, `runs` and `evaluation`.
"""

import math
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch
import yaml

from alibi.data import TrainingOrder
from alibi.environment import peak_memory_mib, pick_device, reset_peak_memory
from alibi.evaluation import in_order, perplexity
from alibi.model import LanguageModel
from alibi.processes import Processes, processes
from alibi.runs import CONFIG, Checkpoint, RunFolder, load_weights, weight_settings, write_atomically
from alibi.tracking import MetricsFile, Wandb, progress_bar
from alibi.training.optimizer import build_optimizer, check_warmup
from alibi.training.parallel import check_same_everywhere, full_state, full_weights, is_sharded, place, spread_state
from alibi.training.resume import check_same_text, find_checkpoint, only_process
from alibi.training.settings import RunConfig
from alibi.training.state import TrainState
from alibi.training.summary import describe_run
from alibi.training.texts import RunTexts, prepare_texts
from alibi.training.update import NotFinite, Updater, micro_batch_sizes
from alibi.training.validation import validate


def train(config: RunConfig, run_dir: Path) -> str:
    """Train the run that `config` describes, in `run_dir`, from its last checkpoint if it has one.

    Returns "ran", or "skipped" where the run was finished already.

    Args:
        config: with `precision` resolved.

    Raises:
        ValueError: settings that cannot be, another run in the folder, or a loss that is not finite.
        FileNotFoundError, ConnectionError: no text.
    """
    device = pick_device(config.device)
    check_warmup(config.optimizer, config.train.max_steps)
    with processes(device) as procs, ExitStack() as held:
        folder, checkpoint = RunFolder(run_dir), None
        say = print if procs.is_main else (lambda _: None)
        with procs.together():
            if procs.is_main:
                find_checkpoint(config, folder, lambda _: None)  # refuses before anything is prepared
        with procs.together():
            texts = prepare_texts(config, procs)
            if procs.is_main:
                held.enter_context(only_process(folder))
                checkpoint = find_checkpoint(config, folder, say)
            if checkpoint:
                check_same_text(checkpoint, texts.sha256, texts.tokenizer.sha256)
        check_same_everywhere([weight_settings(asdict(config)), texts.sha256, texts.tokenizer.sha256], procs)
        checkpoint = procs.from_main(checkpoint)  # all go on from the same one, whatever their disks show them
        if checkpoint and checkpoint.step >= config.train.max_steps:
            say(f"{run_dir} is finished: {checkpoint.step} steps. python evaluate.py runs={run_dir} measures it.")
            _point_latest(config, folder, procs)
            return "skipped"
        Run(config, folder, procs, texts, checkpoint).train()
        return "ran"


def _point_latest(config: RunConfig, folder: RunFolder, procs: Processes) -> None:
    if procs.is_main:
        folder.point_latest(Path(config.paths.outputs))


class Run:
    """One run in progress: the parts, and the state that a checkpoint holds."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        procs: Processes,
        texts: RunTexts,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.config, self.folder, self.procs, self.texts = config, folder, procs, texts
        self.model = LanguageModel(config.model, texts.tokenizer.vocab_size, seed=config.seed)
        self.model.transformer.skip_far_keys = config.train.skip_far_keys
        self.state = TrainState()
        if checkpoint:
            load_weights(self.model, checkpoint.path)
        place(self.model, config.train.parallel, procs)
        self.optimizer = build_optimizer(config.optimizer, self.model)
        if checkpoint:
            with procs.together():
                saved = checkpoint.load_state() if procs.is_main else None
            self.state = TrainState.restore(spread_state(saved, self.optimizer, procs), self.optimizer)
        self.order = TrainingOrder(texts.train, config.train.seq_len, config.seed)
        self.lengths, note = in_order(config.train.eval_lengths)
        if note and procs.is_main:
            print(f"note       {note}")
        for length in self.lengths:
            if length > len(texts.validation) and procs.is_main:
                print(f"note       length {length} is above the {len(texts.validation)} validation tokens: one window")
        self.yaml = yaml.safe_dump(asdict(config), sort_keys=False)

    def train(self) -> None:
        train, procs = self.config.train, self.procs
        updater, seconds = self._updater()
        with procs.together():
            if procs.is_main:
                print(f"run        {self.folder.path}")
                print(describe_run(self.config, self.texts, self.model, self.state, procs, seconds))
                self._open_folder()
        try:
            with progress_bar(train.max_steps, "step", self.state.step, show=procs.is_main) as bar:
                while self.state.step < train.max_steps:
                    line = self._step(updater)
                    bar.set_postfix_str(_progress(line), refresh=False)
                    bar.update()
        finally:
            if procs.is_main:
                self.metrics.close()
                self.wandb.close()
        if procs.is_main:
            step, loss = self.state.step, self.state.last_val_loss
            print(f"finished   {step} steps; validation loss {loss:.4f} nats, perplexity {perplexity(loss, 1):.3f}")

    def _updater(self) -> tuple[Updater, float]:
        """The updater with the largest micro-batch that fits (or the one this run began with), and its seconds."""
        sizes = micro_batch_sizes(self.config, self.model, self.procs)
        begun_with = self.state.micro_batch_tokens
        if begun_with and self.config.train.micro_batch_tokens is None:
            if (self.config.train.batch_tokens // begun_with) % self.procs.number == 0:
                sizes = [begun_with]
            elif self.procs.is_main:
                print(f"note       this run began with micro-batches of {begun_with} tokens, which {self.procs.number} "
                      "processes cannot share: others are taken, and dropout, if any, draws anew")  # fmt: skip
        updater = Updater(self.config, self.model, self.optimizer, self.order, self.procs, sizes[0])
        for updater.micro_batch_tokens in sizes:
            try:
                seconds = updater.measure_seconds()
                break
            except torch.OutOfMemoryError:
                self.optimizer.zero_grad()
                torch.cuda.empty_cache()
                # In a sharded model the others wait in the middle of the pass, and cannot try again.
                if updater.micro_batch_tokens == sizes[-1] or is_sharded(self.model):
                    raise MemoryError(
                        f"one micro-batch of {updater.micro_batch_tokens} tokens does not fit into the memory of "
                        f"{self.model.device}; use a smaller train.micro_batch_tokens, train.seq_len or size."
                    ) from None
        # Other processes may have had less room: all take the smallest.
        updater.micro_batch_tokens = self.procs.least(updater.micro_batch_tokens)
        self.state.micro_batch_tokens = updater.micro_batch_tokens
        updater.replicate()
        return updater, seconds

    def _open_folder(self) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder.path / CONFIG, self.yaml)
        _point_latest(self.config, self.folder, self.procs)
        self.metrics = MetricsFile(self.folder.path / "metrics.jsonl", self.state.step)
        method, told = self.config.model.position["name"], asdict(self.config) | {"facts": self._facts()}
        tracking, run_id = self.config.tracking, self.state.wandb_id
        self.wandb = Wandb(tracking, self.folder.path, run_id, told, method, self.metrics.earlier)
        self.state.wandb_id = self.wandb.id

    def _facts(self) -> dict:
        """What the settings imply, for whoever compares runs: parameters by use, the sizes of text and batch."""
        texts, count = self.texts, self.model.count_parameters()
        return {
            "parameters": {"total": count.total, **asdict(count)},
            "vocab_size": texts.tokenizer.vocab_size,
            "train_tokens": len(texts.train),
            "validation_tokens": len(texts.validation),
            "text_sha256": dict(texts.sha256),
            "micro_batch_tokens": self.state.micro_batch_tokens,
            "processes": self.procs.number,
            "device": str(self.model.device),
        }

    def _step(self, updater: Updater) -> dict:
        """One update and all that is due after it; returns the line of metrics."""
        train, state = self.config.train, self.state
        device = self.model.device
        reset_peak_memory(device)
        begun = time.perf_counter()
        blocks, cursor = self.order.blocks(state.cursor, train.batch_tokens // train.seq_len)
        following, _ = self.order.blocks(cursor, len(blocks))
        try:
            result = updater.update(state.step + 1, blocks, following)
        except NotFinite as error:
            raise self._not_finite(str(error)) from error
        seconds = time.perf_counter() - begun
        state.step, state.cursor, state.tokens = state.step + 1, cursor, state.tokens + train.batch_tokens
        last = state.step == train.max_steps
        line = {
            "step": state.step,
            "tokens": state.tokens,
            "train/loss": result.loss,
            "train/lr": result.lr,
            "train/grad_norm": result.grad_norm,
            "perf/tokens_per_sec": train.batch_tokens / seconds,
            "perf/step_ms": 1000 * seconds,
            "perf/max_memory_mib": peak_memory_mib(device),
        }
        validated = last or state.step % train.eval_every == 0
        if validated:
            line |= validate(self.model, self.texts.validation, train.seq_len, self.lengths, self.procs)
            if not math.isfinite(line["val/loss"]):
                raise self._not_finite(f"step {state.step}: validation loss is {line['val/loss']}")
        improved = validated and state.saw_validation(line["val/loss"])
        with self.procs.together():
            if self.procs.is_main and (validated or state.step % train.log_every == 0):
                self.metrics.log(line)
                self.wandb.log_step(line)
        if last or improved or state.step % train.checkpoint_every == 0:
            if not updater.is_sound():
                raise self._not_finite(f"step {state.step}: the loss after this update is not finite")
            self._save(improved)
        return line

    def _not_finite(self, what: str) -> NotFinite:
        kept = self.folder.saved_steps()
        last = f"the last good checkpoint, step {kept[-1]}, is untouched" if kept else "there is no checkpoint yet"
        return NotFinite(f"{what}; stopped, {last}. Use a lower optimizer.lr or optimizer.clip.")

    def _save(self, best: bool) -> None:
        """A checkpoint, by the main process; all take part, for each may hold a part of it."""
        step, folder, tokenizer, texts = self.state.step, self.folder, self.texts.tokenizer, self.texts.sha256
        weights = full_weights(self.model, self.procs)
        state = self.state.to_dict(full_state(self.optimizer, self.procs))
        with self.procs.together():
            if self.procs.is_main:
                folder.save_checkpoint(step, self.model, state, self.yaml, tokenizer, texts, weights)
                if best:
                    folder.point_best(step)
                folder.keep(self.config.train.keep_last)


def _progress(line: dict) -> str:
    loss = line["train/loss"]
    rate = f"{line['perf/tokens_per_sec']:,.0f} tok/s"
    return f"loss {loss:.3f}, ppl {perplexity(min(loss, 700.0), 1):.4g}, {rate}"

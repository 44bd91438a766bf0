"""The training loop: update, log, validate, save, until max_steps."""

import math
import signal
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from alibi.environment import peak_memory_mib, pick_device, reset_peak_memory
from alibi.evaluation import perplexity
from alibi.processes import handling, processes, stop_signals
from alibi.runs import RunFolder, weight_settings
from alibi.runs.fingerprint import fingerprint
from alibi.training.from_origin import open_origin
from alibi.training.parallel import full_state
from alibi.training.record import Record, describe_run
from alibi.training.resume import find_checkpoint, open_folder
from alibi.training.run_data import prepare_data
from alibi.training.run_parts import RunParts
from alibi.training.schedule import check_schedule, how_to_extend
from alibi.training.stopping import StopRequest
from alibi.training.training_settings import RunConfig
from alibi.training.update import NotFinite, Updater, fitting_updater
from alibi.training.validation import validate


def train(config: RunConfig, run_dir: Path) -> str:
    """Train the run described by `config` in `run_dir`, from its last checkpoint if it has one.

    Args:
        config: `precision` must be resolved.

    Returns:
        "ran", or "skipped" if the run was finished already.

    Raises:
        ValueError: invalid settings, another run in the folder, a method edited since the checkpoint, or a
            non-finite loss.
        FileNotFoundError, ConnectionError: the text cannot be found.
        SystemExit: stopped by a signal or by train.max_hours, with 128 + the signal's number.
    """
    begun = time.monotonic()
    check_schedule(config.optimizer, config.train.max_steps)
    with processes(pick_device(config.device)) as procs, ExitStack() as held:
        folder = RunFolder(run_dir)
        found = procs.on_main(find_checkpoint, config, folder, lambda _: None)  # refuse before any text is prepared
        origin = procs.on_main(open_origin, config) if config.origin and not found else None
        with procs.together():
            data = prepare_data(config, procs, found or origin)
        # All processes continue from the same checkpoint, whatever their disks show them.
        checkpoint = procs.on_main(open_folder, config, folder, data, held)
        what = [weight_settings(asdict(config)), data.sha256, data.tokenizer.sha256]
        for rank, theirs in enumerate(procs.gather(what)):
            if theirs != what:
                raise ValueError(
                    f"processes {procs.rank} and {rank} differ in settings or text: {what} and {theirs}; give every "
                    "node the same command, the same files below data.path, and a precision other than auto."
                )
        if checkpoint and checkpoint.is_last:
            procs.say(f"{run_dir} is finished: {checkpoint.step} steps. python evaluate.py runs={run_dir} measures it.")
            if checkpoint.step == config.train.max_steps:
                procs.say(how_to_extend(asdict(config), run_dir))
            procs.on_main(folder.point_latest, Path(config.paths.outputs))
            return "skipped"
        Run(config, folder, procs, data, checkpoint, origin).train(begun)
        return "ran"


class Run(RunParts):
    """A run in progress: its parts, and the updates that train them."""

    def train(self, begun: float) -> None:
        """Train to the last step, or to the end of the step in which a stop is requested.

        Args:
            begun: the time.monotonic() from which train.max_hours counts.

        Raises:
            SystemExit: stopped.
        """
        train, procs, state = self.config.train, self.procs, self.state
        self.saved_step, number = state.step, 0
        for note in self.notes:
            procs.say(f"note       {note}")
        updater, seconds, loss = fitting_updater(self)
        updater.finite_nats()  # a method that cannot take far positions fails here, not at its first checkpoint
        procs.say(describe_run(self, seconds, loss))
        self.record = procs.on_main(Record, self, share=False)
        stop = StopRequest(math.inf if train.max_hours is None else begun + 3600 * train.max_hours)
        try:
            with handling(stop_signals(), stop.note), procs.progress_bar(train.max_steps, "step", state.step) as bar:
                while state.step < train.max_steps and not self._reached and not number:
                    line = self._step(updater)
                    rate = f"{line['perf/tokens_per_sec']:,.0f} tok/s"
                    bar.set_postfix_str(f"loss {line.get('train/loss', math.nan):.3f}, {rate}", refresh=False)
                    bar.update()
                    # A signal may have reached only one of the processes.
                    number = procs.greatest(stop.wanted())
                if self.saved_step < state.step:
                    self._save(updater)
        finally:
            if self.record:
                self.record.close()
        if state.step == train.max_steps or self._reached:
            loss, exact = state.last_val_loss, state.last_exact_match
            early = f", as train.stop_at={train.stop_at} was reached" if self._reached else ""
            result = f"perplexity {perplexity(loss, 1):.3f}" if exact is None else f"exact match {exact:.3f}"
            procs.say(f"finished   {state.step} steps{early}; validation loss {loss:.4f} nats, {result}")
        else:
            by = "train.max_hours" if stop.time_is_over() and not stop.signal else signal.Signals(number).name
            last = self.folder.at(state.step)
            procs.say(f"stopped    by {by} after step {state.step} of {train.max_steps}; checkpoint {last}.")
            procs.say("The same command goes on from there.")
        if number:
            raise SystemExit(128 + number)

    @property
    def _reached(self) -> bool:
        """Whether train.stop_at ends the run."""
        return (self.state.last_exact_match or 0) >= (self.config.train.stop_at or math.inf)

    def _step(self, updater: Updater) -> dict:
        """One update, then the validation, logging and saving that are due; returns the line of metrics."""
        train, state, device = self.config.train, self.state, self.model.device
        reset_peak_memory(device)
        begun = time.perf_counter()
        measured = self._update(updater)
        seconds = time.perf_counter() - begun
        last = state.step == train.max_steps
        line = {
            "step": state.step,
            "tokens": state.tokens,
            **measured,
            "perf/tokens_per_sec": train.batch_tokens / seconds,
            "perf/step_ms": 1000 * seconds,
            "perf/max_memory_mib": peak_memory_mib(device),
        }
        validated = last or state.step % train.eval_every == 0
        if validated:
            line |= validate(self)
            state.last_exact_match = line.get("val/exact_match")
            if not math.isfinite(line["val/loss"]):
                raise self._not_finite(f"step {state.step}: validation loss is {line['val/loss']}")
        improved = validated and state.saw_validation(line["val/loss"])
        if validated or state.step % train.log_every == 0 or "train/skipped" in line:
            self.procs.on_main(lambda: self.record.log(line))
        due = state.step % train.checkpoint_every == 0 or state.step == self.stable_step
        if last or self._reached or improved or due:
            self._save(updater)
        return line

    def _update(self, updater: Updater) -> dict[str, float]:
        """Make or skip the next update; returns its metrics."""
        train, state = self.config.train, self.state
        blocks, cursor = self.order.blocks(state.cursor, train.batch_tokens // train.seq_len)
        try:
            measured = updater.update(state.step + 1, blocks)
        except NotFinite as error:
            if state.skipped >= train.skip_nonfinite:
                raise self._not_finite(str(error)) from error
            state.skipped += 1
            measured = {"train/skipped": state.skipped}
            if self.procs.is_main:
                tqdm.write(f"note       {error}; skipped ({state.skipped} of the {train.skip_nonfinite} allowed)")
        state.step, state.cursor, state.tokens = state.step + 1, cursor, state.tokens + train.batch_tokens
        return measured

    def _not_finite(self, what: str) -> NotFinite:
        kept, skip = self.folder.saved_steps(), self.config.train.skip_nonfinite
        last = f"the last good checkpoint, step {kept[-1]}, is untouched" if kept else "there is no checkpoint yet"
        return NotFinite(
            f"{what}; stopped, {last}. Use a lower optimizer.lr or optimizer.clip, or skip such updates "
            f"(train.skip_nonfinite, now {skip})."
        )

    def _save(self, updater: Updater) -> None:
        """Save a checkpoint. All processes take part, as each may hold a shard of the state."""
        if (nats := updater.finite_nats()) is None:
            raise self._not_finite(f"step {self.state.step}: the loss after this update is not finite")
        weights, moments = full_state(self.model, self.optimizer, self.procs)
        self.procs.on_main(lambda: self.record.save(weights, moments, fingerprint(nats, self.method_source)))
        self.saved_step = self.state.step

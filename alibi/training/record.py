"""What a run records: its description, and in process 0 its settings, metrics, wandb run, checkpoints and pointers."""

import math
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from alibi.files import write_atomically
from alibi.processes import duration
from alibi.runs import CONFIG, group_name, settings_text
from alibi.tracking import MetricsFile, Wandb
from alibi.training.run_parts import RunParts

METRICS = "metrics.jsonl"


class Record:
    """
    Args:
        run: its state receives the id of the wandb run.
    """

    def __init__(self, run: RunParts) -> None:
        settings, folder, state = asdict(run.config), run.folder, run.state
        self.run, self.yaml = run, settings_text(settings)
        folder.path.mkdir(parents=True, exist_ok=True)
        write_atomically(folder.path / CONFIG, self.yaml)
        folder.point_latest(Path(run.config.paths.outputs))
        if state.best_step in folder.saved_steps():
            folder.point_best(state.best_step)  # in case of a kill between checkpoint and pointer
        self.metrics = MetricsFile(folder.path / METRICS, state.step, run.source.path / METRICS)
        group, described = group_name(settings, run.data.sha256["train"]), settings | {"facts": run_facts(run)}
        self.wandb = Wandb(run.config.tracking, folder.path, state.wandb_id, described, group, self.metrics.earlier)
        state.wandb_id = self.wandb.id

    def log(self, line: dict) -> None:
        """Write a line of metrics."""
        self.metrics.log(line)
        self.wandb.log_step(line)

    def save(self, weights: dict[str, Tensor], moments: dict[str, Tensor], fingerprint: dict) -> None:
        """Save a checkpoint, point to it, and remove the older ones beyond train.keep_last.

        Args:
            weights: all parameters, whole.
            moments: the optimizer's tensors, whole.
            fingerprint: of what the model computes.
        """
        self.metrics.sync()  # first, so that a power failure leaves no checkpoint without its lines
        folder, data, state = self.run.folder, self.run.data, self.run.state
        about = asdict(state), self.yaml, data.tokenizer, data.sha256
        origin = self.run.config.origin and asdict(self.run.config.origin)
        more = {"moments": moments, "weights": weights, "fingerprint": fingerprint, "origin": origin}
        folder.save_checkpoint(state.step, self.run.model, *about, **more, text_form=data.form)
        if state.best_step == state.step:
            folder.point_best(state.step)
        folder.keep(self.run.config.train.keep_last, self.run.stable_step)

    def close(self) -> None:
        self.wandb.close()
        self.metrics.close()


def describe_run(run: RunParts, micro_batch_seconds: float, loss: float) -> str:
    """Parameters, tokens, steps, the first loss and the expected time, as text.

    Args:
        micro_batch_seconds: measured time of one forward and backward pass.
        loss: of the first micro-batch, nats per token.
    """
    train, shape, data = run.config.train, run.config.model, run.data
    count, number, micro_batch = run.model.count_parameters(), run.procs.number, run.state.micro_batch_tokens
    tokens, micro_batches = train.max_steps * train.batch_tokens, train.batch_tokens // micro_batch
    steps_left = train.max_steps - run.state.step
    seconds = steps_left * micro_batch_seconds * micro_batches / number
    how = f", {train.parallel}" if number > 1 else ""
    begins = f"from step {run.state.step:,} to " if run.state.step else ""
    vocab_size = data.tokenizer.vocab_size
    lines = [
        f"run        {run.folder.path}",
        f"model      {shape.method}: {shape.num_layers} layers, d_model {shape.d_model}, "
        f"{shape.num_heads} heads, d_ff {shape.d_ff}",
        f"parameters {count.total:,}: position {count.position:,}, embedding {count.embedding:,}, rest {count.rest:,}",
        data.in_words(),
        f"training   {begins}{train.max_steps:,} steps of {train.batch_tokens:,} tokens "
        f"({micro_batches} x {micro_batch:,}) at length {train.seq_len:,}: "
        f"{tokens:,} tokens{data.passes(tokens)}",
        f"machine    {run.model.device}, {run.config.precision}, processes: {number}{how}",
        f"time       about {duration(seconds)} for {steps_left:,} steps, validation apart",
    ]
    if origin := run.config.origin:
        lines.append(f"origin     {origin.run}: step {origin.step:,}, {origin.tokens:,} tokens")
        lines += [f"           {sentence}" for sentence in run.began]
    if not run.state.step:
        lines.append(f"first loss {loss:.3f} nats; a uniform guess has ln {vocab_size:,} = {math.log(vocab_size):.3f}")
    return "\n".join(lines)


def run_facts(run: RunParts) -> dict:
    """What settings and text imply, to compare runs by: parameters by use, sizes of text and batch."""
    count, data = run.model.count_parameters(), run.data
    return {
        "parameters": {"total": count.total, **asdict(count)},
        "vocab_size": data.tokenizer.vocab_size,
        **data.facts,
        "text_sha256": data.sha256,
        "micro_batch_tokens": run.state.micro_batch_tokens,
        "processes": run.procs.number,
        "device": str(run.model.device),
    }

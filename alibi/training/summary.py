"""What a run says of itself before its first step."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alibi.training.loop import Run


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min, 2 d 5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def describe_run(run: "Run", micro_batch_seconds: float) -> str:
    """Folder, parameters, tokens, steps and the expected time.

    Args:
        micro_batch_seconds: measured, of one forward and backward pass.
    """
    config, state, count = run.config, run.state, run.model.count_parameters()
    train, shape, tokens = config.train, config.model, run.prepared
    micro_batches = train.batch_tokens // state.micro_batch_tokens
    epochs = train.max_steps * (train.batch_tokens // train.seq_len) / run.order.num_blocks
    steps_left = train.max_steps - state.step
    seconds = steps_left * micro_batch_seconds * micro_batches / run.procs.number
    begins = f"from step {state.step}, " if state.step else ""
    return "\n".join(
        (
            f"run        {run.folder.path}",
            f"model      {shape.position['name']}: {shape.num_layers} layers, d_model {shape.d_model}, "
            f"{shape.num_heads} heads, d_ff {shape.d_ff}",
            f"parameters {count.total:,}: position {count.position:,}, embedding {count.embedding:,}, "
            f"rest {count.rest:,}",
            f"tokens     {len(tokens.train):,} train, {len(tokens.validation):,} validation; "
            f"{tokens.tokenizer.name}, {tokens.tokenizer.vocab_size:,} ids",
            f"training   {begins}{train.max_steps:,} steps of {train.batch_tokens:,} tokens "
            f"({micro_batches} x {state.micro_batch_tokens:,}) at length {train.seq_len}: "
            f"{train.max_steps * train.batch_tokens:,} tokens, {epochs:.2f} epochs",
            f"machine    {run.model.device}, {config.precision}, {run.procs.number} process(es)",
            f"time       about {duration(seconds)} for {steps_left:,} steps, validation apart "
            f"(one micro-batch took {micro_batch_seconds:.3g} s)",
        )
    )

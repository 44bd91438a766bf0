"""Estimate a run before starting it: parameters, memory of one GPU, tokens per second, days.

    python scripts/estimate.py experiment=paper model=alibi train.seq_len=512 --gpus 8
    python scripts/estimate.py experiment=paper_1b3 --gpus 64 --tokens-per-sec 6000

Takes the settings of train.py. Runs one and two of the model's layers on one and two sequences of random ids on this
machine and extrapolates linearly. --tokens-per-sec gives the speed of one GPU instead of measuring it here: take
perf/tokens_per_sec of a run and divide it by the number of GPUs.
"""

import argparse
import math

from estimating.costs import FLOAT32, Costs, estimate

from alibi.config import run_of
from alibi.data.tasks import task_of
from alibi.environment import pick_device
from alibi.model.output import LOGITS_PER_CHUNK
from alibi.script import script, script_parser
from alibi.training import RunConfig
from alibi.training.record import duration

# Published vocabulary sizes for tokenizer=word with all words, so that no text needs to be read.
WORD_IDS = {"wikitext103": 267_737, "wikitext2": 33_280}
GIB = 2**30


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("settings", nargs="*", help="as for train.py: experiment=paper model=alibi ...")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that share the batch (1)")
    parser.add_argument("--tokens-per-sec", type=float, help="of one GPU; measured on this machine by default")
    parser.add_argument("--vocab-size", type=int, help="number of ids, if the settings do not determine it")
    return parser.parse_intermixed_args()


def ids_of(config: RunConfig, told: int | None) -> int:
    """
    Raises:
        ValueError: the number of ids is unknown, or a task has its own.
    """
    data, tokenizer = config.data, config.tokenizer
    if data.is_task:
        if told is not None:
            raise ValueError(f"--vocab-size ({told}) would be ignored by {data.name}, which has its own; remove it.")
        return task_of(data.name, data.task, config.train.seq_len).tokenizer.vocab_size
    known = {"byte": 257, "bpe": tokenizer.vocab_size, "word": tokenizer.vocab_size or WORD_IDS.get(data.name)}
    ids = told or known[tokenizer.name]
    if ids is None:
        rule = "has one id per word of the text; give --vocab-size"
        raise ValueError(f"tokenizer.name=word over data={data.name} {rule}.")
    multiple = tokenizer.pad_to_multiple_of or 1
    return -(-ids // multiple) * multiple


def memory_table(config: RunConfig, costs: Costs, gpus: int, ids: int) -> list[str]:
    """Table of GiB on one GPU: with the whole state on every GPU, and sharded (FSDP)."""
    sequences = config.train.batch_tokens // config.train.seq_len // gpus
    weights, logits = costs.weight_bytes, sequences * config.train.seq_len * ids
    chunk = 2 * FLOAT32 * min(LOGITS_PER_CHUNK["cuda"], logits)
    outside = weights - FLOAT32 * config.model.num_layers * costs.largest_block
    # As in docs/many_processes.md: the root group and its gradient, the current layer and its gradient, the next layer.
    gathered = 2 * outside + 3 * FLOAT32 * costs.largest_block
    rows = [
        ("parameters, fp32", weights, weights / gpus),
        ("gradients", weights, weights / gpus),
        (f"optimizer, {config.optimizer.name}", costs.optimizer_bytes, costs.optimizer_bytes / gpus),
        ("gathered: embeddings and two layers, gradients", 0, gathered if gpus > 1 else 0),
        ("logits of a chunk", chunk, chunk),
    ]
    fixed = [sum(row[column] for row in rows) for column in (1, 2)]
    lines = [f"{'GiB, one GPU of ' + str(gpus):<52}{'replicated':>12}{'sharded':>12}"]
    lines += [f"  {name:<50}{one / GIB:>12.3f}{other / GIB:>12.3f}" for name, one, other in rows]
    for number in dict.fromkeys((1, sequences)):
        kept = costs.activation_bytes(number)
        tokens = number * config.train.seq_len
        name = f"activations, micro-batch of {number} x {config.train.seq_len:,} = {tokens:,} tokens"
        lines.append(f"  {name:<50}{kept / GIB:>12.3f}{kept / GIB:>12.3f}")
        apart = weights if gpus > 1 and number < sequences else 0
        if apart:
            name = "gradients of micro-batches before averaging"
            lines.append(f"  {name:<50}{apart / GIB:>12.3f}{apart / GIB:>12.3f}")
        sums = [f"{(kept + apart + one) / GIB:>12.3f}" for one in fixed]
        lines.append(f"  {'all together':<50}{''.join(sums)}")
    return lines


def report(config: RunConfig, costs: Costs, gpus: int, ids: int, told: float | None, device: str) -> str:
    train, shape, count = config.train, config.model, costs.parameters
    tokens = train.max_steps * train.batch_tokens
    part = len(shape.pattern or [1])
    rate = told or train.seq_len / costs.seconds_sequence
    where = (
        "as given"
        if told
        else f"measured here, on {device} in {config.precision}, by {part} and {2 * part} of {shape.num_layers} layers"
    )
    return "\n".join(
        (
            f"model      {shape.method}: {shape.num_layers} layers, d_model {shape.d_model}, {ids:,} ids",
            f"parameters {count.total:,}: position {count.position:,}, embedding {count.embedding:,}, "
            f"rest {count.rest:,}",
            f"training   {train.max_steps:,} updates of {train.batch_tokens:,} tokens at length {train.seq_len:,}: "
            f"{tokens:,} tokens",
            *memory_table(config, costs, gpus, ids),
            f"tokens/s   {rate:,.0f} a GPU, {where}; {rate * gpus:,.0f} by {gpus}",
            f"time       {duration(tokens / rate / gpus)} to the end ({tokens / rate / gpus / 86400:,.2f} days), "
            "without communication, validation and the optimizer's own step",
        )
    )


def main(options: argparse.Namespace) -> str:
    """
    Raises:
        ValueError: a setting or option out of range.
    """
    config = run_of(options.settings)
    device = pick_device(config.device)
    sequences = config.train.batch_tokens // config.train.seq_len
    if options.gpus < 1 or sequences % options.gpus:
        raise ValueError(f"--gpus ({options.gpus}) must divide the {sequences} sequences of an update.")
    if options.tokens_per_sec is not None and not 0 < options.tokens_per_sec < math.inf:
        raise ValueError(f"--tokens-per-sec ({options.tokens_per_sec}) must be finite and above 0.")
    if options.vocab_size is not None and options.vocab_size < 1:
        raise ValueError(f"--vocab-size ({options.vocab_size}) must be at least 1.")
    ids = ids_of(config, options.vocab_size)
    costs = estimate(config, ids, device, measure_time=options.tokens_per_sec is None)
    return report(config, costs, options.gpus, ids, options.tokens_per_sec, str(device))


if __name__ == "__main__":
    with script():
        print(main(parse()))

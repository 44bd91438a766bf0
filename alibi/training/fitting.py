"""The largest micro-batch that fits into memory."""

import torch

from alibi.model import LanguageModel
from alibi.processes import Processes
from alibi.training.parallel import is_sharded
from alibi.training.run_parts import RunParts
from alibi.training.training_settings import RunConfig
from alibi.training.update import Updater

# Memory for the activations of a micro-batch where train.micro_batch_tokens is null: bytes on a CPU, a share of a GPU.
CPU_BYTES = 2**30
CUDA_SHARE = 0.6


def fitting_updater(run: RunParts) -> tuple[Updater, float]:
    """The updater with the largest micro-batch that fits, or with the one this run began with, and its seconds.

    Raises:
        MemoryError: not even the smallest fits.
        ValueError: the batch cannot be shared among the processes.
    """
    procs, train, began_with = run.procs, run.config.train, run.state.micro_batch_tokens
    sizes = micro_batch_sizes(run.config, run.model, procs)
    if began_with and not train.micro_batch_tokens and (train.batch_tokens // began_with) % procs.number == 0:
        sizes = [began_with]  # dropout is keyed by micro-batches
    updater = Updater(run, sizes[0])
    for updater.micro_batch_tokens in sizes:
        try:
            seconds = updater.measure_seconds()
            break
        except torch.OutOfMemoryError:
            run.optimizer.zero_grad()
            torch.cuda.empty_cache()
            # With a sharded model the other processes wait in the middle of the pass, so there is no second try.
            if updater.micro_batch_tokens == sizes[-1] or is_sharded(run.model):
                raise MemoryError(
                    f"one micro-batch of {updater.micro_batch_tokens} tokens does not fit into the memory of "
                    f"{run.model.device}; use a smaller train.micro_batch_tokens, train.seq_len or size."
                ) from None
    # All processes take the smallest: another one may have less memory.
    run.state.micro_batch_tokens = updater.micro_batch_tokens = procs.least(updater.micro_batch_tokens)
    updater.replicate()
    return updater, seconds


def micro_batch_sizes(config: RunConfig, model: LanguageModel, procs: Processes) -> list[int]:
    """Micro-batches to try, largest first, in tokens: the one in the settings, or divisors that should fit.

    Raises:
        ValueError: the batch cannot be shared among the processes.
    """
    train, shape = config.train, model.config
    unit = train.micro_batch_tokens or train.seq_len
    share, left = divmod(train.batch_tokens // unit, procs.number)
    if left:
        what = "micro-batches" if train.micro_batch_tokens else "sequences"
        raise ValueError(
            f"train.batch_tokens ({train.batch_tokens}) is {train.batch_tokens // unit} {what} of {unit} tokens, which "
            f"{procs.number} processes cannot share equally; use a multiple of {procs.number * unit}."
        )
    if train.micro_batch_tokens:
        return [unit]
    bytes_per_token = 4 * 20 * shape.num_layers * shape.d_model  # about 20 vectors per block; logits are in chunks
    allowed = CPU_BYTES
    if model.device.type == "cuda":
        allowed = CUDA_SHARE * torch.cuda.get_device_properties(model.device).total_memory
    sizes = [blocks * train.seq_len for blocks in range(share, 0, -1) if share % blocks == 0]
    return [size for size in sizes if size * bytes_per_token <= allowed] or [train.seq_len]

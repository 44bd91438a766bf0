"""The largest micro-batch that fits into memory."""

import torch

from alibi.data import TrainingOrder
from alibi.model import LanguageModel
from alibi.processes import Processes
from alibi.training.parallel import is_sharded
from alibi.training.train_state import TrainState
from alibi.training.training_settings import RunConfig
from alibi.training.update import Updater

# Memory for the activations of a micro-batch where train.micro_batch_tokens is null: bytes on a CPU, a share of a GPU.
CPU_BYTES = 2**30
CUDA_SHARE = 0.6


def fitting_updater(
    config: RunConfig,
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    order: TrainingOrder,
    procs: Processes,
    state: TrainState,
) -> tuple[Updater, float]:
    """The updater with the largest micro-batch that fits, or with the one this run began with, and its seconds.

    Raises:
        MemoryError: not even the smallest fits.
        ValueError: the batch cannot be shared among the processes.
    """
    sizes, train = micro_batch_sizes(config, model, procs), config.train
    if state.micro_batch_tokens and train.micro_batch_tokens is None:
        if (train.batch_tokens // state.micro_batch_tokens) % procs.number == 0:
            sizes = [state.micro_batch_tokens]
        else:
            procs.say(
                f"note       this run began with micro-batches of {state.micro_batch_tokens} tokens, which "
                f"{procs.number} processes cannot share: their size changes, and dropout, if any, is drawn anew"
            )
    updater = Updater(config, model, optimizer, order, procs, sizes[0])
    for updater.micro_batch_tokens in sizes:
        try:
            seconds = updater.measure_seconds()
            break
        except torch.OutOfMemoryError:
            optimizer.zero_grad()
            torch.cuda.empty_cache()
            # With a sharded model the other processes wait in the middle of the pass, so there is no second try.
            if updater.micro_batch_tokens == sizes[-1] or is_sharded(model):
                raise MemoryError(
                    f"one micro-batch of {updater.micro_batch_tokens} tokens does not fit into the memory of "
                    f"{model.device}; use a smaller train.micro_batch_tokens, train.seq_len or size."
                ) from None
    # All processes take the smallest: another one may have less memory.
    updater.micro_batch_tokens = procs.least(updater.micro_batch_tokens)
    state.micro_batch_tokens = updater.micro_batch_tokens
    updater.replicate()
    return updater, seconds


def micro_batch_sizes(config: RunConfig, model: LanguageModel, procs: Processes) -> list[int]:
    """Micro-batches to try, largest first, in tokens: the one in the settings, or divisors that should fit.

    Raises:
        ValueError: the batch cannot be shared among the processes.
    """
    train, shape = config.train, model.config
    share, left = divmod(train.batch_tokens // train.seq_len, procs.number)
    if left:
        raise ValueError(
            f"train.batch_tokens ({train.batch_tokens}) is {train.batch_tokens // train.seq_len} sequences, which "
            f"{procs.number} processes cannot share equally; use a multiple of {procs.number * train.seq_len}."
        )
    if micro := train.micro_batch_tokens:
        if (train.batch_tokens // micro) % procs.number:
            raise ValueError(
                f"train.micro_batch_tokens ({micro}) gives {train.batch_tokens // micro} micro-batches, which "
                f"{procs.number} processes cannot share equally; use {train.batch_tokens // procs.number} or a "
                "divisor of it."
            )
        return [micro]
    bytes_per_token = 4 * 20 * shape.num_layers * shape.d_model  # about 20 vectors per block; logits are in chunks
    allowed = CPU_BYTES
    if model.device.type == "cuda":
        allowed = CUDA_SHARE * torch.cuda.get_device_properties(model.device).total_memory
    sizes = [blocks * train.seq_len for blocks in range(share, 0, -1) if share % blocks == 0]
    return [size for size in sizes if size * bytes_per_token <= allowed] or [train.seq_len]

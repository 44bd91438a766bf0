"""The largest micro-batch that fits into the memory there is."""

import torch

from alibi.data import TrainingOrder
from alibi.model import LanguageModel
from alibi.processes import Processes
from alibi.training.parallel import is_sharded
from alibi.training.train_state import TrainState
from alibi.training.training_settings import RunConfig
from alibi.training.update import Updater, micro_batch_sizes


def fitting_updater(
    config: RunConfig,
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    order: TrainingOrder,
    procs: Processes,
    state: TrainState,
) -> tuple[Updater, float]:
    """The updater with the largest micro-batch that fits, or the one that this run began with, and its seconds.

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
                f"{procs.number} processes cannot share: others are taken, and dropout, if any, draws anew"
            )
    updater = Updater(config, model, optimizer, order, procs, sizes[0])
    for updater.micro_batch_tokens in sizes:
        try:
            seconds = updater.measure_seconds()
            break
        except torch.OutOfMemoryError:
            optimizer.zero_grad()
            torch.cuda.empty_cache()
            # In a sharded model the others wait in the middle of the pass, and cannot try again.
            if updater.micro_batch_tokens == sizes[-1] or is_sharded(model):
                raise MemoryError(
                    f"one micro-batch of {updater.micro_batch_tokens} tokens does not fit into the memory of "
                    f"{model.device}; use a smaller train.micro_batch_tokens, train.seq_len or size."
                ) from None
    # Other processes may have had less room: all take the smallest.
    updater.micro_batch_tokens = procs.least(updater.micro_batch_tokens)
    state.micro_batch_tokens = updater.micro_batch_tokens
    updater.replicate()
    return updater, seconds

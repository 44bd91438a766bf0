"""One optimizer update: the gradient of the whole batch, summed over micro-batches that fit into memory; clip; step."""

import math
import time

import numpy as np
import torch
from torch import Tensor, nn

from alibi.environment import autocast
from alibi.model import LanguageModel
from alibi.model.initialise import named_generator
from alibi.processes import Processes
from alibi.runs.fingerprint import fixed_nats
from alibi.training.optimizer import learning_rate, set_learning_rate
from alibi.training.parallel import average_gradients, clip_gradients, is_sharded, own_part, replicate
from alibi.training.read_ahead import ReadAhead
from alibi.training.run_parts import RunParts
from alibi.training.training_settings import RunConfig

# Memory for the activations of a micro-batch where train.micro_batch_tokens is null: bytes on a CPU, a share of a GPU.
CPU_BYTES = 2**30
CUDA_SHARE = 0.6


class NotFinite(ValueError):
    """The loss or gradient of an update is not finite; the weights are unchanged."""


class TotalNats(nn.Module):
    """The sum of nats over a micro-batch, as a module for torch.compile and DDP."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> Tensor:
        return self.model.total_nats(input_ids, target_ids)


class Updater:
    """
    Args:
        micro_batch_tokens: must divide the batch into equally many micro-batches for every process.
    """

    def __init__(self, run: RunParts, micro_batch_tokens: int) -> None:
        self.config, self.model, self.optimizer, self.procs = run.config, run.model, run.optimizer, run.procs
        self.device, self.micro_batch_tokens = run.model.device, micro_batch_tokens
        self.sequences = ReadAhead(run.order, self.device)
        self.total_nats = torch.compile(TotalNats(run.model)) if run.config.train.compile else TotalNats(run.model)

    def replicate(self) -> None:
        """Average gradients over processes from here on. Every process calls it once the micro-batch size is fixed."""
        if self.procs.number == 1 or is_sharded(self.model):
            return
        self.total_nats = replicate(self.total_nats, self.procs)
        # DDP regroups gradients after its first pass, which changes how sums over processes are rounded. Making that
        # pass here keeps a resumed run bit-identical to one that never stopped.
        self._warm_up()

    def update(self, step: int, blocks: np.ndarray, following: np.ndarray | None = None) -> dict[str, float]:
        """Make update number `step`, counted from 1.

        Args:
            blocks: sequences of this update.
            following: sequences of the next one, read ahead.

        Returns:
            Metrics: the loss in nats per token, the learning rate, and the norm of the gradient before clipping.

        Raises:
            NotFinite: nothing was changed.
        """
        train = self.config.train
        lr = learning_rate(self.config.optimizer, step - 1, train.max_steps)
        nats = self._gradient(step, blocks, following)
        loss = self.procs.sum([nats])[0] / train.batch_tokens
        norm = clip_gradients(self.model.parameters(), self.config.optimizer.clip)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise NotFinite(f"step {step}: loss is {loss}, gradient norm {norm}, at learning rate {lr:.3g}")
        set_learning_rate(self.optimizer, lr)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the caller times the whole step
        return {"train/loss": loss, "train/lr": lr, "train/grad_norm": norm}

    def _gradient(self, step: int, blocks: np.ndarray, following: np.ndarray | None = None) -> float:
        """Accumulate the gradient of the batch's mean loss; returns the sum of this process's nats."""
        self.model.train()
        size, (rank, number) = self.micro_batch_tokens // self.config.train.seq_len, self.procs.share
        mine = range(len(blocks) // size)[rank::number]
        parts = [blocks[first : first + size] for first in (size * micro_batch for micro_batch in mine)]
        after = [*parts[1:], None if following is None else following[rank * size : (rank + 1) * size]]
        nats = torch.zeros((), dtype=torch.float64, device=self.device)
        for micro_batch, part, next_part in zip(mine, parts, after, strict=True):
            # Dropout depends on (seed, update, global micro-batch) alone, so no generator state has to be saved.
            seed = named_generator(self.config.seed, f"dropout/{step}/{micro_batch}").initial_seed()
            torch.manual_seed(seed)
            input_ids, target_ids = self.sequences.read(part)
            if next_part is not None:
                self.sequences.announce(next_part)
            average_gradients(self.model, self.total_nats, micro_batch == mine[-1])
            nats += self._backward(input_ids, target_ids).detach()
        return nats.item()

    def _backward(self, input_ids: Tensor, target_ids: Tensor) -> Tensor:
        input_ids, target_ids = (ids.to(self.device, non_blocking=True) for ids in (input_ids, target_ids))
        with autocast(self.device, self.config.precision):
            nats = self.total_nats(input_ids, target_ids)
        # Times the number of processes, because they average their gradients.
        (nats * (self.procs.number / self.config.train.batch_tokens)).backward()
        return nats

    def finite_nats(self) -> list[float] | None:
        """`fixed_nats` of the model; None if they or the weights are not finite. All processes take part."""
        nats = fixed_nats(self.model.eval(), self.config.train.seq_len)
        finite = all(own_part(parameter).isfinite().all() for parameter in self.model.parameters())
        return nats if self.procs.least(int(finite and all(map(math.isfinite, nats)))) else None

    def measure_seconds(self) -> float:
        """Seconds of the second of two warm-up passes; call it before `replicate`. No weight or cursor changes."""
        self._warm_up()
        begun = time.perf_counter()
        self._warm_up()
        return time.perf_counter() - begun

    def _warm_up(self) -> None:
        """A warm-up pass, forward and backward, whose gradient is discarded."""
        self.model.train()
        self._backward(*self.sequences.read(np.zeros(self.micro_batch_tokens // self.config.train.seq_len, int)))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.optimizer.zero_grad()


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

"""One optimizer update: the gradient of the whole batch, summed over micro-batches that fit into memory; clip; step."""

import math
import statistics
import time

import numpy as np
import torch
from torch import Tensor, nn

from alibi.environment import autocast
from alibi.model import LanguageModel
from alibi.model.initialise import named_generator
from alibi.processes import Processes
from alibi.runs.fingerprint import fixed_nats
from alibi.training.parallel import average_gradients, clip_gradients, is_sharded, replicate
from alibi.training.run_parts import RunParts
from alibi.training.schedule import learning_rate
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

    def forward(self, input_ids: Tensor, target_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        return self.model.total_nats(input_ids, target_ids, positions)


class Updater:
    """
    Args:
        micro_batch_tokens: must divide the batch into equally many micro-batches for every process.
    """

    def __init__(self, run: RunParts, micro_batch_tokens: int) -> None:
        self.config, self.model, self.optimizer, self.procs = run.config, run.model, run.optimizer, run.procs
        self.order, self.device, self.micro_batch_tokens = run.order, run.model.device, micro_batch_tokens
        self.updates_before = run.state.updates_before
        self.total_nats = torch.compile(TotalNats(run.model)) if run.config.train.compile else TotalNats(run.model)

    def update(self, step: int, blocks: np.ndarray) -> dict[str, float]:
        """Make update number `step`, counted from 1.

        Args:
            blocks: sequences of this update.

        Returns:
            Metrics: the loss in nats per target, the learning rate, and the norm of the gradient before clipping.

        Raises:
            NotFinite: nothing was changed.
        """
        train = self.config.train
        lr = learning_rate(self.config.optimizer, step - 1, train.max_steps)
        nats = self._gradient(step, blocks)
        loss = self.procs.sum([nats])[0] / self.order.count_targets(blocks)
        norm = clip_gradients(self.model.parameters(), self.config.optimizer.clip)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise NotFinite(f"step {step}: loss is {loss}, gradient norm {norm}, at learning rate {lr:.3g}")
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["multiplier"]
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the caller times the whole step
        return {"train/loss": loss, "train/lr": lr, "train/grad_norm": norm}

    def _gradient(self, step: int, blocks: np.ndarray) -> float:
        """Accumulate the gradient of the batch's mean loss; returns the sum of this process's nats."""
        self.model.train()
        size, (rank, number) = self.micro_batch_tokens // self.config.train.seq_len, self.procs.share
        mine = range(len(blocks) // size)[rank::number]
        nats, targets = torch.zeros((), dtype=torch.float64, device=self.device), self.order.count_targets(blocks)
        for micro_batch in mine:
            # Dropout depends on (seed, update, global micro-batch) alone, so no generator state has to be saved.
            key = f"{self.updates_before + step}/{micro_batch}"
            torch.manual_seed(named_generator(self.config.seed, f"dropout/{key}").initial_seed())
            average_gradients(self.model, self.total_nats, micro_batch == mine[-1])
            own = blocks[micro_batch * size : (micro_batch + 1) * size]
            nats += self._backward(own, targets, self._positions(len(own), key)).detach()
        return nats.item()

    def _positions(self, sequences: int, key: str) -> Tensor | None:
        """(B, L): those of each sequence, from a random one on; None: all begin at 0."""
        if (furthest := self.config.train.random_offset) is None:
            return None
        generator = named_generator(self.config.seed, f"offset/{key}")
        offset_B1 = torch.randint(furthest + 1, (sequences, 1), generator=generator)
        return offset_B1 + torch.arange(self.config.train.seq_len)

    def _backward(self, blocks: np.ndarray, targets: int, positions: Tensor | None = None) -> Tensor:
        """Add the gradient of one micro-batch of an update with so many targets; returns the sum of its nats."""
        # Read here: it takes 0.5 ms for 32,768 tokens, from a memory map.
        parts = [torch.from_numpy(part) for part in self.order.read(blocks)]
        if positions is not None:
            parts.append(positions)
        if self.device.type == "cuda":
            parts = [part.pin_memory().to(self.device, non_blocking=True) for part in parts]
        with autocast(self.device, self.config.precision):
            nats = self.total_nats(*parts)
        # Times the number of processes, because they average their gradients.
        (nats * (self.procs.number / targets)).backward()
        return nats

    def finite_nats(self) -> list[float] | None:
        """`fixed_nats` of the model; None if they or the weights are not finite. All processes take part."""
        nats = fixed_nats(self.model.eval(), self.config.train.seq_len)
        # Of a sharded model, each process checks its own part.
        own = (p.to_local() if is_sharded(p) else p for p in self.model.parameters())
        finite = all(map(math.isfinite, nats)) and all(part.isfinite().all() for part in own)
        return nats if self.procs.least(finite) else None

    def trial(self, blocks: np.ndarray) -> tuple[float, float]:
        """A forward and a backward pass of one micro-batch whose gradient is discarded: (seconds, nats per target)."""
        begun, targets = time.perf_counter(), self.order.count_targets(blocks)
        self.model.train()
        nats = self._backward(blocks, targets).item()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.optimizer.zero_grad()
        return time.perf_counter() - begun, nats / targets


def fitting_updater(run: RunParts) -> tuple[Updater, float, float]:
    """The updater with the largest micro-batch that fits, or with the one this run began with.

    Returns:
        It, the seconds of a micro-batch (the median of three, after a warm-up), and the loss of the next micro-batch.

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
        blocks, _ = run.order.blocks(run.state.cursor, updater.micro_batch_tokens // train.seq_len)
        try:
            updater.trial(blocks)
            seconds, losses = zip(*(updater.trial(blocks) for _ in range(3)), strict=True)
            break
        except torch.OutOfMemoryError:
            run.optimizer.zero_grad()
            torch.cuda.empty_cache()
            # With a sharded model the other processes wait in the middle of the pass, so there is no second try.
            if updater.micro_batch_tokens == sizes[-1] or is_sharded(run.model):
                raise MemoryError(
                    f"a micro-batch of {updater.micro_batch_tokens} tokens does not fit into the memory of "
                    f"{run.model.device}; use a smaller train.micro_batch_tokens, train.seq_len or size."
                ) from None
    # All processes take the smallest: another one may have less memory.
    run.state.micro_batch_tokens = updater.micro_batch_tokens = procs.least(updater.micro_batch_tokens)
    if procs.number > 1 and not is_sharded(run.model):
        updater.total_nats = replicate(updater.total_nats, procs)
        # DDP regroups gradients after its first pass, which changes how sums over processes are rounded. Making that
        # pass here keeps a resumed run bit-identical to one that never stopped.
        updater.trial(blocks)
    return updater, statistics.median(seconds), losses[0]


def micro_batch_sizes(config: RunConfig, model: LanguageModel, procs: Processes) -> list[int]:
    """Micro-batches to try, largest first, in tokens: the one in the settings, or divisors that should fit.

    Raises:
        ValueError: the batch cannot be shared among the processes.
    """
    train, shape = config.train, model.config
    unit = train.micro_batch_tokens or train.seq_len
    share, left = divmod(train.batch_tokens // unit, procs.number)
    if left:
        raise ValueError(
            f"{procs.number} processes cannot share train.batch_tokens ({train.batch_tokens}) equally, {unit} tokens "
            f"at a time; use a multiple of {procs.number * unit}."
        )
    if train.micro_batch_tokens:
        return [unit]
    bytes_per_token = 4 * 20 * shape.num_layers * shape.d_model  # about 20 vectors per block; logits are in chunks
    allowed = CPU_BYTES
    if model.device.type == "cuda":
        allowed = CUDA_SHARE * torch.cuda.get_device_properties(model.device).total_memory
    sizes = [blocks * unit for blocks in range(share, 0, -1) if share % blocks == 0]
    return [size for size in sizes if size * bytes_per_token <= allowed] or [unit]

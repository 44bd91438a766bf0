"""One optimizer update: micro-batches, their gradient as of one large batch, clip, step."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from alibi.data import TrainingOrder
from alibi.environment import autocast
from alibi.model import LanguageModel
from alibi.model.initialise import named_generator
from alibi.processes import Processes
from alibi.runs import fixed_nats
from alibi.training.optimizer import learning_rate, set_learning_rate
from alibi.training.parallel import average_gradients, clip_gradients, is_sharded, own_part, replicate
from alibi.training.read_ahead import ReadAhead
from alibi.training.training_settings import RunConfig

# Memory for the activations of a micro-batch that nobody chose: of this much on a CPU, of this
# share of a GPU.
CPU_BYTES = 2**30
CUDA_SHARE = 0.6


class NotFinite(ValueError):
    """The loss or the gradient of an update is not a finite number; the weights are untouched."""


class TotalNats(nn.Module):
    """The sum over a micro-batch: what gradients are taken of."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> Tensor:
        return self.model.total_nats(input_ids, target_ids)


@dataclass(frozen=True)
class UpdateResult:
    loss: float  # nats per token
    grad_norm: float  # before clipping
    lr: float


class Updater:
    """
    Args:
        micro_batch_tokens: divides the batch into as many micro-batches for every process.
    """

    def __init__(
        self,
        config: RunConfig,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer,
        order: TrainingOrder,
        procs: Processes,
        micro_batch_tokens: int,
    ) -> None:
        self.config, self.model, self.optimizer, self.procs = config, model, optimizer, procs
        self.device = model.device
        self.sequences = ReadAhead(order, model.device)
        self.micro_batch_tokens = micro_batch_tokens
        self.total_nats = torch.compile(TotalNats(model)) if config.train.compile else TotalNats(model)

    def replicate(self) -> None:
        """Average gradients over processes from here on. All of them call it, once, when the micro-batch is settled."""
        if self.procs.number == 1 or is_sharded(self.model):
            return
        self.total_nats = replicate(self.total_nats, self.procs)
        # DDP sorts gradients anew after its first pass, and their order decides how a sum of four is rounded: with
        # that pass behind it, a run that goes on adds them as one that never stopped.
        self._practise()

    def update(self, step: int, blocks: np.ndarray, following: np.ndarray | None = None) -> UpdateResult:
        """Update number `step` (the first is 1) on the sequences `blocks`; `following` are those of the next.

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
            torch.cuda.synchronize(self.device)  # the step that is timed is the whole step
        return UpdateResult(loss, norm, lr)

    def _gradient(self, step: int, blocks: np.ndarray, following: np.ndarray | None = None) -> float:
        """Gradients of the batch's mean loss into the parameters; returns this process's nats."""
        self.model.train()
        size, (rank, number) = self.micro_batch_tokens // self.config.train.seq_len, self.procs.share
        mine = range(len(blocks) // size)[rank::number]
        parts = [blocks[first : first + size] for first in (size * micro_batch for micro_batch in mine)]
        after = [*parts[1:], None if following is None else following[rank * size : (rank + 1) * size]]
        nats = torch.zeros((), dtype=torch.float64, device=self.device)
        for micro_batch, part, next_part in zip(mine, parts, after, strict=True):
            # Keyed by what is computed, not by who computes it or when: no generator state to carry.
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
        # Processes average their gradients, and the batch's mean is wanted: hence the factor.
        (nats * (self.procs.number / self.config.train.batch_tokens)).backward()
        return nats

    def sound_nats(self) -> list[float] | None:
        """`fixed_nats` of the model; None if they or the weights are not finite: finite weights can be ruined too."""
        nats = fixed_nats(self.model.eval(), self.config.train.seq_len)  # by all processes, whatever this one finds
        finite = all(own_part(parameter).isfinite().all() for parameter in self.model.parameters())
        return nats if self.procs.least(int(finite and all(map(math.isfinite, nats)))) else None

    def measure_seconds(self) -> float:
        """Seconds of one micro-batch, the second of two; before `replicate`. Changes neither weights nor the order."""
        self._practise()
        begun = time.perf_counter()
        self._practise()
        return time.perf_counter() - begun

    def _practise(self) -> None:
        """Forward and backward pass of one micro-batch, for nothing."""
        self.model.train()
        self._backward(*self.sequences.read(np.zeros(self.micro_batch_tokens // self.config.train.seq_len, int)))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.optimizer.zero_grad()


def micro_batch_sizes(config: RunConfig, model: LanguageModel, procs: Processes) -> list[int]:
    """Micro-batches worth trying, largest first, in tokens: what the settings say, or divisors that should fit.

    Raises:
        ValueError: the batch cannot be shared among the processes.
    """
    train, shape = config.train, model.config
    blocks = train.batch_tokens // train.seq_len
    if blocks % procs.number:
        raise ValueError(
            f"train.batch_tokens ({train.batch_tokens}) is {blocks} sequences, which {procs.number} processes cannot "
            f"share equally; use a multiple of {procs.number * train.seq_len}."
        )
    if train.micro_batch_tokens is not None:
        if (train.batch_tokens // train.micro_batch_tokens) % procs.number:
            raise ValueError(
                f"train.micro_batch_tokens ({train.micro_batch_tokens}) gives "
                f"{train.batch_tokens // train.micro_batch_tokens} micro-batches, which {procs.number} processes "
                f"cannot share equally; use {train.batch_tokens // procs.number} or a divisor of it."
            )
        return [train.micro_batch_tokens]
    # Per token: about 20 vectors of width d_model a block; logits are never whole.
    per_token = 4 * 20 * shape.num_layers * shape.d_model
    if model.device.type == "cuda":
        allowed = CUDA_SHARE * torch.cuda.get_device_properties(model.device).total_memory
    else:
        allowed = CPU_BYTES
    share = blocks // procs.number
    sizes = [d * train.seq_len for d in range(share, 0, -1) if share % d == 0]
    return [size for size in sizes if size * per_token <= allowed] or [train.seq_len]

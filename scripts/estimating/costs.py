"""Memory and time of a run, extrapolated from one and two of its layers, or of its patterns of layers.

Memory and time are linear in the number of layers, and memory in the number of tokens (attention saves
nothing of length squared). So two short measurements give the line, and no machine has to hold the whole
model. Saved activations are counted as they are held, in the run's own precision.
"""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from alibi.environment import autocast
from alibi.model import LanguageModel, ParameterCount
from alibi.training.training_settings import RunConfig

FLOAT32 = 4
# Optimizer state, in numbers per parameter.
OPTIMIZER_NUMBERS = {"adamw": 2, "nag": 1}
MEMORY_TOKENS = 256  # longest sequence whose saved activations are counted
TIMED_RUNS, TIMED_TOKENS = 3, {"cpu": 512, "cuda": 8192}  # enough tokens to keep the machine busy


@dataclass(frozen=True)
class Costs:
    """Costs of a run in one process.

    Attributes:
        parameters: of the whole model.
        largest_block: parameters of one layer.
        optimizer_bytes: optimizer state.
        saved_fixed: bytes saved for the backward pass whatever the batch size, such as weights cast to bf16.
        saved_sequence: bytes saved for the backward pass for each sequence of a micro-batch.
        seconds_sequence: forward and backward pass of one sequence; None if not measured.
    """

    parameters: ParameterCount
    largest_block: int
    optimizer_bytes: int
    saved_fixed: int
    saved_sequence: int
    seconds_sequence: float | None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters; their gradients take as much again."""
        return FLOAT32 * self.parameters.total

    def activation_bytes(self, sequences: int) -> int:
        """Bytes that a micro-batch of this many sequences saves for its backward pass."""
        return self.saved_fixed + sequences * self.saved_sequence


def estimate(config: RunConfig, vocab_size: int, device: torch.device, measure_time: bool = True) -> Costs:
    """Measure the run's costs on `device`.

    Args:
        vocab_size: of the run's tokenizer.
        measure_time: also time the forward and backward pass.

    Raises:
        ValueError: invalid settings.
    """
    with torch.device("meta"):  # counted, not allocated
        whole = LanguageModel(config.model, vocab_size, seed=0)
    count, pattern = whole.count_parameters(), len(config.model.pattern or [1])
    patterns = config.model.num_layers / pattern
    saved: dict[tuple[int, int], int] = {}
    seconds: dict[int, float] = {}
    length = min(config.train.seq_len, MEMORY_TOKENS)
    timed = max(1, TIMED_TOKENS[device.type] // config.train.seq_len)
    for number in (1, 2):
        model = LanguageModel(replace(config.model, num_layers=number * pattern), vocab_size, seed=0).to(device).train()
        model.transformer.skip_far_keys = config.train.skip_far_keys
        for sequences in (1, 2):
            ids = drawn_ids(vocab_size, sequences, length).to(device)
            saved[number, sequences] = saved_bytes(model, ids, config.precision)
        if measure_time:
            ids = drawn_ids(vocab_size, timed, config.train.seq_len).to(device)
            seconds[number] = step_seconds(model, ids, config.precision) / timed
        del model
    a_sequence = {number: saved[number, 2] - saved[number, 1] for number in (1, 2)}
    fixed = {number: saved[number, 1] - a_sequence[number] for number in (1, 2)}
    return Costs(
        parameters=count,
        largest_block=sum(p.numel() for p in whole.transformer.blocks[0].parameters()),
        optimizer_bytes=FLOAT32 * OPTIMIZER_NUMBERS[config.optimizer.name] * count.total,
        saved_fixed=round(at(patterns, fixed)),
        saved_sequence=round(at(patterns, a_sequence) * config.train.seq_len / length),
        seconds_sequence=at(patterns, seconds) if measure_time else None,
    )


def at(number: float, of_one_and_two: dict[int, float]) -> float:
    """Extrapolate linearly from one and two layers; from two on at least their cost, because timings are noisy."""
    one, two = of_one_and_two[1], of_one_and_two[2]
    line = one + (number - 1) * (two - one)
    return line if number < 2 else max(two, line)


def drawn_ids(vocab_size: int, sequences: int, seq_len: int) -> Tensor:
    """(sequences, seq_len + 1) ids drawn by Zipf's law, which decides how much an adaptive softmax computes."""
    weights = (torch.arange(vocab_size, dtype=torch.float64) + 2.7) ** -1.1
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(weights, sequences * (seq_len + 1), replacement=True, generator=generator)
    return drawn.view(sequences, seq_len + 1)


class LiveStorages(TorchDispatchMode):
    """Records every storage that is allocated, so that those still alive can be counted, whatever holds them."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        """
        Args:
            given: tensors that existed before; their storages are not counted.
        """
        super().__init__()
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.given:
                storage = tensor.untyped_storage()
                made = StorageWeakRef(storage)  # keeps the address from being reused
                self.made[made.cdata] = made, storage.nbytes()
        return result

    def bytes(self) -> int:
        return sum(size for storage, size in self.made.values() if not storage.expired())


def saved_bytes(model: LanguageModel, ids: Tensor, precision: str) -> int:
    """Bytes that the forward pass saves for the backward pass, each storage once, without the parameters."""
    with LiveStorages([ids, *model.parameters()]) as live, autocast(model.device, precision):
        total = model.total_nats(ids[:, :-1], ids[:, 1:])
    held = live.bytes()
    del total  # kept alive until here: it holds what its gradient needs
    return held


def step_seconds(model: LanguageModel, ids: Tensor, precision: str) -> float:
    """Seconds of a forward and backward pass: the median of a few, after one warm-up pass."""
    taken = []
    for _ in range(1 + TIMED_RUNS):
        begun = time.perf_counter()
        with autocast(model.device, precision):
            total = model.total_nats(ids[:, :-1], ids[:, 1:])
        total.backward()
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        taken.append(time.perf_counter() - begun)
    model.zero_grad()
    return statistics.median(taken[1:])

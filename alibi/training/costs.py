"""What a run will cost: memory of one process, and days, from a short measured run of a few of its layers.

Memory and time grow in a line with layers, and memory with tokens (attention keeps nothing of length
times length), so that a little of each says what any number costs: no machine need hold the whole
model. What the backward pass keeps is counted as it is held, in the run's own precision.
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
# State of the optimizer, in numbers a parameter.
OPTIMIZER_NUMBERS = {"adamw": 2, "nag": 1}
# Of a timed pass: enough to keep the machine busy.
MEMORY_TOKENS = 256  # of the shorter of the two passes whose memory is counted
TIMED_RUNS, TIMED_TOKENS = 3, {"cpu": 512, "cuda": 8192}


@dataclass(frozen=True)
class Costs:
    """Of a run, for one process.

    Attributes:
        parameters: of the whole model.
        largest_block: parameters of one layer.
        optimizer_bytes: state of the optimizer.
        saved_fixed: bytes kept for the backward pass whatever the batch, such as weights in bf16.
        saved_sequence: bytes kept for each sequence of a micro-batch.
        seconds_sequence: forward and backward of one sequence; None where it was not measured.
    """

    parameters: ParameterCount
    largest_block: int
    optimizer_bytes: int
    saved_fixed: int
    saved_sequence: int
    seconds_sequence: float | None

    @property
    def weight_bytes(self) -> int:
        """Of the parameters, and as much for their gradients."""
        return FLOAT32 * self.parameters.total

    def activation_bytes(self, sequences: int) -> int:
        """What a micro-batch of so many sequences keeps for its backward pass."""
        return self.saved_fixed + sequences * self.saved_sequence


def estimate(config: RunConfig, vocab_size: int, device: torch.device, measure_time: bool = True) -> Costs:
    """Costs of the run on `device`.

    Args:
        vocab_size: ids of its tokenizer.
        measure_time: also take the time of forward and backward.

    Raises:
        ValueError: settings that cannot be.
    """
    with torch.device("meta"):  # counted, not allocated
        whole = LanguageModel(config.model, vocab_size, seed=0)
    count, num_layers = whole.count_parameters(), config.model.num_layers
    saved: dict[tuple[int, int], int] = {}
    seconds: dict[int, float] = {}
    length = min(config.train.seq_len, MEMORY_TOKENS)
    timed = max(1, TIMED_TOKENS[device.type] // config.train.seq_len)
    for layers in (1, 2):
        model = LanguageModel(replace(config.model, num_layers=layers), vocab_size, seed=0).to(device).train()
        model.transformer.skip_far_keys = config.train.skip_far_keys
        for sequences in (1, 2):
            ids = drawn_ids(vocab_size, sequences, length).to(device)
            saved[layers, sequences] = saved_bytes(model, ids, config.precision)
        if measure_time:
            ids = drawn_ids(vocab_size, timed, config.train.seq_len).to(device)
            seconds[layers] = step_seconds(model, ids, config.precision) / timed
        del model
    a_sequence = {layers: saved[layers, 2] - saved[layers, 1] for layers in (1, 2)}
    fixed = {layers: saved[layers, 1] - a_sequence[layers] for layers in (1, 2)}
    return Costs(
        parameters=count,
        largest_block=sum(p.numel() for p in whole.transformer.blocks[0].parameters()),
        optimizer_bytes=FLOAT32 * OPTIMIZER_NUMBERS[config.optimizer.name] * count.total,
        saved_fixed=round(at(num_layers, fixed)),
        saved_sequence=round(at(num_layers, a_sequence) * config.train.seq_len / length),
        seconds_sequence=at(num_layers, seconds) if measure_time else None,
    )


def at(layers: int, of_one_and_two: dict[int, float]) -> float:
    """The line through what one layer and two layers cost; never less than two cost, as timings scatter."""
    one, two = of_one_and_two[1], of_one_and_two[2]
    return one if layers == 1 else max(two, one + (layers - 1) * (two - one))


def drawn_ids(vocab_size: int, sequences: int, seq_len: int) -> Tensor:
    """(sequences, seq_len + 1) ids by Zipf's law: which bands of an adaptive softmax are computed depends on it."""
    weights = (torch.arange(vocab_size, dtype=torch.float64) + 2.7) ** -1.1
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(weights, sequences * (seq_len + 1), replacement=True, generator=generator)
    return drawn.view(sequences, seq_len + 1)


class LiveStorages(TorchDispatchMode):
    """Notes every storage that is made, and says which are still held: by saved tensors, closures, or whatever."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        """
        Args:
            given: was there before, and is not counted where it is looked at.
        """
        super().__init__()
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.given:
                storage = tensor.untyped_storage()
                made = StorageWeakRef(storage)  # which keeps its address from being given to another
                self.made[made.cdata] = made, storage.nbytes()
        return result

    def bytes(self) -> int:
        return sum(size for storage, size in self.made.values() if not storage.expired())


def saved_bytes(model: LanguageModel, ids: Tensor, precision: str) -> int:
    """Bytes that the forward pass keeps for the backward pass, each storage once and parameters not counted."""
    with LiveStorages([ids, *model.parameters()]) as live, autocast(model.device, precision):
        total = model.total_nats(ids[:, :-1], ids[:, 1:])
    held = live.bytes()
    del total  # until here it held all that its gradient needs
    return held


def step_seconds(model: LanguageModel, ids: Tensor, precision: str) -> float:
    """Seconds of forward and backward, the median of a few after one that warms up."""
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

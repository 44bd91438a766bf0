"""Windows scored into sums: one path for every length, stride, scorer and number of processes."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from alibi.data import TokenFile, Window, read_windows, window_batches
from alibi.environment import autocast
from alibi.model import KeyValueCache, LanguageModel

# (input ids (B, L), target ids (B, S), first scored input) -> nats (B, S). Our models, our models through a cache and
# models of other libraries are scorers.
Scorer = Callable[[Tensor, Tensor, int], Tensor]


class Accumulator(Protocol):
    """Takes the nats of scored targets, in any order."""

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None: ...


def fast_batch_tokens(device: torch.device, cached: bool = False) -> int:
    """How many inputs to score at once by default.

    On a CPU, activations of larger batches leave its caches: six layers of width 256 scored 512-token windows 1.5 times
    as fast with 1,024 inputs at once as with 8,192. Scoring through the key/value cache is not affected.
    """
    return 1024 if device.type == "cpu" and not cached else 8192


def model_scorer(model: LanguageModel, precision: str = "fp32") -> Scorer:
    """A model of ours, in evaluation mode, as a scorer."""

    def nats(input_ids: Tensor, target_ids: Tensor, first_scored: int) -> Tensor:
        with autocast(model.device, precision):
            return model.nll(input_ids, target_ids, first_scored)

    return nats


def cached_scorer(model: LanguageModel, precision: str = "fp32") -> Scorer:
    """A model of ours as a scorer through the key/value cache: the unscored context in one pass, then one input a pass.

    The nats must equal those of the full forward pass, so an evaluation also holds for decoding. Each target costs one
    pass, so this is slow.
    """

    def nats(input_ids: Tensor, target_ids: Tensor, first_scored: int) -> Tensor:
        cache = KeyValueCache()
        with autocast(model.device, precision):
            if first_scored:
                model.hidden(input_ids[:, :first_scored], cache=cache, first_query=first_scored - 1)
            scored = input_ids[:, first_scored:].split(1, dim=1)
            hidden = [model.hidden(ids, cache=cache) for ids in scored]
            return model.output.nll(torch.cat(hidden, dim=1), target_ids)

    return nats


@torch.inference_mode()
def score(
    tokens: TokenFile,
    length: int,
    stride: int,
    scorer: Scorer,
    accumulators: Sequence[Accumulator],
    device: torch.device,
    batch_tokens: int,
    share: tuple[int, int] = (0, 1),
) -> Iterator[int]:
    """Score every target of `tokens` once, feeding the accumulators; yields the targets of each batch.

    Batches are formed first and then shared out, so their content does not depend on the number of processes.

    Args:
        share: (rank, number) of this process: it takes the batches rank, rank + number, ...

    Raises:
        ValueError: length or stride out of range.
    """
    rank, number = share
    for batch in islice(window_batches(len(tokens), length, stride, batch_tokens), rank, None, number):
        inputs, targets = (torch.from_numpy(ids).to(device) for ids in read_windows(tokens, batch))
        nats_BS = scorer(inputs, targets, batch[0].shape[1])
        for accumulator in accumulators:
            accumulator.add(batch, nats_BS)
        yield nats_BS.numel()

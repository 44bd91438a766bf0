"""Windows scored into sums and rows: one path for every length, stride, scorer and number of processes."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from alibi.analysis.statistics import row_intervals
from alibi.data import TokenFile, Window, read_windows, window_batches
from alibi.environment import autocast, peak_memory_mib, reset_peak_memory
from alibi.evaluation.evaluation_text import EvaluationText
from alibi.evaluation.sums import ContextSums, Groups, GroupSums, NatsSum, bits_per_byte, perplexity
from alibi.model import KeyValueCache, LanguageModel
from alibi.processes import ALONE, Processes
from alibi.results import exp

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
# (input ids (B, L), target ids (B, S), first scored input) -> nats (B, S). Our models, our models through a cache and
# models of other libraries are scorers.
Scorer = Callable[[Tensor, Tensor, int], Tensor]


class Accumulator(Protocol):
    """Takes the nats of scored targets, in any order."""

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None: ...


class RowSums(Accumulator, Protocol):
    """Sums that add to a row."""

    @staticmethod
    def row(parts: Sequence["RowSums"]) -> dict:
        """The entries of the row, from the sums of all processes."""


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
        nats_BS = score_batch(tokens, batch, scorer, device)
        for accumulator in accumulators:
            accumulator.add(batch, nats_BS)
        yield nats_BS.numel()


def score_batch(tokens: TokenFile, batch: list[Window], scorer: Scorer, device: torch.device) -> Tensor:
    """Nats (B, S) of the scored targets of windows of one shape."""
    inputs, targets = (torch.from_numpy(ids).to(device) for ids in read_windows(tokens, batch))
    return scorer(inputs, targets, batch[0].shape[1])


def score_length(
    text: EvaluationText,
    length: int,
    stride: int,
    scorer: Scorer,
    batch_tokens: int,
    procs: Processes = ALONE,
    more: Sequence[RowSums] = (),
) -> dict:
    """The row of a result file for one length and stride, with its sums by group and by context, and what `more` adds.

    If any process cannot score its share, the row has the reason as `error`. Every process gets the same row.
    """
    tokens, device = text.tokens, procs.device
    row, failure = {"length": length, "stride": stride}, None
    sums = NatsSum(), GroupSums(text.groups), ContextSums(min(length, len(tokens))), *more
    reset_peak_memory(device)
    begun = time.perf_counter()
    try:
        with procs.progress_bar(len(tokens), "tok", title=f"length {length}", leave=False) as bar:
            for scored in score(tokens, length, stride, scorer, sums, device, batch_tokens, procs.share):
                bar.update(scored * procs.number)
    except (MemoryError, RuntimeError) as error:
        failure = out_of_memory(error)
    gathered = procs.gather((failure, peak_memory_mib(device), *sums))
    failures, peaks, totals, by_group, by_context, *rest = zip(*gathered, strict=True)
    seconds = time.perf_counter() - begun
    if any(failures):
        torch.cuda.empty_cache()  # does nothing on a CPU
        return row | {"error": next(filter(None, failures))}
    try:
        numbers = numbers_of(totals, by_group, by_context, text.groups, text.has_text_units)
    except OverflowError as error:
        nan = any(math.isnan(part.nats) for part in totals)
        return row | {"error": f"{'not a number' if nan else 'overflow'}: {error}"}
    speed = {"tokens_per_sec": numbers["scored_tokens"] / seconds, "peak_memory_mib": max(peaks)}
    added = {name: value for parts in rest for name, value in parts[0].row(parts).items()}
    return row | numbers | speed | added


def numbers_of(
    totals: Sequence[NatsSum],
    by_group: Sequence[GroupSums],
    by_context: Sequence[ContextSums],
    groups: Groups,
    has_text_units: bool,
) -> dict:
    """The numbers of a row that follow from its nats; the sums of each process are added.

    Raises:
        OverflowError: perplexity is above the largest float, or not a number.
    """
    nats, group_nats = sum(part.nats for part in totals), sum(part.nats for part in by_group)
    tokens, words, num_bytes = groups.sizes.sum(0).tolist()
    metrics = {"perplexity": perplexity(nats, tokens)}
    if has_text_units:
        metrics["word_perplexity"] = exp(nats / words)
        metrics["bits_per_byte"] = bits_per_byte(nats, num_bytes)
    if metrics.get("word_perplexity") == math.inf:  # text without spaces has words of a thousand tokens
        del metrics["word_perplexity"]
    intervals = row_intervals(group_nats, groups.sizes)
    return {
        "scored_tokens": sum(part.tokens for part in totals),
        "nll_nats": nats,
        **metrics,
        "interval": {name: intervals[name] for name in metrics},
        "context": {
            "up_to": by_context[0].up_to.tolist(),
            "targets": sum(part.targets for part in by_context).tolist(),
            "nll_nats": sum(part.nats for part in by_context).tolist(),
        },
        "group_nats": group_nats.tolist(),
    }


def out_of_memory(error: Exception) -> str:
    """Why it failed, for the user; any other error is raised again."""
    if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in OUT_OF_MEMORY):
        raise error
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"out of memory: {first_line}"


def warm_up(tokens: TokenFile, length: int, scorer: Scorer, device: torch.device, batch_tokens: int) -> None:
    """Score one batch that is not timed: the first call of a kernel costs more than the others.

    Running out of memory is ignored here; the row of this length reports it.
    """
    length = min(length, batch_tokens)
    try:
        next(score(tokens, length, length, scorer, [], device, batch_tokens))
    except (MemoryError, RuntimeError) as error:
        out_of_memory(error)


@torch.inference_mode()
def expected_seconds(
    tokens: TokenFile, length: int, stride: int, scorer: Scorer, device: torch.device, batch_tokens: int
) -> float:
    """How long scoring at a length and stride will take in one process, from the first batch of whole windows."""
    batches = window_batches(len(tokens), length, stride, batch_tokens)
    batch = next((batch for batch in batches if batch[0].shape[0] == length), None)
    if batch is None:  # one window holds the whole text
        return 0.0
    begun = time.perf_counter()
    try:
        score_batch(tokens, batch, scorer, device).cpu()  # waits for the device
    except (MemoryError, RuntimeError) as error:
        out_of_memory(error)
    return (time.perf_counter() - begun) / len(batch) * len(tokens) / stride

"""One row of a result file: a length scored, with its sums by group and by context."""

import math
import time

import torch

from alibi.analysis.statistics import row_intervals
from alibi.data import TokenFile
from alibi.environment import peak_memory_mib, reset_peak_memory
from alibi.evaluation.evaluation_text import EvaluationText
from alibi.evaluation.score import Scorer, score
from alibi.evaluation.sums import ContextSums, Groups, GroupSums, NatsSum, bits_per_byte, perplexity
from alibi.processes import ALONE, Processes
from alibi.results import exp

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def score_length(
    text: EvaluationText,
    groups: Groups,
    length: int,
    stride: int,
    scorer: Scorer,
    batch_tokens: int,
    procs: Processes = ALONE,
) -> dict:
    """The row of one length and stride; if any process cannot score its share, a row with the reason as `error`.

    Every process gets the same row.
    """
    tokens, device = text.tokens, procs.device
    row, failure = {"length": length, "stride": stride}, None
    sums = NatsSum(), GroupSums(groups), ContextSums(min(length, len(tokens)))
    reset_peak_memory(device)
    begun = time.perf_counter()
    try:
        with procs.progress_bar(len(tokens), "tok", title=f"length {length}", leave=False) as bar:
            for scored in score(tokens, length, stride, scorer, sums, device, batch_tokens, procs.share):
                bar.update(scored * procs.number)
    except (MemoryError, RuntimeError) as error:
        failure = _out_of_memory(error)
    gathered = procs.gather((failure, peak_memory_mib(device), *sums))
    failures, peaks, totals, by_group, by_context = zip(*gathered, strict=True)
    seconds = time.perf_counter() - begun
    if any(failures):
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return row | {"error": next(filter(None, failures))}
    nats, num_tokens = sum(part.nats for part in totals), sum(part.tokens for part in totals)
    group_nats = sum(part.nats for part in by_group)
    try:
        metrics = {"perplexity": perplexity(nats, num_tokens)}
    except OverflowError as error:
        return row | {"error": f"{'not a number' if math.isnan(nats) else 'overflow'}: {error}"}
    if text.has_text_units:
        metrics["word_perplexity"] = exp(nats / tokens.num_words)
        metrics["bits_per_byte"] = bits_per_byte(nats, tokens.num_bytes)
    if metrics.get("word_perplexity") == math.inf:  # text without spaces has words of a thousand tokens
        del metrics["word_perplexity"]
    intervals = row_intervals(group_nats, groups.sizes)
    return row | {
        "scored_tokens": num_tokens,
        "nll_nats": nats,
        **metrics,
        "interval": {name: intervals[name] for name in metrics},
        "tokens_per_sec": num_tokens / seconds,
        "peak_memory_mib": max(peaks),
        "context": {
            "up_to": by_context[0].up_to.tolist(),
            "targets": sum(part.targets for part in by_context).tolist(),
            "nll_nats": sum(part.nats for part in by_context).tolist(),
        },
        "group_nats": group_nats.tolist(),
    }


def _out_of_memory(error: Exception) -> str:
    """The row's error; any other error is raised again."""
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
        _out_of_memory(error)

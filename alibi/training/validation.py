"""Validation during training, in fp32, with the evaluator's own code: the whole split, nonoverlapping, or a task."""

from contextlib import suppress

import torch

from alibi.data import window_batches
from alibi.evaluation import NatsSum, Scorer, bits_per_byte, fast_batch_tokens, model_scorer, perplexity, score
from alibi.evaluation.answers import answer
from alibi.processes import Processes
from alibi.training.run_data import RunTask
from alibi.training.run_parts import RunParts


def validate(run: RunParts) -> dict[str, float]:
    """val/loss (nats per target) and others at train.seq_len; val/loss_N and others at further lengths."""
    return _validate_task(run) if isinstance(run.data, RunTask) else _validate_text(run)


def _validate_task(run: RunParts) -> dict[str, float]:
    """val/loss, val/accuracy (of answers), val/exact_match (of strings). Every process answers all strings."""
    metrics, device, seq_len = {}, run.model.device, run.config.train.seq_len
    for length in dict.fromkeys([seq_len, *run.lengths]):
        strings = run.data.task.held_out("validation", length)
        found = answer(run.model.eval(), strings, fast_batch_tokens(device))
        name = "" if length == seq_len else f"_{length}"
        numbers = {"loss": found.nats / found.answers, "accuracy": found.accuracy, "exact_match": found.exact_match}
        metrics |= {f"val/{metric}{name}": value for metric, value in numbers.items()}
    return metrics


def _validate_text(run: RunParts) -> dict[str, float]:
    """val/loss (nats per token), val/ppl, val/word_ppl, val/bpb at train.seq_len; val/loss_N, val/ppl_N at others.

    A perplexity that overflows float64 is left out, and so are val/word_ppl and val/bpb if the tokens do not cover
    the text.
    """
    tokens, procs, device, seq_len = run.data.validation, run.procs, run.model.device, run.config.train.seq_len
    metrics, batch_tokens, scorer = {}, fast_batch_tokens(device), model_scorer(run.model.eval())
    for length in dict.fromkeys([seq_len, *run.lengths]):
        total = NatsSum()
        for _ in score(tokens, length, length, scorer, [total], device, batch_tokens, procs.share):
            pass
        _keep_up(scorer, sum(1 for _ in window_batches(len(tokens), length, length, batch_tokens)), procs)
        nats, count = procs.sum([total.nats, total.tokens])
        name = "" if length == seq_len else f"_{length}"
        metrics[f"val/loss{name}"] = nats / count
        counts = {f"val/ppl{name}": count}
        if length == seq_len and run.data.covered:
            counts["val/word_ppl"] = tokens.num_words
            metrics["val/bpb"] = bits_per_byte(nats, tokens.num_bytes)
        for metric, of in counts.items():
            with suppress(OverflowError):
                metrics[metric] = perplexity(nats, of)
    return metrics


@torch.inference_mode()
def _keep_up(scorer: Scorer, num_batches: int, procs: Processes) -> None:
    """A dummy pass if other processes have one batch more: a sharded model needs all processes in every pass."""
    if procs.rank >= num_batches % procs.number > 0:
        nothing = torch.zeros(1, 1, dtype=torch.long, device=procs.device)
        scorer(nothing, nothing, 0)

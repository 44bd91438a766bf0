"""A checkpoint evaluated: perplexity at each length and stride, into result files.

Everything is rebuilt from the checkpoint; only the text may be another one, encoded by the run's
own tokenizer.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from alibi.data import DataConfig, TokenFile, open_text, prepare_tokens, window_batches
from alibi.data.text import Text
from alibi.environment import environment, peak_memory_mib, reset_peak_memory
from alibi.evaluation.results import SCHEMA, earlier_rows, protocol_name, result_path, write_result
from alibi.evaluation.score import Scorer, model_scorer, score, score_batch
from alibi.evaluation.settings import EvaluationSettings, in_order
from alibi.evaluation.sums import NatsSum, bits_per_byte, perplexity
from alibi.runs import Checkpoint
from alibi.tracking import progress_bar

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


@dataclass(frozen=True)
class EvaluationText:
    """A text in tokens, and whether it is the one that the run validates on (or its sibling, test)."""

    tokens: TokenFile
    sha256: str  # of the part in use
    own: bool
    whole: bool  # not cut


def open_evaluation_text(
    checkpoint: Checkpoint, data: DataConfig, split: str, max_tokens: int | None, cache: Path
) -> EvaluationText:
    """The split, encoded by the checkpoint's own tokenizer and cut at `max_tokens`.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as open_text and prepare_tokens.
    """
    tokenizer = checkpoint.load_tokenizer()
    words = tokenizer.name == "word"
    text = open_text(data, split, words, cache)
    whole = prepare_tokens(text, tokenizer, cache)
    tokens = whole if max_tokens is None else whole.cut(max_tokens)
    is_whole = len(tokens) == len(whole)
    sha256 = text.sha256 if is_whole else text.sha256_of(tokens.num_lines)
    return EvaluationText(tokens, sha256, _is_own(checkpoint, data, text, words, cache), is_whole)


def _is_own(checkpoint: Checkpoint, data: DataConfig, text: Text, words: bool, cache: Path) -> bool:
    if data.name != checkpoint.data_config.name:
        return False
    # A run reads no test split; its text is known by the validation split beside it.
    try:
        validation = text if text.split == "validation" else open_text(data, "validation", words, cache)
    except FileNotFoundError:
        return False
    return validation.sha256 == checkpoint.texts["validation"]


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    text: EvaluationText,
    settings: EvaluationSettings,
    device: torch.device,
    precision: str,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Score every length and stride of `settings`; returns the result files, one a stride.

    A length that cannot be done is a row with its reason, and the others go on.
    """
    lengths, note = in_order(settings.lengths)
    if note:
        say(note)
    for length in lengths:
        if length > len(text.tokens):
            say(f"length {length} is above the {len(text.tokens)} tokens of the split: evaluated as one window")
    if not text.own:
        say(f"this is not the text that {checkpoint.run.name} was trained beside: its hash is in the result's name")
    model, paths, warm = None, [], False
    for stride in settings.strides:
        head = result_head(checkpoint, text, settings.split, stride, device, precision)
        path = result_path(checkpoint.run / "evaluation", checkpoint.path.name, head, text.own, text.whole)
        rows = earlier_rows(path, head)
        done = [n for n in lengths if settings.reuse and "error" not in rows.get(n, {"error": "none yet"})]
        if done:
            say(f"{path.name}: lengths {done} are there already (eval.reuse=true)")
        for length in lengths:
            if length in done:
                continue
            model = model or checkpoint.load_model(device)
            scorer = model_scorer(model, precision)
            if not warm:
                _warm_up(text.tokens, length, scorer, device, settings.batch_tokens)
                warm = True
            rows[length] = score_length(text.tokens, length, stride or length, scorer, device, settings.batch_tokens)
            if error := rows[length].get("error"):
                say(f"length {length}: {error}")
            write_result(path, head, rows)
        paths.append(path)
    return paths


def result_head(
    checkpoint: Checkpoint, text: EvaluationText, split: str, stride: int | None, device: torch.device, precision: str
) -> dict:
    """All of a result file but its rows."""
    config, tokens = checkpoint.config, text.tokens
    return {
        "schema": SCHEMA,
        "checkpoint": {
            "path": checkpoint.path.relative_to(checkpoint.run.parent).as_posix(),  # a run folder may be moved
            "sha256": checkpoint.sha256,
            "step": checkpoint.step,
            "model": config["model"]["position"]["name"],
            "seq_len": config["train"]["seq_len"],
            "seed": config["seed"],
            "parameters": checkpoint.manifest["parameters"],
        },
        "data": {
            "name": tokens.text["name"],
            "split": split,
            "tokens": len(tokens),
            "words": tokens.num_words,
            "bytes": tokens.num_bytes,
            "sha256": text.sha256,
            "form": tokens.text["form"],
            "tokenizer": tokens.tokenizer,
        },
        "protocol": {"name": protocol_name(stride), "first_input": "end-of-text"},
        "precision": precision,
        "made_with": environment(device),
    }


def score_length(
    tokens: TokenFile, length: int, stride: int, scorer: Scorer, device: torch.device, batch_tokens: int
) -> dict:
    """One row of a result file."""
    row, total = {"length": length, "stride": stride}, NatsSum()
    reset_peak_memory(device)
    begun = time.perf_counter()
    try:
        with progress_bar(len(tokens), "tok", title=f"length {length}", leave=False) as bar:
            for scored in score(tokens, length, stride, scorer, [total], device, batch_tokens):
                bar.update(scored)
        seconds = time.perf_counter() - begun
        return row | {
            "scored_tokens": total.tokens,
            "nll_nats": total.nats,
            "perplexity": perplexity(total.nats, total.tokens),
            "word_perplexity": perplexity(total.nats, tokens.num_words),
            "bits_per_byte": bits_per_byte(total.nats, tokens.num_bytes),
            "tokens_per_sec": total.tokens / seconds,
            "peak_memory_mib": peak_memory_mib(device),
        }
    except OverflowError as error:
        return row | {"error": f"overflow: {error}"}
    except (MemoryError, RuntimeError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in OUT_OF_MEMORY):
            raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return row | {"error": f"out of memory: {first_line}"}


def _warm_up(tokens: TokenFile, length: int, scorer: Scorer, device: torch.device, batch_tokens: int) -> None:
    """One batch outside the clock: the first call of a kernel costs more than the others."""
    length = min(length, batch_tokens)
    with torch.inference_mode():
        score_batch(tokens, next(window_batches(len(tokens), length, length, batch_tokens)), scorer, device)

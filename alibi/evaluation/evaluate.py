"""A checkpoint evaluated: perplexity at each length and stride, into result files.

Everything is rebuilt from the checkpoint; only the text may be another one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from alibi.environment import environment
from alibi.evaluation.cached import cached_scorer
from alibi.evaluation.change import split_change
from alibi.evaluation.groups import text_groups
from alibi.evaluation.results import (
    SCHEMA,
    earlier_rows,
    protocol_name,
    result_path,
    rewrite_result,
    same_targets,
    set_aside_other_weights,
    write_result,
)
from alibi.evaluation.row import score_length, warm_up
from alibi.evaluation.score import fast_batch_tokens, model_scorer
from alibi.evaluation.settings import EvaluationSettings, in_order
from alibi.evaluation.statistics import ABOUT_INTERVALS
from alibi.evaluation.text import EvaluationText
from alibi.model import LanguageModel
from alibi.processes import ALONE, Processes
from alibi.runs import Checkpoint, Guest, OpenModel, weight_settings


def evaluate_checkpoint(
    checkpoint: Checkpoint | Guest,
    text: EvaluationText,
    settings: EvaluationSettings,
    device: torch.device,
    precision: str,
    say: Callable[[str], None] = print,
    procs: Processes = ALONE,
) -> list[Path]:
    """Score every length and stride of `settings`; returns the result files, one a stride.

    A length that cannot be done is a row with its reason, and the others go on. Of several processes each
    scores its share, and the main one reads and writes files and speaks.
    """
    if not procs.is_main:
        say = _silent
    lengths, note = in_order(settings.lengths)
    if note:
        say(note)
    for length in lengths:
        if length > len(text.tokens):
            say(f"length {length} is above the {len(text.tokens)} tokens of the split: evaluated as one window")
    if not text.own and isinstance(checkpoint, Checkpoint):
        say(f"this is not the text that {checkpoint.run.name} was trained beside: its hash is in the result's name")
    model, groups = open_model(checkpoint, settings, device, precision), text_groups(text.tokens)
    scorer = model.nats
    batch_tokens = settings.batch_tokens or fast_batch_tokens(device, settings.cached)
    files = []
    with procs.together():
        for stride in settings.strides if procs.is_main else ():
            head = result_head(model, text, settings, stride, precision, device) | {
                "groups": groups.to_dict(),
                "intervals": ABOUT_INTERVALS | {"units": len(groups.sizes)},
            }
            head["made_with"]["processes"] = procs.number
            files.append(_open_result(checkpoint, text, head, lengths, settings, say))
    warm = False
    missing = procs.from_main([[n for n in lengths if n not in file.done] for file in files])
    for number, stride in enumerate(settings.strides):
        for length in missing[number]:
            if reason := model.why_not(min(length, len(text.tokens))):
                row = {"length": length, "stride": stride or length, "error": reason}
            else:
                if not warm:
                    warm_up(text.tokens, length, scorer, device, batch_tokens)
                    warm = True
                row = score_length(text.tokens, groups, length, stride or length, scorer, device, batch_tokens, procs)
            if error := row.get("error"):
                say(f"length {length}: {error}")
            elif isinstance(checkpoint, Checkpoint):
                row["skip_far_keys"] = settings.skip_far_keys
            with procs.together():
                if procs.is_main:
                    files[number].add(row, settings.within_percent)
    with procs.together():
        for file in files:
            if file.done == set(lengths):  # the margin may be another one
                rewrite_result(file.path, settings.within_percent)
        if files:
            explain_changes([file.path for file in files], say)
    return procs.from_main([file.path for file in files])


@dataclass
class OpenResult:
    """A result file that rows are added to.

    Attributes:
        done: lengths of an earlier evaluation that are kept.
    """

    path: Path
    head: dict
    rows: dict[int, dict]
    done: set[int]

    def add(self, row: dict, within_percent: float) -> None:
        self.rows[row["length"]] = row
        write_result(self.path, self.head, self.rows.values(), within_percent)


def _open_result(
    checkpoint: Checkpoint | Guest,
    text: EvaluationText,
    head: dict,
    lengths: list[int],
    settings: EvaluationSettings,
    say: Callable[[str], None],
) -> OpenResult:
    """The file that the head belongs into, so that one that cannot be read is named before anything is scored."""
    path = result_path(checkpoint.run / "evaluation", checkpoint.path.name, head, text.own, text.whole)
    if kept := set_aside_other_weights(path, head):
        say(f"{path.name} is of other weights, and is now {kept.name}")
    rows = earlier_rows(path, head)
    done = [n for n in lengths if settings.reuse and "group_nats" in rows.get(n, {})]
    if done:
        say(f"{path.name}: lengths {done} are there already (eval.reuse=true)")
    return OpenResult(path, head, rows, set(done))


def _silent(line: str) -> None:
    """What the processes beside the main one say."""


def open_model(
    checkpoint: Checkpoint | Guest, settings: EvaluationSettings, device: torch.device, precision: str
) -> OpenModel:
    """A checkpoint's model or a guest, ready to be scored."""
    if isinstance(checkpoint, Guest):
        return checkpoint.open(device, precision)
    model = checkpoint.load_model(device)
    model.transformer.skip_far_keys = settings.skip_far_keys
    scorer = cached_scorer(model, precision) if settings.cached else model_scorer(model, precision)
    return OpenModel(scorer, checkpoint_head(checkpoint, model))


def checkpoint_head(checkpoint: Checkpoint, model: LanguageModel) -> dict:
    """What a result file says of a run's weights."""
    config, count = checkpoint.config, model.count_parameters()
    train = config["train"]
    trained_tokens = checkpoint.step * train["batch_tokens"]
    return {
        "path": checkpoint.path.relative_to(checkpoint.run.parent).as_posix(),  # a run folder may be moved
        "sha256": checkpoint.sha256,
        "step": checkpoint.step,
        "model": config["model"]["position"]["name"],
        "seq_len": train["seq_len"],
        "seed": config["seed"],
        "parameters": count.total,
        "parameters_in": {"position": count.position, "embedding": count.embedding, "rest": count.rest},
        "training": {
            "text_sha256": checkpoint.texts["train"],
            "tokens": trained_tokens,
            # Backward costs twice the forward pass.
            "flops": 3 * trained_tokens * model.flops_per_token((train["seq_len"] + 1) / 2),
        },
        "run": checkpoint.run.name,
        "settings": weight_settings(config),
    }


def result_head(
    model: OpenModel,
    text: EvaluationText,
    settings: EvaluationSettings,
    stride: int | None,
    precision: str,
    device: torch.device,
) -> dict:
    """What a result file says of weights, text and protocol."""
    tokens, made_with = text.tokens, environment(device)
    if model.packages:
        made_with["packages"] |= model.packages
    return {
        "schema": SCHEMA,
        "checkpoint": model.about,
        "data": {
            "name": tokens.text["name"],
            "split": settings.split,
            "tokens": len(tokens),
            "words": tokens.num_words,
            "bytes": tokens.num_bytes,
            "sha256": text.sha256,
            "form": tokens.text["form"],
            "tokenizer": tokens.tokenizer,
            "tokens_sha256": tokens.ids_sha256(),
        },
        "protocol": {"name": protocol_name(stride), "first_input": model.first_input},
        "scorer": "cached" if settings.cached else "full",
        "precision": precision,
        "made_with": made_with,
    }


def explain_changes(paths: list[Path], say: Callable[[str], None]) -> None:
    """Split the change with length in two, in every sliding result whose nonoverlapping twin is there.

    Args:
        paths: results of this evaluation; those of earlier ones beside them are taken in.
    """
    twins = same_targets(paths[0])
    plain = next((result for result in twins.values() if result["protocol"]["name"] == protocol_name(None)), None)
    for path, sliding in twins.items():
        if sliding is plain or plain is None:
            continue
        change, reason = split_change(plain, sliding)
        if change:
            rewrite_result(path, change=change)
        elif path in paths:
            say(f"{path.name}: {reason}")

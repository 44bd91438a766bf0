"""A result verified by its checkpoint: everything scored again, on whatever machine.

fp32 must agree to 1e-5 and narrower types to 1e-2; sums of many targets are closer than that, groups of few are not. Of
a task shares must agree to five of a thousand, as roundings decide between near answers.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from alibi.data import DataConfig
from alibi.evaluation.adapted import fitting
from alibi.evaluation.checkpoint_results import open_model
from alibi.evaluation.evaluation_settings import EvaluationSettings
from alibi.evaluation.evaluation_text import EvaluationText, open_evaluation_text
from alibi.evaluation.measures.measures import Measures
from alibi.evaluation.score import fast_batch_tokens, score_length
from alibi.evaluation.task_results import has_learned, open_task, task_row
from alibi.evaluation.verify import NOT_NUMBERS, Check, difference_of, from_rows, nats_of
from alibi.processes import ALONE
from alibi.results import Result
from alibi.results.schema import OF_HEAD
from alibi.runs import Checkpoint

RESCORED, RESCORED_NARROW = 1e-5, 1e-2
ANSWERED = 5e-3  # of a share of answers or strings


def rescored(
    result: Result, name: str | None, path: str | None, cache: Path, device: torch.device
) -> tuple[list[Check], list[str]]:
    """Every number, from the checkpoint in the result's run folder and the text.

    Args:
        name, path: the text and where it is; None: as the result names it, and where the run's own is.

    Raises:
        ValueError: the checkpoint is not the one that was scored, or the text is another.
        FileNotFoundError: one of them is not there.
    """
    content = result.content
    place = result.folder / "checkpoints" / Path(content.checkpoint.path or "").name
    if not place.exists():
        raise FileNotFoundError(f"--rescore needs the checkpoint, and {place} is not there (a guest has none).")
    checkpoint = Checkpoint(place)
    if checkpoint.sha256 != content.checkpoint.sha256:
        raise ValueError(f"{place} has other weights than {result.path.name} was made from.")
    if result.is_of_task:
        if name or path:
            raise ValueError(
                f"{result.path.name} is of a task, whose strings are in no file; remove --data and --path."
            )
        return _answered_again(result, checkpoint, device), []
    settings = _settings(result)
    own, name = checkpoint.data_config, name or content.data.name
    data = replace(own, path=path or own.path) if name == own.name else DataConfig(name, path)
    text = open_evaluation_text(checkpoint, data, settings, cache, quiet=True)
    if text.sha256 != content.data.sha256:
        which = f"{content.data.name} {content.data.split} (sha256 {content.data.sha256[:16]})"
        raise ValueError(f"{result.path.name} is of another text, {which}; name it by --data and --path.")
    left = [f"length {n}: {row['error']}" for n, row in result.rows.items() if "error" in row]
    checks = _rows_again(result, checkpoint, text, settings, device, left)
    checks += _measures_again(result, checkpoint, text, settings, device)
    return checks + from_rows(result), left


def _tolerance(result: Result) -> float:
    return RESCORED if result.content.precision == "fp32" else RESCORED_NARROW


def _rows_again(
    result: Result,
    checkpoint: Checkpoint,
    text: EvaluationText,
    settings: EvaluationSettings,
    device: torch.device,
    left: list[str],
) -> list[Check]:
    checks, precision, tolerance = [], result.content.precision, _tolerance(result)
    batch_tokens, [adaptation] = fast_batch_tokens(device, settings.cached), fitting(checkpoint, settings)
    for length, row in result.scored.items():
        own = replace(settings, skip_far_keys=row.get("skip_far_keys", True))
        adapted = open_model(checkpoint, own, device, precision)
        measures = Measures(text, adapted, own)
        scorer = adapted.scorer(adaptation, length)
        again = score_length(text, length, row["stride"], scorer, batch_tokens, ALONE, measures.sums())
        if "repeats" not in row:  # those of another evaluation have them
            again.pop("repeats", None)
        for name in sorted((row.keys() | again.keys()) - {*NOT_NUMBERS}):
            checks.append(Check(f"rows[{length}].{name}", difference_of(row.get(name), again.get(name)), tolerance))
        if "nats" in row and (nats_N := nats_of(result, length, checks, left)) is not None:
            gap = np.abs(nats_N - again["nats"]).max() / abs(row["nll_nats"] / result.data.tokens)
            checks.append(Check(f"rows[{length}].nats", float(gap), 100 * tolerance))
    return checks


def _measures_again(
    result: Result, checkpoint: Checkpoint, text: EvaluationText, settings: EvaluationSettings, device: torch.device
) -> list[Check]:
    content, checks, [adaptation] = result.content, [], fitting(checkpoint, settings)
    for name, fields in OF_HEAD.items():
        points, sample = (getattr(content, field) for field in fields)
        if not points:
            continue
        asked = replace(settings, measures=[name], reach=sample.reach)
        measures = Measures(text, open_model(checkpoint, asked, device, content.precision), asked)
        again = measures.measure(adaptation, fast_batch_tokens(device, settings.cached), ALONE)
        stated = [point.model_dump(exclude_unset=True) for point in points]
        checks.append(Check(name, difference_of(stated, again.get(name)), _tolerance(result)))
        told = sample.model_dump(include={"segments", "group_targets", "sha256"})
        found = {part: again.get(f"{name}_sample", {}).get(part) for part in told}
        checks.append(Check(f"{name}_sample", difference_of(told, found), 0.0))
    return checks


def _answered_again(result: Result, checkpoint: Checkpoint, device: torch.device) -> list[Check]:
    """Every number of a task's rows. Shares may differ by a few strings, since another machine rounds another way."""
    content, checks = result.content, []
    lengths, data = list(result.scored), DataConfig(content.data.name, task=content.data.task)
    settings = EvaluationSettings(lengths=lengths, split=content.data.split, adapt=_adapt(result))
    what, [adaptation] = open_task(checkpoint, data, settings), fitting(checkpoint, settings)
    adapted = open_model(checkpoint, settings, device, content.precision)
    learned = has_learned(adapted, what, adaptation, settings)
    for length, row in result.scored.items():
        again = task_row(adapted, what, adaptation, length, settings) | {"learned": learned}
        for name in (name for name in row if name not in NOT_NUMBERS):
            difference, tolerance = difference_of(row[name], again.get(name)), _tolerance(result)
            if name in ("accuracy", "exact_match"):
                difference, tolerance = abs(row[name] - again[name]), ANSWERED
            elif name == "interval":
                pairs = [(row[name][metric], again[name][metric]) for metric in row[name]]
                difference, tolerance = float(np.abs(np.diff(pairs, axis=1)).max()), ANSWERED
            checks.append(Check(f"rows[{length}].{name}", difference, tolerance))
    return checks


def _adapt(result: Result) -> dict | None:
    adapt = result.content.adapt
    return adapt and {"name": adapt.name, **adapt.set}


def _settings(result: Result) -> EvaluationSettings:
    """The settings that the rows of a result were made with."""
    content = result.content
    measures = ["repeats"] if any("repeats" in row for row in result.scored.values()) else None
    stride = next((row["stride"] for n, row in result.scored.items() if row["stride"] != n), None)
    return EvaluationSettings(
        lengths=list(result.scored),
        stride=stride,
        split=content.data.split,
        max_tokens=content.data.tokens,
        cached=content.scorer == "cached",
        adapt=_adapt(result),
        measures=measures,
        save_nats=True,
    )

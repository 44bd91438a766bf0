"""A result verified: every number computed again, from the nats on disk, or from the checkpoint.

From nats the sums must agree to 1e-12 of themselves, and what follows from sums to 1e-9. Scored again, on whatever
machine, fp32 must agree to 1e-5 and narrower types to 1e-2; sums of many targets are closer than that, groups of few
are not. Of a task shares must agree to five of a thousand, as roundings decide between near answers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from alibi.analysis.change import change_again
from alibi.analysis.curves import how_far
from alibi.data import DataConfig, window_batches
from alibi.evaluation.adapted import fitting
from alibi.evaluation.checkpoint_results import open_model
from alibi.evaluation.evaluation_settings import EvaluationSettings
from alibi.evaluation.evaluation_text import EvaluationText, open_evaluation_text
from alibi.evaluation.measures.measures import Measures
from alibi.evaluation.score import fast_batch_tokens, numbers_of, score_length
from alibi.evaluation.sums import ContextSums, Groups, GroupSums, NatsSum
from alibi.evaluation.task_results import has_learned, open_task, task_row
from alibi.processes import ALONE
from alibi.results import Result, load_nats
from alibi.results.parts import Part
from alibi.results.schema import OF_HEAD
from alibi.runs import Checkpoint

OF_SUMS, OF_OTHERS = 1e-12, 1e-9
RESCORED, RESCORED_NARROW = 1e-5, 1e-2
ANSWERED = 5e-3  # of a share of answers or strings
SUMS = ("nll_nats", "group_nats", "context", "scored_tokens")
BATCH = 2**20  # targets summed at once
NOT_NUMBERS = ("tokens_per_sec", "peak_memory_mib", "made_with", "nats", "adapt", "skip_far_keys", "length", "stride")


@dataclass(frozen=True)
class Check:
    """One field of a result: the largest difference of a number in it, relative to that number."""

    what: str
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance

    def in_json(self) -> dict:
        """JSON has no infinity: a field that is not there at all differs by null."""
        difference = self.difference if math.isfinite(self.difference) else None
        return vars(self) | {"difference": difference, "agrees": self.agrees}


def difference_of(stated: object, found: object) -> float:
    """The largest relative difference of two numbers that stand in the same place; infinite if the places differ.

    What is None is as if it were not there.
    """
    if isinstance(stated, Mapping) and isinstance(found, Mapping):
        names = stated.keys() | found.keys()
        return max((difference_of(stated.get(name), found.get(name)) for name in names), default=0.0)
    if isinstance(stated, list) and isinstance(found, list):
        same = len(stated) == len(found)
        return max(map(difference_of, stated, found), default=0.0) if same else math.inf
    if isinstance(stated, int | float) and isinstance(found, int | float):
        return abs(stated - found) / max(abs(stated), abs(found)) if stated != found else 0.0
    return 0.0 if stated == found else math.inf


def from_nats(result: Result) -> tuple[list[Check], list[str]]:
    """Every number that follows from the nats on disk, and what does not follow from them, in words.

    Raises:
        ValueError, FileNotFoundError: a task, or as load_nats of a row.
    """
    if result.is_of_task:
        raise ValueError(f"{result.path.name} is of a task, which has no nats; --rescore answers its strings again.")
    checks, left = [], []
    for length, row in result.scored.items():
        numbers = _summed(result, length)
        for name in sorted((row.keys() | numbers.keys()) - {*NOT_NUMBERS}):
            if name == "repeats":
                left.append(f"length {length}: repeats depend on the text")
                continue
            tolerance = OF_SUMS if name in SUMS else OF_OTHERS
            checks.append(Check(f"rows[{length}].{name}", difference_of(row.get(name), numbers.get(name)), tolerance))
    left += [f"{name}: depends on the text" for name, (field, _) in OF_HEAD.items() if getattr(result.content, field)]
    return checks + _from_rows(result), left


def _from_rows(result: Result) -> list[Check]:
    """What a file says of its rows together: how far they hold, and the change against the nonoverlapping twin."""
    content, checks = result.content, []
    if far := content.how_far:
        checks.append(_check_part("how_far", far, how_far(content, far.within_percent)))
    if content.change:
        checks.append(_check_part("change", content.change, change_again(result)))
    return checks


def _check_part(what: str, stated: Part, again: Part | None) -> Check:
    found, told = (part and part.model_dump(exclude_unset=True) for part in (again, stated))
    return Check(what, difference_of(told, found), OF_OTHERS)


def _summed(result: Result, length: int) -> dict:
    """The numbers of a row, from its nats: the same sums in the same windows as when they were scored."""
    nats_N, row, data = load_nats(result, length), result.scored[length], result.data
    groups = _groups(result)
    sums = NatsSum(), GroupSums(groups), ContextSums(min(length, data.tokens))
    for batch in window_batches(data.tokens, length, row["stride"], BATCH):
        nats_BS = torch.from_numpy(np.stack([nats_N[window.first : window.stop] for window in batch]))
        for accumulator in sums:
            accumulator.add(batch, nats_BS)
    return numbers_of(*([one] for one in sums), groups, "bits_per_byte" in row)


def _groups(result: Result) -> Groups:
    groups = result.content.groups
    return Groups(groups.kind, np.column_stack([groups.tokens, groups.words, groups.bytes]))


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
    checks = _rows_again(result, checkpoint, text, settings, device)
    checks += _measures_again(result, checkpoint, text, settings, device)
    left = [f"length {n}: {row['error']}" for n, row in result.rows.items() if "error" in row]
    return checks + _from_rows(result), left


def _tolerance(result: Result) -> float:
    return RESCORED if result.content.precision == "fp32" else RESCORED_NARROW


def _rows_again(
    result: Result, checkpoint: Checkpoint, text: EvaluationText, settings: EvaluationSettings, device: torch.device
) -> list[Check]:
    checks, precision, tolerance = [], result.content.precision, _tolerance(result)
    batch_tokens, [adaptation] = fast_batch_tokens(device, settings.cached), fitting(checkpoint, settings)
    for length, row in result.scored.items():
        own = replace(settings, skip_far_keys=row.get("skip_far_keys", True))
        adapted = open_model(checkpoint, own, device, precision)
        measures = Measures(text, adapted, own)
        scorer = adapted.scorer(adaptation, length)
        again = score_length(text, length, row["stride"], scorer, batch_tokens, ALONE, measures.sums())
        for name in sorted((row.keys() | again.keys()) - {*NOT_NUMBERS}):
            checks.append(Check(f"rows[{length}].{name}", difference_of(row.get(name), again.get(name)), tolerance))
        if "nats" in row:
            gap = np.abs(load_nats(result, length) - again["nats"]).max() / abs(row["nll_nats"] / result.data.tokens)
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
        checks.append(Check(name, difference_of(stated, again[name]), _tolerance(result)))
        told = sample.model_dump(include={"segments", "group_targets", "sha256"})
        found = {part: again[f"{name}_sample"][part] for part in told}
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
            difference, tolerance = difference_of(row[name], again.get(name)), RESCORED
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

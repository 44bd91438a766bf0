"""A result verified: every number of its rows computed again from the nats on disk.

The sums must agree to 1e-12 of themselves, and what follows from sums to 1e-9.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from alibi.analysis.change import change_again
from alibi.analysis.curves import how_far
from alibi.data import window_batches
from alibi.evaluation.score import numbers_of
from alibi.evaluation.sums import ContextSums, Groups, GroupSums, NatsSum
from alibi.results import Result, load_nats
from alibi.results.parts import Part
from alibi.results.schema import OF_HEAD

OF_SUMS, OF_OTHERS = 1e-12, 1e-9
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
        ValueError: a task.
    """
    if result.is_of_task:
        raise ValueError(f"{result.path.name} is of a task, which has no nats; --rescore answers its strings again.")
    checks, left = [], []
    for length, row in result.scored.items():
        if (nats_N := nats_of(result, length, checks, left)) is None:
            continue
        numbers = _summed(result, length, nats_N)
        for name in sorted((row.keys() | numbers.keys()) - {*NOT_NUMBERS}):
            if name == "repeats":
                left.append(f"length {length}: repeats depend on the text")
                continue
            tolerance = OF_SUMS if name in SUMS else OF_OTHERS
            checks.append(Check(f"rows[{length}].{name}", difference_of(row.get(name), numbers.get(name)), tolerance))
    left += [f"{name}: depends on the text" for name, (field, _) in OF_HEAD.items() if getattr(result.content, field)]
    return checks + from_rows(result), left


def from_rows(result: Result) -> list[Check]:
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


def nats_of(result: Result, length: int, checks: list[Check], left: list[str]) -> np.ndarray | None:
    """The nats of a row; None if they are not what the row names: then a check has failed, and `left` says why."""
    try:
        return load_nats(result, length)
    except (ValueError, FileNotFoundError) as error:
        checks.append(Check(f"rows[{length}].nats", math.inf, 0.0))
        left.append(str(error))
        return None


def _summed(result: Result, length: int, nats_N: np.ndarray) -> dict:
    """The numbers of a row, from its nats: the same sums in the same windows as when they were scored."""
    row, data = result.scored[length], result.data
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

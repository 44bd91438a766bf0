"""Adapted methods judged: against the method itself, and against truncation, over seeds and with Holm's correction.

Against a method that collapses beyond its training length L everything helps. So an adaptation is also set against
truncation: the same targets with the last L tokens alone, from results of `truncation`, or where there are none, in a
sliding evaluation, from the row of the unadapted run at L.

The difference of two perplexities is averaged over the seeds of a line, and the groups of the text are resampled
together for all of them. At each length the adaptations of a line are tested against one baseline, with Holm's
correction: of m adaptations the one with the k-th smallest p has an interval at the level 1 - 0.05 / (m - k + 1).

Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6 (1979).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from alibi.analysis.line import Line, Run
from alibi.analysis.result_set import ResultSet
from alibi.analysis.statistics import LEVEL, Difference, interval
from alibi.results import Result

TRUNCATION = "truncation"
BASELINES = ("truncation", "the method itself")
Row = tuple[Result, int]  # a result and one of its lengths


@dataclass(frozen=True)
class Judged:
    """An adapted line against a baseline: by length the ratio of perplexities, with its corrected interval."""

    line: Line
    lengths: dict[int, Difference]


def judged(part: ResultSet, baseline: str) -> list[Judged]:
    """The adapted lines of a set whose runs have that baseline in it, at lengths above the training length.

    Args:
        baseline: one of BASELINES.
    """
    plain = {run.result.checkpoint.sha256: run for run in part.runs if run.result.content.adapt is None}
    truncated = {run.result.checkpoint.sha256: run for run in part.runs if _is_truncation(run.result)}
    found: dict[tuple[str, ...], list[tuple[Line, dict[int, list[tuple[Row, Row]]]]]] = {}
    for line in part.lines:
        if line.first.content.adapt is None or _is_truncation(line.first):
            continue
        pairs = {n: _pairs(line.runs, n, plain, truncated if baseline == TRUNCATION else None) for n in line.lengths}
        if pairs := {n: own for n, own in pairs.items() if own}:
            weights = tuple(run.result.checkpoint.sha256 for run in line.runs)
            found.setdefault(weights, []).append((line, pairs))
    return [one for lines in found.values() for one in _corrected(part, lines)]


def _is_truncation(result: Result) -> bool:
    return result.content.adapt is not None and result.content.adapt.name == TRUNCATION


def _pairs(
    runs: Sequence[Run], length: int, plain: dict[str, Run], truncated: dict[str, Run] | None
) -> list[tuple[Row, Row]] | None:
    """Each run's row with that of its baseline; None where one of them lacks a baseline, or at the training length."""
    pairs = []
    for run in runs:
        weights, at = run.result.checkpoint, length
        base = (plain if truncated is None else truncated).get(weights.sha256)
        if base is None and (base := plain.get(weights.sha256)) and run.result.measured.protocol != "nonoverlapping":
            at = weights.seq_len
        elif base is None or (truncated is not None and not _is_truncation(base.result)):
            return None
        if length <= (weights.seq_len or length) or at not in base.result.scored:
            return None
        pairs.append(((run.result, length), (base.result, at)))
    return pairs


def _corrected(part: ResultSet, lines: list[tuple[Line, dict[int, list[tuple[Row, Row]]]]]) -> list[Judged]:
    """The lines that adapt the same weights, each difference with its corrected interval."""
    found: list[dict[int, Difference]] = [{} for _ in lines]
    for length in sorted({n for _, pairs in lines for n in pairs}):
        gaps = [_gap(part, pairs[length]) if length in pairs else None for _, pairs in lines]
        drawn = [number for number, gap in enumerate(gaps) if gap and gap[1] is not None]
        by_p = sorted(drawn, key=lambda number: _p_value(*gaps[number], part.draws.num_groups))
        for number, gap in enumerate(gaps):
            if gap is not None:
                mean, draws = gap
                level = 1 - (1 - LEVEL) / (len(by_p) - by_p.index(number)) if number in by_p else LEVEL
                bounds = None if draws is None else interval(draws, part.draws.num_groups, level)
                found[number][length] = Difference(math.exp(mean), True, bounds and [math.exp(one) for one in bounds])
    return [Judged(line, lengths) for (line, _), lengths in zip(lines, found, strict=True)]


def _gap(part: ResultSet, pairs: list[tuple[Row, Row]]) -> tuple[float, np.ndarray | None]:
    """The mean over seeds of the difference in nats per token, and the same of each resample of the text."""
    mean = float(np.mean([_nats(a) - _nats(b) for a, b in pairs]))
    sums, keys = part.draws.sums, [(id(result), n) for pair in pairs for result, n in pair]
    if any(key not in sums for key in keys):
        return mean, None
    drawn = [sums[key] / sums[key[0], "tokens"] for key in keys]
    return mean, np.mean([a - b for a, b in zip(drawn[::2], drawn[1::2], strict=True)], axis=0)


def _nats(row: Row) -> float:
    result, length = row
    return result.scored[length]["nll_nats"] / result.data.tokens


def _p_value(mean: float, draws: np.ndarray, num_groups: int) -> float:
    """Two-sided, by Student's t with the standard error of the bootstrap."""
    error = float(draws.std(ddof=1))
    return float(2 * stats.t.sf(abs(mean) / error, num_groups - 1)) if error else float(mean == 0)

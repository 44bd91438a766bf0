"""What the context is used for: the measures of result files over the seeds of a line, with intervals over articles.

Of the context sample, L being the training length:

    content    true - swapped at n: what the content beyond L gives; below zero it helps
    length     swapped at n - true at L: what a longer window does, whatever is in it
    used       the least n whose nats are within MARGIN of the best

Of copies: the gain, the nats without the copy minus those behind it. Of repeats, by distance: the nats of those whose
earlier occurrence is in the window, and of the same bucket the nats of those that cannot see it in windows of L.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alibi.analysis.curves import is_sliding
from alibi.analysis.line import Line, Run
from alibi.analysis.result_set import ResultSet
from alibi.analysis.statistics import interval, resampled_sums
from alibi.results.parts import Part
from alibi.results.schema import OF_HEAD, Sample

MARGIN = 0.01  # nats per token
LEAST_GAIN = 0.3  # nats per token of a copy at L; of a model that gains less, farther copies say nothing


@dataclass(frozen=True)
class Mean:
    """Nats per token, or a difference of two, the mean over seeds; the interval is over articles."""

    value: float
    interval: list[float] | None


@dataclass(frozen=True)
class ContextUse:
    """
    Attributes:
        true, swapped, masked: by n.
        content, length: by n above the training length.
        used: tokens, by running on the last n of them; used_masked: by masking all others, None where that cannot be or
            says nothing beyond the training length.
    """

    line: Line
    true: dict[int, Mean]
    swapped: dict[int, Mean]
    masked: dict[int, Mean]
    content: dict[int, Mean]
    length: dict[int, Mean]
    used: int
    used_masked: int | None


@dataclass(frozen=True)
class CopyGain:
    """`gain` by distance; without power, it says nothing of positions. None: it was not measured at L."""

    line: Line
    gain: dict[int, Mean]
    has_power: bool | None


@dataclass(frozen=True)
class RepeatNats:
    """By the end of a bucket of distances.

    Attributes:
        targets: how many.
        nats: per token.
        hidden_more: nats of the bucket in windows of the training length, which hide all of it, minus `nats`. The same
            targets where the rows are sliding.
    """

    line: Line
    length: int
    targets: dict[int, int]
    nats: dict[int, Mean]
    hidden_more: dict[int, float]


def context_use(part: ResultSet) -> list[ContextUse]:
    """Of every line whose runs all have the sample."""
    found = []
    for line, at, sample in _measured(part, "context", "n"):
        trained, lengths = line.first.checkpoint.seq_len, sorted(at[0])
        sums = {
            kind: {
                n: [np.array(part) for part in parts]
                for n in lengths
                if None not in (parts := [getattr(seed[n], f"{kind}group_nats") for seed in at])
            }
            for kind in ("", "swapped_", "masked_")
        }
        means = {kind: {n: _mean(nats, sample) for n, nats in of.items()} for kind, of in sums.items()}
        true, swapped, masked = sums[""], sums["swapped_"], means["masked_"]
        far = [n for n in lengths if n > trained]
        content = {n: _mean(_minus(true[n], swapped[n]), sample) for n in far}
        length = {n: _mean(_minus(swapped[n], true[trained]), sample) for n in far if trained in true}
        used_masked = _used(masked) if masked.keys() == set(lengths) else None
        used = _used(means[""]), used_masked
        found.append(ContextUse(line, means[""], means["swapped_"], masked, content, length, *used))
    return found


def copy_gain(part: ResultSet) -> list[CopyGain]:
    """Of every line whose runs all have copies."""
    found = []
    for line, at, sample in _measured(part, "copied", "distance"):
        gain = {}
        for distance in sorted(at[0]):
            own = [seed[distance] for seed in at]
            pairs = [np.subtract(point.without_group_nats, point.group_nats) for point in own]
            gain[distance] = _mean(pairs, sample)
        at_trained = gain.get(line.first.checkpoint.seq_len)
        found.append(CopyGain(line, gain, at_trained and at_trained.value >= LEAST_GAIN))
    return found


def repeat_nats(part: ResultSet) -> list[RepeatNats]:
    """Of every line whose runs all have repeats, at the longest length at which they have."""
    found = []
    for line in part.lines:
        rows = [{n: row["repeats"] for n, row in run.result.scored.items() if "repeats" in row} for run in line.runs]
        if not (shared := set.intersection(*map(set, rows))):
            continue
        length, trained = max(shared), line.first.checkpoint.seq_len
        own = [row[length] for row in rows]
        ends = own[0]["edges"][1:]
        targets = dict(zip(ends, own[0]["targets"], strict=True))
        nats, hidden_more = {}, {}
        for bucket, end in enumerate(ends):
            if not targets[end]:
                continue
            sizes = np.array(own[0]["group_targets"][bucket])
            nats[end] = _mean([np.array(one["group_nats"][bucket]) for one in own], sizes)
            hidden = [row.get(trained) for row in rows]
            if end > trained and all(one and one["hidden_targets"][bucket] for one in hidden):
                before = [one["hidden_nll_nats"][bucket] / one["hidden_targets"][bucket] for one in hidden]
                hidden_more[end] = float(np.mean(before)) - nats[end].value
        found.append(RepeatNats(line, length, targets, nats, hidden_more))
    return found


def _measured(part: ResultSet, field: str, by: str) -> list[tuple[Line, list[dict[int, Part]], np.ndarray]]:
    """Lines whose runs all have a measure of the same segments.

    Returns:
        Of each line: for every run its points, by what all of them have; and the targets of each article.
    """
    found, sample_field = [], OF_HEAD["copy" if field == "copied" else field][1]
    for line in part.lines:
        contents = [run.result.content for run in line.runs]
        samples: list[Sample | None] = [getattr(content, sample_field) for content in contents]
        if None in samples or len({one.sha256 for one in samples}) > 1 or line.first.checkpoint.seq_len is None:
            continue
        points = [{getattr(point, by): point for point in getattr(content, field)} for content in contents]
        if shared := set.intersection(*map(set, points)):
            at = [{place: own[place] for place in shared} for own in points]
            found.append((line, at, np.array(samples[0].group_targets)))
    return found


def _minus(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [own - other for own, other in zip(a, b, strict=True)]


def _mean(group_nats: Sequence[np.ndarray], group_targets: np.ndarray) -> Mean:
    """Nats per token, the mean over seeds, and over articles its interval: all seeds on the same resamples."""
    nats_G = np.mean(group_nats, axis=0)
    nats, targets = resampled_sums(np.column_stack([nats_G, group_targets])).T
    with np.errstate(invalid="ignore", divide="ignore"):
        bounds = interval(nats / targets, np.count_nonzero(group_targets))
    return Mean(float(nats_G.sum() / group_targets.sum()), bounds)


def _used(means: dict[int, Mean]) -> int:
    best = min(mean.value for mean in means.values())
    return min(n for n, mean in means.items() if mean.value <= best + MARGIN)


def against_training(part: ResultSet) -> dict[str, list[tuple[Run, int, float]]]:
    """By run folder with several checkpoints: (run, tokens trained on, nats at the furthest minus at L, equal context).

    The furthest that all checkpoints of the folder have, all by the same context sample, or all by sliding rows.
    """
    folders: dict[tuple[str, str], list[tuple[Run, dict[int, float]]]] = defaultdict(list)
    for run in part.runs:
        by, nats = _equal_context(run)
        if (
            run.result.checkpoint.seq_len in nats
            and run.result.trained_tokens is not None
            and not run.result.adaptation
        ):
            folders[str(run.result.folder), by].append((run, nats))
    found = {}
    for (folder, _), own in folders.items():
        trained = own[0][0].result.checkpoint.seq_len
        furthest = max(set.intersection(*(set(nats) for _, nats in own)))
        if len(own) > 1 and furthest > trained:
            rises = [(run, run.result.trained_tokens, nats[furthest] - nats[trained]) for run, nats in own]
            found[folder] = sorted(rises, key=lambda one: one[1])
    return found


def _equal_context(run: Run) -> tuple[str, dict[int, float]]:
    """How it was measured, and nats per token by length, the same targets with as much context as a length can give."""
    content = run.result.content
    if content.context:
        return content.context_sample.sha256, {point.n: point.nll_nats / point.targets for point in content.context}
    if content.checkpoint.seq_len and is_sliding(run.result.rows.values(), content.checkpoint.seq_len):
        return "sliding", {n: row["nll_nats"] / content.data.tokens for n, row in run.result.scored.items()}
    return "", {}

"""Segments of a text that far context is measured on: the same for every method with this tokenizer.

A segment is TARGETS targets that have enough of their own article before them. Candidates lie on a grid from where the
article has enough tokens; those with the smallest hashes are taken, so that they are spread over the text and nobody
chooses them.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alibi.data import TokenFile
from alibi.evaluation.score import Scorer, out_of_memory
from alibi.processes import Processes

SEGMENTS, TARGETS = 240, 16


@dataclass(frozen=True)
class Segments:
    """
    Attributes:
        first_S: first target of each segment, in text order.
        article_S: number of its article, among those that have a segment.
        other_S: first token of another article, which is at least as long as what is before a segment.
        sha256: of the text's ids and of all the above.
    """

    first_S: np.ndarray
    article_S: np.ndarray
    other_S: np.ndarray
    sha256: str

    @property
    def group_targets(self) -> np.ndarray:
        """Targets of each article that has a segment."""
        return TARGETS * np.bincount(self.article_S)

    @property
    def targets(self) -> int:
        return TARGETS * len(self.first_S)

    def in_file(self, reach: int, made_with: dict) -> dict:
        """What a result file says of them."""
        about = {
            "segments": len(self.first_S),
            "reach": reach,
            "group_targets": self.group_targets.tolist(),
            "sha256": self.sha256,
        }
        return about | {"made_with": made_with}

    def by_article(self, nats_S: np.ndarray) -> list[float]:
        return np.bincount(self.article_S, nats_S).tolist()


def choose_segments(tokens: TokenFile, reach: int, lead: int = 0, least: int = TARGETS) -> Segments:
    """
    Args:
        reach, lead: a segment needs `reach` + `lead` tokens of its own article before it, and another article as many.
        least: the smallest reach that would do.

    Raises:
        ValueError: there are fewer than SEGMENTS; how many, and up to which smaller reach there are enough.
    """
    before = reach + lead
    stops = tokens.document_ends()
    starts = np.append(0, stops[:-1])
    candidates, article = _candidates(starts, stops, before)
    long_enough = np.flatnonzero(stops - starts >= before)
    if not _enough(starts, stops, before):
        raise ValueError(_too_few(starts, stops, reach, lead, least))
    ids = tokens.ids_sha256()
    order = sorted(range(len(candidates)), key=lambda place: _hash(ids, candidates[place]))
    taken = np.sort(order[:SEGMENTS])
    first_S, own_S = candidates[taken], article[taken]
    others = [long_enough[long_enough != own] for own in own_S]
    other_S = np.array(
        [starts[some[_hash(ids, first, "other") % len(some)]] for first, some in zip(first_S, others, strict=True)]
    )
    article_S = np.unique(own_S, return_inverse=True)[1]
    digest = hashlib.sha256(ids.encode() + np.stack([first_S, article_S, other_S]).astype("<i8").tobytes())
    return Segments(first_S, article_S, other_S, digest.hexdigest())


def _candidates(starts: np.ndarray, stops: np.ndarray, before: int) -> tuple[np.ndarray, np.ndarray]:
    """First targets of all possible segments, and the article of each."""
    counts = np.maximum(0, (stops - starts - before) // TARGETS)
    article = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return starts[article] + before + TARGETS * within, article


def _enough(starts: np.ndarray, stops: np.ndarray, before: int) -> bool:
    return len(_candidates(starts, stops, before)[0]) >= SEGMENTS and (stops - starts >= before).sum() >= 2


def _too_few(starts: np.ndarray, stops: np.ndarray, reach: int, lead: int, least: int) -> str:
    before = reach + lead
    number, long_enough = len(_candidates(starts, stops, before)[0]), int((stops - starts >= before).sum())
    has = f"{number:,} segments of {TARGETS} targets with {before:,} tokens of their own article before them"
    articles = f"{long_enough:,} of its {len(starts):,} articles as long as that"
    rule = f"{SEGMENTS} such segments are needed, and two such articles"
    possible = range(least, reach)
    fits = bisect_left(possible, True, key=lambda n: not _enough(starts, stops, n + lead))
    remedy = (
        f"With eval.reach={possible[fits - 1]} there are enough" if fits else "Choose a text of more or longer articles"
    )
    return f"the text has {has}, and {articles}; {rule}. {remedy}."


def _hash(*what: object) -> int:
    return int.from_bytes(hashlib.sha256(":".join(map(str, what)).encode()).digest()[:8], "big")


class NotScored(Exception):
    """Segments that could not be scored, with the reason, in every process."""


@contextmanager
def left_out(what: str, procs: Processes) -> Iterator[None]:
    """Go on without what could not be scored, and say why."""
    try:
        yield
    except NotScored as reason:
        procs.say(f"{what}: {reason}; left out")


@torch.inference_mode()
def score_segments(
    inputs_of: Callable[[int], np.ndarray],
    tokens: TokenFile,
    segments: Segments,
    scorer: Scorer,
    batch_tokens: int,
    procs: Processes,
) -> np.ndarray:
    """(S,) float64: nats of each segment behind inputs of one length, in every process.

    Args:
        inputs_of: (first target of a segment's place in `segments`) -> its inputs, the last TARGETS of which predict.

    Raises:
        NotScored: out of memory, or nats that are not a number.
    """
    length = len(inputs_of(0))
    rank, number = procs.share
    nats_S, failure = np.zeros(len(segments.first_S)), None
    batches = list(_batches(len(nats_S), max(1, batch_tokens // length)))
    try:
        for places in batches[rank::number]:
            inputs = torch.from_numpy(np.stack([inputs_of(place) for place in places])).to(procs.device)
            firsts = segments.first_S[places]
            targets = torch.from_numpy(np.stack([tokens.targets(first, first + TARGETS) for first in firsts]))
            nats_BS: Tensor = scorer(inputs, targets.to(procs.device), length - TARGETS)
            nats_S[places] = nats_BS.double().sum(1).cpu().numpy()
    except (MemoryError, RuntimeError) as error:
        failure = out_of_memory(error)
    failures, parts = zip(*procs.gather((failure, nats_S)), strict=True)
    nats_S = sum(parts)
    if any(failures) or not np.isfinite(nats_S).all():
        raise NotScored(next(filter(None, failures), "nats are not a number"))
    return nats_S


def _batches(number: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, number, size):
        yield np.arange(start, min(start + size, number))

"""Repeats: targets whose bigram occurred before in their article, by the distance to its last occurrence.

Target t is a repeat at distance d if tokens t - 1 and t are also tokens t - d - 1 and t - d, no later occurrence being
nearer. Counted are bigrams that are rare in training: of all repeats most are of the commonest pairs, which a model
predicts without looking back. `<unk>` is left out, since it stands for different words.

Source: the associative recall hits of Arora et al., "Zoology", arXiv 2312.04927; by distance, and within an article.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from alibi.data import TokenFile, Tokenizer, Window
from alibi.evaluation.sums import Groups

MOST_IN_TRAINING = 20
FURTHEST = 8  # times the training length
UNKNOWN = "<unk>"
CHUNK = 2**24  # tokens of the training text counted at once


def repeat_distances(tokens: TokenFile, train: TokenFile, tokenizer: Tokenizer) -> np.ndarray:
    """(N,) int64: distance of each target to the last occurrence of its bigram; 0 where it is no counted repeat."""
    ids = tokens.targets(0, len(tokens))
    article = np.searchsorted(tokens.document_ends(), np.arange(len(ids)), side="right")
    bigrams = ids[:-1] * tokens.tokenizer["vocab_size"] + ids[1:]
    inside = article[:-1] == article[1:]
    order = np.lexsort((np.arange(len(bigrams)), bigrams, article[1:]))
    same = (bigrams[order][1:] == bigrams[order][:-1]) & (article[1:][order][1:] == article[1:][order][:-1])
    same &= inside[order][1:] & inside[order][:-1]
    distances = np.zeros(len(ids), np.int64)
    distances[order[1:][same] + 1] = np.diff(order)[same]
    distances[_around(ids, tokenizer)] = 0
    repeats = np.flatnonzero(distances)
    often = _counts(train, bigrams[repeats - 1]) > MOST_IN_TRAINING
    distances[repeats[often]] = 0
    return distances


def _counts(train: TokenFile, wanted: np.ndarray) -> np.ndarray:
    """How often each of these bigrams occurs in the training text."""
    known, place = np.unique(wanted, return_inverse=True)
    counts = np.zeros(len(known) + 1, np.int64)  # the last one of all others
    padded = np.append(known, -1)
    for start in range(1, len(train), CHUNK):
        ids = train.targets(start - 1, min(start + CHUNK, len(train)))
        bigrams = ids[:-1] * train.tokenizer["vocab_size"] + ids[1:]
        found = np.searchsorted(known, bigrams)
        found[padded[found] != bigrams] = len(known)
        counts += np.bincount(found, minlength=len(counts))
    return counts[place]


def _around(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Which targets belong to `<unk>`, or come right after one."""
    inside = np.zeros(len(ids), bool)
    for form in (UNKNOWN, f" {UNKNOWN}"):
        wanted = np.array(tokenizer.encode([form])[0])
        if not len(wanted) or len(wanted) > len(ids):
            continue
        found = np.flatnonzero((np.lib.stride_tricks.sliding_window_view(ids, len(wanted)) == wanted).all(1))
        for offset in range(len(wanted)):
            inside[found + offset] = True
    inside[1:] |= inside[:-1].copy()
    return inside


def edges_of(trained: int) -> list[int]:
    """Ends of the buckets of distances: 0, L/4, L/2, L, 2L, 4L, 8L."""
    return sorted({0, *(max(1, round(trained * times)) for times in (0.25, 0.5, 1, 2, 4, FURTHEST))})


class RepeatSums:
    """Accumulator: nats of repeats by distance and group, of those whose earlier occurrence is in the window.

    Args:
        distances_N: as repeat_distances gives them.
    """

    def __init__(self, distances_N: np.ndarray, trained: int, groups: Groups) -> None:
        self.edges, self.distances_N = edges_of(trained), distances_N
        self.ends = np.cumsum(groups.sizes[:, 0])
        self.sums = np.zeros((2, 2, len(self.edges) - 1, len(self.ends)))  # hidden or seen; targets or nats

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None:
        targets = np.concatenate([np.arange(window.first, window.stop) for window in windows])
        inputs, unscored = windows[0].shape
        context = np.tile(np.arange(unscored + 1, inputs + 1), len(windows))
        distance = self.distances_N[targets]
        counted = (distance > 0) & (distance <= self.edges[-1])
        nats = nats_BS.double().cpu().numpy().ravel()[counted]
        targets, distance = targets[counted], distance[counted]
        seen = (distance < context[counted]).astype(int)  # the bigram's first token is an input too
        bucket = np.searchsorted(self.edges, distance) - 1
        group = np.searchsorted(self.ends, targets, side="right")
        np.add.at(self.sums, (seen, 0, bucket, group), 1)
        np.add.at(self.sums, (seen, 1, bucket, group), nats)

    @staticmethod
    def row(parts: Sequence["RepeatSums"]) -> dict:
        """The entry of a row."""
        (hidden, hidden_nats), (seen, nats) = sum(part.sums for part in parts)
        return {
            "repeats": {
                "edges": parts[0].edges,
                "targets": seen.sum(1).astype(int).tolist(),
                "nll_nats": nats.sum(1).tolist(),
                "group_targets": seen.astype(int).tolist(),
                "group_nats": nats.tolist(),
                "hidden_targets": hidden.sum(1).astype(int).tolist(),
                "hidden_nll_nats": hidden_nats.sum(1).tolist(),
            }
        }

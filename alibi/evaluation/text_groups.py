"""The units of a text that the bootstrap resamples: its documents, or blocks of whole lines if it has too few.

Targets of one article are not independent draws; articles are. The groups depend on the lines of the text alone, so
they are the same at every length, for every run and for every tokenizer.
"""

from dataclasses import dataclass

import numpy as np

from alibi.data import TokenFile

# Fewer documents do not show how much they vary.
MIN_DOCUMENTS = 10
# More would only lengthen every row of a result file: neighbouring documents share a group.
MAX_GROUPS = 1000
# Least size of a block. A word is at least one token, whatever the tokenizer.
BLOCK_WORDS = 4096


@dataclass(frozen=True)
class Groups:
    """
    Attributes:
        kind: documents or blocks.
        sizes: (G, 3) int64: tokens, words and bytes of each group, in text order.
    """

    kind: str
    sizes: np.ndarray


def text_groups(tokens: TokenFile) -> Groups:
    """The groups of a text, or of the part of it that is scored."""
    sizes, starts = tokens.line_sizes(), tokens.document_lines()
    kind = "documents" if len(starts) >= MIN_DOCUMENTS else "blocks"
    if kind == "blocks":
        starts = _block_starts(sizes[:, 1])
    starts = starts[:: -(-len(starts) // MAX_GROUPS)].copy()
    starts[0] = 0  # lines before the first heading belong to the first document
    return Groups(kind, np.add.reduceat(sizes, starts, axis=0, dtype=np.int64))


def _block_starts(words: np.ndarray) -> np.ndarray:
    """First lines of blocks of at least BLOCK_WORDS words; a shorter rest joins the block before it."""
    before = np.concatenate([[0], np.cumsum(words, dtype=np.int64)])
    starts = [0]
    while True:
        start = int(np.searchsorted(before, before[starts[-1]] + BLOCK_WORDS))
        if start >= len(before) or before[-1] - before[start] < BLOCK_WORDS:
            return np.array(starts)
        starts.append(start)

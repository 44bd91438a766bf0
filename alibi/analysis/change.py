"""Why perplexity changed with the length: longer context, or fewer targets with little context.

n(.) is the nonoverlapping and s(.) the sliding mean of nats per token, on the same targets, L the
training length and L' another length:

    whole            n(L') - n(L)
    longer context   s(L') - s(L)
    early tokens     [n(L') - s(L')] - [n(L) - s(L)]

The two parts add up to the whole. With a stride of at most L / 8, every target of s(.), except at the beginning of the
text, has at least 7/8 of the length as context, so s changes only because the model uses more context. The rest of the
change in n comes from how many targets stand early in a window.

Source: Press et al., arXiv 2108.12409, Appendix B, on the early token curse; the decomposition is ours.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from alibi.analysis.statistics import interval, resampled_sums
from alibi.results import Result, load_result, lock, protocol_name, write_result
from alibi.results.parts import Change, ChangeAt

LARGEST_STRIDE = 8  # the training length divided by this

DEFINITION = {
    "n": "mean nats per token, nonoverlapping",
    "s": "mean nats per token, sliding with the stride, on the same targets",
    "whole": "n(L') - n(L)",
    "longer_context": "s(L') - s(L)",
    "early_tokens": "[n(L') - s(L')] - [n(L) - s(L)]",
}


def add_changes(paths: Sequence[Path], say: Callable[[str], None]) -> None:
    """Write the split into every sliding result of a folder that has a nonoverlapping twin.

    Args:
        paths: results of this evaluation; those of earlier ones beside them are taken in.
        say: prints the reason why there is no split in one of `paths`.
    """
    with lock(paths[0]):
        twins = _twins(load_result(paths[0]))
        plain = _nonoverlapping(twins)
        for sliding in twins if plain else ():
            if sliding is plain:
                continue
            change, reason = split_change(plain, sliding)
            if change:
                write_result(sliding.path, sliding.content.model_copy(update={"change": change}))
            elif sliding.path in paths:
                say(f"{sliding.path.name}: the change with length is not split in two, since {reason}")


def change_again(sliding: Result) -> Change | None:
    """The split of a sliding result, computed again; None where its nonoverlapping twin is gone."""
    plain = _nonoverlapping(_twins(sliding))
    return split_change(plain, sliding)[0] if plain else None


def _nonoverlapping(twins: Sequence[Result]) -> Result | None:
    return next((twin for twin in twins if twin.measured.protocol == protocol_name(None)), None)


def _twins(result: Result) -> list[Result]:
    """The results beside one, itself included, of the same weights, targets and groups, precision and scorer."""
    found = []
    for path in sorted(result.path.parent.glob("*.json")):
        with suppress(ValueError):  # a damaged file is reported when it is asked for
            other = load_result(path)
            same = replace(other.measured, protocol="") == replace(result.measured, protocol="")
            if same and other.content.groups == result.content.groups and other.rows and not other.differs_from(result):
                found.append(other)
    return found


def split_change(nonoverlapping: Result, sliding: Result) -> tuple[Change | None, str | None]:
    """The change against the training length, split in two at every length that both results have.

    Args:
        nonoverlapping, sliding: results of the same weights, text and precision.

    Returns:
        What goes into the sliding result as `change`, and None; or None and the reason why there is no split.
    """
    seq_len, stride = sliding.checkpoint.seq_len, sliding.content.rows[0].stride
    if seq_len is None:
        return None, "the training length is unknown"
    every = nonoverlapping.rows, sliding.rows
    n, s = ({length: row for length, row in rows.items() if "group_nats" in row} for rows in every)
    if stride * LARGEST_STRIDE > seq_len:
        remedy = f"use eval.stride=[null,{max(1, seq_len // LARGEST_STRIDE)}]"
        return None, f"stride {stride} is above an eighth of the training length {seq_len}; {remedy}"
    if seq_len not in n or seq_len not in s:
        return None, f"the training length {seq_len} was not evaluated by both protocols; add it to eval.lengths"
    tokens = np.array(sliding.content.groups.tokens, np.float64)

    def at(length: int) -> ChangeAt:
        nats = [np.array(rows[place]["group_nats"]) for place in (seq_len, length) for rows in (n, s)]
        columns = np.column_stack([*nats, tokens])
        exact, drawn = _split(columns.sum(0)), _split(resampled_sums(columns))
        parts = {name: float(value) for name, value in exact.items()}
        intervals = {name: interval(value, len(tokens)) for name, value in drawn.items()}
        return ChangeAt(length=length, **parts, interval=intervals)

    lengths = [at(length) for length in sorted(n.keys() & s.keys())]
    return Change(against=seq_len, stride=stride, definition=DEFINITION, lengths=lengths), None


def _split(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of the change, from sums over the text: n(L), s(L), n(L'), s(L') and the number of tokens."""
    n_L, s_L, n_M, s_M = (sums[..., :4] / sums[..., 4:]).T
    whole, longer = n_M - n_L, s_M - s_L
    return {"whole": whole, "longer_context": longer, "early_tokens": whole - longer}

"""Why perplexity changed with the length: longer context, or fewer targets with little context.

n(.) is the nonoverlapping and s(.) the sliding mean of nats per token, on the same targets, L the
training length and L' another length:

    whole            n(L') - n(L)
    longer context   s(L') - s(L)
    early tokens     [n(L') - s(L')] - [n(L) - s(L)]

The two parts add up to the whole. With a stride of at most L / 8 every target of s(.), but for those
at the text's beginning, has at least 7/8 of the length before it, so that s changes for one reason
only: what the model makes of more context. What is left of the change in n is owed to how many
targets stand early in a window.

Source: Press et al., arXiv 2108.12409, Appendix B, on the early token curse; the sum is ours.
"""

import numpy as np

from alibi.analysis.statistics import interval, resampled_sums

LARGEST_STRIDE = 8  # as a part of the training length

DEFINITION = {
    "n": "mean nats per token, nonoverlapping",
    "s": "mean nats per token, sliding with the stride, on the same targets",
    "whole": "n(L') - n(L)",
    "longer_context": "s(L') - s(L)",
    "early_tokens": "[n(L') - s(L')] - [n(L) - s(L)]",
}


def split_change(nonoverlapping: dict, sliding: dict) -> tuple[dict | None, str | None]:
    """The change against the training length, split in two at every length that both results have.

    Args:
        nonoverlapping, sliding: result files of the same weights, text and precision.

    Returns:
        What goes into the sliding result as `change`, and None; or None and the reason why there is no
        split: a stride above an eighth of the training length, or no row at that length.
    """
    seq_len, stride = sliding["checkpoint"]["seq_len"], sliding["rows"][0]["stride"]
    if seq_len is None:
        return None, "the change with length is not split in two, since nothing says at which length it was trained"
    n, s = (
        {row["length"]: row for row in result["rows"] if "group_nats" in row} for result in (nonoverlapping, sliding)
    )
    if stride * LARGEST_STRIDE > seq_len:
        return None, (
            f"the change with length is not split in two, since stride {stride} is above an eighth of the training "
            f"length {seq_len}; use eval.stride=[null,{max(1, seq_len // LARGEST_STRIDE)}]"
        )
    if seq_len not in n or seq_len not in s:
        return None, (
            f"the change with length is not split in two, since the training length {seq_len} was not evaluated by "
            "both protocols; add it to eval.lengths"
        )
    tokens = np.array(sliding["groups"]["tokens"], np.float64)

    def parts_at(length: int) -> dict:
        nats = [np.array(rows[at]["group_nats"]) for at in (seq_len, length) for rows in (n, s)]
        columns = np.column_stack([*nats, tokens])

        def split(sums: np.ndarray) -> dict[str, np.ndarray]:
            n_L, s_L, n_M, s_M = (sums[..., :4] / sums[..., 4:]).T
            whole, longer = n_M - n_L, s_M - s_L
            return {"whole": whole, "longer_context": longer, "early_tokens": whole - longer}

        exact, drawn = split(columns.sum(0)), split(resampled_sums(columns))
        return {
            "length": length,
            **{name: float(value) for name, value in exact.items()},
            "interval": {name: interval(value, len(tokens)) for name, value in drawn.items()},
        }

    return {
        "against": seq_len,
        "stride": stride,
        "definition": DEFINITION,
        "lengths": [parts_at(length) for length in sorted(n.keys() & s.keys())],
    }, None

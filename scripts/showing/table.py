"""What the figures show, in numbers: a row for each head, or for heads that are the same."""

import math

from tabulate import tabulate

from showing.attention import AttentionByDistance
from showing.draw import Shown, heads_label


def table(shown: Shown) -> str:
    """The bias at up to three distances; of a run how far each head looks, beside uniform attention.

    Empty where there is neither.
    """
    num_heads, columns = len(shown.bias_HN), {}
    if (shown.bias_HN != 0).any():
        for distance in sorted({1, shown.seq_len // 2, shown.length - 1} & {*range(1, shown.length)}):
            values = shown.bias_HN[:, distance].tolist()
            columns[f"bias at {distance:,}"] = ["hidden" if v == -math.inf else f"{v:.4g}" for v in values] + [""]
    if shown.attention is not None:
        both = shown.attention, AttentionByDistance.uniform(shown.length)
        columns |= {
            "mean distance": [f"{value:.1f}" for one in both for value in one.mean_distance().tolist()],
            f"share within {shown.seq_len:,}": [
                f"{v:.1%}" for one in both for v in one.share_within(shown.seq_len).tolist()
            ],
            "entropy, nats": [f"{value:.2f}" for one in both for value in one.entropy_H.tolist()],
        }
    if not columns:
        return ""
    by_cells: dict[tuple[str, ...], list[int]] = {}
    *of_heads, uniform = zip(*columns.values(), strict=True)
    for head, cells in enumerate(of_heads):
        by_cells.setdefault(cells, []).append(head)
    rows = [[heads_label(heads, num_heads), *cells] for cells, heads in by_cells.items()]
    rows += [["uniform over all keys", *uniform]] if shown.attention is not None else []
    alignment = ["left", *["right"] * len(columns)]
    return tabulate(rows, ["", *columns], "simple", colalign=alignment, disable_numparse=True)

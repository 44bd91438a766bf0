"""The table of adapted lines against a baseline."""

from alibi.analysis import ResultSet
from alibi.analysis.judged import TRUNCATION, judged
from alibi.reporting.table import Table, by_length, difference_cell


def adapted_rows(part: ResultSet, baseline: str) -> Table:
    """Each adapted line against truncation, or against the method itself, the mean over its seeds.

    Args:
        baseline: one of `judged.BASELINES`.
    """
    rows = []
    for one in judged(part, baseline):
        seeds = f", {len(one.line.runs)} seeds" if len(one.line.runs) > 1 else ""
        rows.append([(f"{one.line.label}{seeds}", ""), *(difference_cell(one.lengths.get(n)) for n in part.lengths)])
    note = (
        f"Perplexity per token on the same targets, paired on the text. Below zero: better than {baseline}. Intervals "
        "have Holm's correction over the adaptations of a line at each length."
    )
    if rows and baseline != TRUNCATION and not judged(part, TRUNCATION):
        note += " Nothing here is set against truncation: add it, as eval.adapt=[null,truncation,...]."
    kind = "adapted-" + baseline.rpartition(" ")[2]
    return by_length(kind, f"Adapted, against {baseline}", part, "perplexity", ["adapted line"], rows, note)

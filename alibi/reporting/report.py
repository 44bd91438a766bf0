"""A whole report: page, figures and tables in one folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from alibi.reporting.figure import draw_metric
from alibi.reporting.figure_more import context_lengths, draw_context, draw_cost, draw_split, draw_training
from alibi.reporting.page import render_page
from alibi.reporting.study import Study, join
from alibi.reporting.table_files import write_tables
from alibi.results.result import Result


def write_report(results: Sequence[Result], comparison: Mapping, folder: Path) -> list[Path]:
    """Write index.html, figures/ and tables/ into `folder`; returns their paths, the page first.

    Args:
        results: the files that the comparison names; more may be given.
        comparison: sets of comparable runs, their pairs, and what was refused.

    Raises:
        ValueError: the comparison is of another schema or names a file that is not given; or the page grows too
            large, and then figures and tables are there.
    """
    study = join(results, comparison)
    index = folder / "index.html"
    # The page last: it alone may grow too large.
    others = [*write_tables(study, folder / "tables"), *draw_figures(study, folder / "figures")]
    index.write_text(render_page(study), encoding="utf-8")
    return [index, *others]


def draw_figures(study: Study, folder: Path) -> list[Path]:
    """The figures of every set, the splits and the training curves; what has no data is not drawn."""
    paths: list[Path] = []
    for part in study.sets:
        # Per token, and per word or byte: the third says the same again.
        for metric in part.metrics[:2]:
            paths += draw_metric(part.lines, metric, folder / f"{metric.replace('_', '-')}-{part.slug}")
        for length in context_lengths([run.result for run in part.runs])[-1:]:
            paths += draw_context(part.lines, length, folder / f"context-{part.slug}-{length}")
        paths += draw_cost(part.lines, folder / f"cost-{part.slug}")
        paths += draw_split(part.changes_by_line, folder / f"two-part-split-{part.slug}")
    return paths + draw_training(study.lines, folder / "training")

"""A whole report: page, figures and tables in one folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alibi.reporting import study_charts
from alibi.reporting.chart import Chart
from alibi.reporting.evaluation_table import second_metric
from alibi.reporting.matplotlib_figures import write_figure
from alibi.reporting.page import render_page
from alibi.reporting.study import ResultSet, Study, join
from alibi.reporting.table_files import write_tables
from alibi.results.result import Result


def write_report(results: Sequence[Result], comparison: Mapping, folder: Path) -> list[Path]:
    """Write index.html, figures/ and tables/ into `folder`; returns their paths, the page first.

    Args:
        results: the files that the comparison names; more may be given.
        comparison: sets of comparable runs, their pairs, and what was refused.

    Raises:
        ValueError: the comparison is of another schema or names a file that is not given; or the page is too large,
            and then figures and tables have been written.
    """
    study = join(results, comparison)
    index = folder / "index.html"
    tables = write_tables(study, folder / "tables")
    figures = [path for chart in paper_charts(study) for path in write_figure(chart, folder / "figures")]
    index.write_text(render_page(study), encoding="utf-8")
    return [index, *tables, *figures]


def paper_charts(study: Study) -> list[Chart]:
    """The charts that a report writes as files: of every set, and the training curves."""
    charts, looks = [], study.looks
    for part in study.sets:
        # Per token, and per word or byte; a third unit would add nothing.
        charts += [study_charts.perplexity_chart(part, looks, metric) for metric in part.metrics[:2]]
        charts += [study_charts.context_chart(part, looks, n) for n in study_charts.context_lengths(part)[-1:]]
        charts += [study_charts.cost_chart(part, looks), study_charts.split_chart(part, looks)]
    return [*charts, study_charts.training_chart(study)]


def draw_perplexity(study: Study, part: ResultSet, folder: Path) -> list[Path]:
    """Write perplexity-WHAT-WAS-MEASURED.png, .svg and .pdf into `folder`; returns their paths, none without a number.

    Runs of different tokenizers are drawn in the unit that they share, words or bytes.
    """
    metric = "perplexity" if "perplexity" in part.content["metrics"] else second_metric([r.result for r in part.runs])
    chart = study_charts.perplexity_chart(part, study.looks, metric)
    return write_figure(replace(chart, stem=f"perplexity-{part.slug}"), folder)

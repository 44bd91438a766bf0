"""A whole report: page, figures and tables in one folder."""

from dataclasses import replace
from pathlib import Path

from alibi.analysis import Comparison, ResultSet
from alibi.reporting import study_charts
from alibi.reporting.chart import Chart
from alibi.reporting.looks import looks_of
from alibi.reporting.matplotlib_figures import write_figure
from alibi.reporting.page import render_page
from alibi.reporting.table_files import write_tables


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write index.html, figures/ and tables/ into `folder`; returns their paths, the page first.

    Raises:
        ValueError: the page is too large; figures and tables have been written by then.
    """
    index = folder / "index.html"
    tables = write_tables(comparison, folder / "tables")
    figures = [path for chart in paper_charts(comparison) for path in write_figure(chart, folder / "figures")]
    index.write_text(render_page(comparison), encoding="utf-8")
    return [index, *tables, *figures]


def paper_charts(comparison: Comparison) -> list[Chart]:
    """The charts that a report writes as files: of every set, and the training curves."""
    charts, looks = [], looks_of(comparison)
    for part in comparison.sets:
        # Per token, and per word or byte; a third unit would add nothing.
        charts += [study_charts.perplexity_chart(part, looks, metric) for metric in part.metrics[:2]]
        charts += [study_charts.context_chart(part, looks, n) for n in study_charts.context_lengths(part)[-1:]]
        charts += [study_charts.cost_chart(part, looks), study_charts.split_chart(part, looks)]
    return [*charts, study_charts.training_chart(comparison)]


def draw_perplexity(comparison: Comparison, part: ResultSet, folder: Path) -> list[Path]:
    """Write perplexity-WHAT-WAS-MEASURED.png, .svg and .pdf into `folder`; returns their paths, none without a number.

    Runs of different tokenizers are drawn in the unit that they share, words or bytes.
    """
    metric = "perplexity" if "perplexity" in part.comparable else part.shared_metric
    chart = study_charts.perplexity_chart(part, looks_of(comparison), metric)
    return write_figure(replace(chart, stem=f"perplexity-{part.slug}"), folder)

"""Result files into tables, figures and a page. Imports nothing of the project: result files are the interface."""

from alibi.reporting.comparison_text import comparison_text, findings_text, refusals_text
from alibi.reporting.evaluation_table import results_table
from alibi.reporting.report import draw_perplexity, write_report
from alibi.reporting.study import join
from alibi.results.result import Result, load_results

__all__ = [
    "Result",
    "comparison_text",
    "draw_perplexity",
    "findings_text",
    "join",
    "load_results",
    "refusals_text",
    "results_table",
    "write_report",
]

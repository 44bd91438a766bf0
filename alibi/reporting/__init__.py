"""A comparison of result files as tables, figures and a page. Imports results and analysis."""

from alibi.reporting.comparison_text import comparison_text, findings_text, refusals_text
from alibi.reporting.evaluation_table import results_table
from alibi.reporting.report import draw_perplexity, write_report

__all__ = ["comparison_text", "draw_perplexity", "findings_text", "refusals_text", "results_table", "write_report"]

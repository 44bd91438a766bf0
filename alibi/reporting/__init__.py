"""Result files into tables and figures. Imports nothing of the project: result files are the interface."""

from alibi.reporting.figure import draw_perplexity
from alibi.reporting.results import Result, load_results
from alibi.reporting.table import results_table

__all__ = ["Result", "draw_perplexity", "load_results", "results_table"]

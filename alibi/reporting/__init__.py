"""A comparison of result files as tables, figures and a page. Imports results and analysis."""

from alibi.reporting.report_folder import FIGURES, draw_perplexity, write_paper, write_report
from alibi.reporting.study_charts import TOKENS
from alibi.reporting.terminal import comparison_text, findings_text, results_table

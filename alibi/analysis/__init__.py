"""Statistics on result files: intervals, comparison, how far, crossings, the change split in two. Imports results."""

from alibi.analysis.comparison import Comparison, compare, compare_files
from alibi.analysis.line import Line, Run
from alibi.analysis.result_set import ResultSet
from alibi.analysis.statistics import ABOUT_INTERVALS

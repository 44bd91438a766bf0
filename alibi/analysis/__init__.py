"""Statistics on result files: intervals, comparison, how far, crossings, the change split in two. Imports results."""

from alibi.analysis.comparison import Comparison, compare, compare_files
from alibi.analysis.result_set import Line, ResultSet, Run
from alibi.analysis.statistics import ABOUT_INTERVALS

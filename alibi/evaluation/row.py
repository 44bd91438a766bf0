"""One row of a result file: a length scored, with its sums by group and by context."""

import math
import time

import torch

from alibi.analysis.statistics import row_intervals
from alibi.data import TokenFile
from alibi.environment import peak_memory_mib, reset_peak_memory
from alibi.evaluation.evaluation_text import EvaluationText
from alibi.evaluation.score import Scorer, score
from alibi.evaluation.sums import ContextSums, Groups, GroupSums, NatsSum, bits_per_byte, perplexity
from alibi.processes import ALONE, Processes
from alibi.results import exp

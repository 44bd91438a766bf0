"""Evaluation: windows scored into sums and rows of result files. Imports data, model, runs, results and analysis."""

from alibi.evaluation.adapted import fitting
from alibi.evaluation.checkpoint_results import evaluate_checkpoint
from alibi.evaluation.evaluation_settings import EvaluationSettings, in_order
from alibi.evaluation.evaluation_text import count_uncovered, open_evaluation_text
from alibi.evaluation.score import Scorer, fast_batch_tokens, model_scorer, score
from alibi.evaluation.sums import NatsSum, bits_per_byte, perplexity
from alibi.results import said_of_uncovered

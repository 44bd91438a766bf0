"""Evaluation: windows scored into sums, statistics on sums, result files. Imports data, model and runs."""

from alibi.analysis.comparison import compare as compare_results
from alibi.evaluation.evaluate import evaluate_checkpoint, score_checkpoint
from alibi.evaluation.evaluation_settings import EvaluationSettings, in_order
from alibi.evaluation.evaluation_text import (
    EvaluationText,
    count_uncovered,
    is_covered,
    open_evaluation_text,
    said_of_uncovered,
)
from alibi.evaluation.score import Scorer, fast_batch_tokens, model_scorer, score
from alibi.evaluation.sums import Accumulator, NatsSum, bits_per_byte, perplexity
from alibi.results.open_result import OpenResult
from alibi.results.result_json import find_results

__all__ = [
    "Accumulator",
    "EvaluationSettings",
    "EvaluationText",
    "NatsSum",
    "OpenResult",
    "Scorer",
    "bits_per_byte",
    "compare_results",
    "count_uncovered",
    "evaluate_checkpoint",
    "fast_batch_tokens",
    "find_results",
    "in_order",
    "is_covered",
    "model_scorer",
    "open_evaluation_text",
    "perplexity",
    "said_of_uncovered",
    "score",
    "score_checkpoint",
]

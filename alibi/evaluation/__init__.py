"""Evaluation: windows scored into sums, statistics on sums, result files. Imports data, model and runs."""

from alibi.evaluation.evaluate import EvaluationText, evaluate_checkpoint, open_evaluation_text
from alibi.evaluation.score import Scorer, model_scorer, score
from alibi.evaluation.settings import EvaluationSettings, in_order
from alibi.evaluation.sums import Accumulator, NatsSum, bits_per_byte, perplexity

__all__ = [
    "Accumulator",
    "EvaluationSettings",
    "EvaluationText",
    "NatsSum",
    "Scorer",
    "bits_per_byte",
    "evaluate_checkpoint",
    "in_order",
    "model_scorer",
    "open_evaluation_text",
    "perplexity",
    "score",
]

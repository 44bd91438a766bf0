"""What `evaluate.py` and `scripts/report.py` do: here evaluation, analysis, reporting and tracking meet."""

from alibi.commands.compare_runs import compare_runs
from alibi.commands.evaluate_command import EvaluateCommand, OtherText, wanted_models, wanted_texts
from alibi.commands.evaluate_runs import evaluate

__all__ = ["EvaluateCommand", "OtherText", "compare_runs", "evaluate", "wanted_models", "wanted_texts"]

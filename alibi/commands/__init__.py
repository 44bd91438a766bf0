"""What `evaluate.py` does: here evaluation, analysis, reporting and tracking meet."""

from alibi.commands.evaluate_command import EvaluateCommand
from alibi.commands.evaluate_runs import evaluate

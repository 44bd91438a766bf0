"""What `evaluate.py` and `scripts/report.py` do: here evaluation, analysis, reporting and tracking meet."""

from alibi.commands.compare_runs import compare_runs
from alibi.commands.evaluate_command import EvaluateCommand
from alibi.commands.evaluate_runs import evaluate

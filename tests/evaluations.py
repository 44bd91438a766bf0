"""Evaluations in tests: as evaluate.py makes them, from the checkpoint to finished files."""

from pathlib import Path

from alibi import evaluation


def evaluate_checkpoint(*args, **settings) -> list[Path]:
    """The finished result files, one a stride."""
    files = evaluation.evaluate_checkpoint(*args, **settings)
    for file in files:
        file.update(finished=True)
    return [file.path for file in files]

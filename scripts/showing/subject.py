"""Whose position method is shown: a model as it starts, or a trained run and its text.

Legend: W windows, L tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from alibi.config import run_of
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.model import LanguageModel
from alibi.paths import PathsConfig, expanded
from alibi.runs import Checkpoint, resolve_runs

# Of text that attention is averaged over, at least one window.
TEXT_TOKENS, TEXT_WINDOWS = 4096, 32


@dataclass(frozen=True)
class Subject:
    """
    Attributes:
        name: method and state of the parameters, in words.
        seq_len: the training length.
        windows_WL: input ids of the run's text, for a model in float64; None without a run.
    """

    model: LanguageModel
    name: str
    seq_len: int
    windows_WL: Tensor | None = None


def subject_of(settings: Sequence[str], length: int) -> Subject:
    """The model of `runs=RUN`, or of `model=NAME` and other settings of train.py.

    Raises:
        ValueError: neither or both of model= and runs=, or more beside runs=; a bad setting; too short a text.
        FileNotFoundError, ConnectionError: no run, no text.
    """
    runs = [one for one in settings if one.startswith("runs=")]
    others = [one for one in settings if not one.startswith("runs=")]
    if bool(runs) == any(one.startswith("model=") for one in others):
        found = "both model= and runs=" if runs else "neither model= nor runs="
        raise ValueError(f"the settings have {found}; give one of them, model=alibi or runs=outputs/latest.")
    if not runs:
        return initial(settings)
    if others or len(runs) > 1:
        ignored = (others or runs[1:])[0]
        raise ValueError(
            f"{ignored} would be ignored beside {runs[0]}, which names one run and its settings; remove it."
        )
    return trained(runs[0].removeprefix("runs="), length)


def initial(settings: Sequence[str]) -> Subject:
    """The positions of the model that train.py would train, at their initial values.

    Raises:
        ValueError: a bad setting.
    """
    config = run_of(list(settings))
    # Parameters are drawn by name, so the positions have the same values in a model whose other parts are small.
    small = {"adaptive_cutoffs": None, "adaptive_factor": None, "adaptive_dropout": None, "d_ff": 8}
    model = LanguageModel(replace(config.model, **small), vocab_size=1, seed=config.seed)
    return Subject(model, f"{config.model.method}, initial values (seed {config.seed})", config.train.seq_len)


def trained(run: str, length: int) -> Subject:
    """A checkpoint's model, and the first windows of its validation text.

    Raises:
        ValueError: several runs, too short a text.
        FileNotFoundError, ConnectionError: no run, no text.
    """
    paths = resolve_runs(expanded(run), Path("outputs"))
    if len(paths) > 1:
        raise ValueError(f"runs={run} means {len(paths)} checkpoints; name one of them.")
    checkpoint = Checkpoint(paths[0])
    text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), Path(PathsConfig().cache))
    if length > (tokens := len(text.tokens)):
        raise ValueError(f"--length ({length}) is above the {tokens} validation tokens of {run}; use at most {tokens}.")
    number = min(tokens // length, max(1, TEXT_TOKENS // length), TEXT_WINDOWS)
    ids_L = torch.from_numpy(text.tokens.inputs(0, number * length))
    model = checkpoint.load_model().double()
    name = f"{model.config.method}, run {checkpoint.run.name}, step {checkpoint.step:,}"
    return Subject(model, name, checkpoint.config["train"]["seq_len"], ids_L.view(number, length))

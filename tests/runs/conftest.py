"""Saving a tiny run."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from checkpoint_content import MOMENTS, STATE
from omegaconf import OmegaConf

from alibi.data import DataConfig, TokenizerConfig
from alibi.data.tokenizers import ByteTokenizer
from alibi.model import LanguageModel
from alibi.runs import CONFIG, Checkpoint, RunFolder

TEXTS = {"train": "0" * 64, "validation": "1" * 64}


def config_of(model: LanguageModel) -> str:
    """The parts of a run's config.yaml that a checkpoint is rebuilt from."""
    parts = {"model": model.config, "data": DataConfig("stdlib"), "tokenizer": TokenizerConfig("byte")}
    rest = {
        "seed": 0,
        "train": {"seq_len": 8, "batch_tokens": 64, "max_steps": 1000},
        "tracking": {"project": "alibi"},
    }
    return OmegaConf.to_yaml(OmegaConf.create(rest | {name: asdict(part) for name, part in parts.items()}))


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    """Save a model as a step of a run folder; gives the checkpoint folder."""

    def save(run: Path, model: LanguageModel, step: int = 1000, state: dict | None = None) -> Path:
        folder = RunFolder(run)
        config = config_of(model)
        about = model, state or {"step": step}, config, ByteTokenizer(), TEXTS
        folder.save_checkpoint(step, *about, moments=MOMENTS if state else None)
        (run / CONFIG).write_text(config)
        return run / "checkpoints" / f"step-{step:08d}"

    return save


@pytest.fixture
def saved(tmp_path: Path, save: Callable, tiny_model: LanguageModel) -> Path:
    path = save(tmp_path / "run", tiny_model, 1000, STATE)
    assert Checkpoint(path).step == 1000
    return path

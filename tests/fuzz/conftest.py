"""What is fuzzed: a checkpoint, a token file, a result, each made once and sound."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from alibi.data import DataConfig, TokenizerConfig
from alibi.data.token_file import TokenFileWriter
from alibi.data.tokenizers import BytePairTokenizer
from alibi.model import LanguageModel, ModelConfig
from alibi.runs import RunFolder
from alibi.training.state import TrainState

LINES = ["the lobster and the naïve – mobster\n", " = = Köln = = \n", "é\n"] * 20


@pytest.fixture(scope="session")
def sound_checkpoint(tmp_path_factory) -> Path:
    tokenizer = BytePairTokenizer.train(LINES, 270)
    model = LanguageModel(ModelConfig(position={"name": "t5"}, num_layers=1, d_model=8, num_heads=2), 270, seed=0)
    model(torch.zeros(1, 3, dtype=torch.long)).sum().backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    parts = {"model": model.config, "data": DataConfig("stdlib"), "tokenizer": TokenizerConfig("bpe", 270)}
    config = {"seed": 0, "train": {"seq_len": 8, "batch_tokens": 64, "max_steps": 9}, "tracking": {"project": "p"}}
    text = yaml.safe_dump(config | {name: asdict(part) for name, part in parts.items()})
    run = RunFolder(tmp_path_factory.mktemp("sound") / "run")
    texts = {"train": "0" * 64, "validation": "1" * 64}
    run.save_checkpoint(3, model, TrainState(step=3).to_dict(optimizer.state_dict()), text, tokenizer, texts)
    return run.checkpoints / "step-00000003"


@pytest.fixture(scope="session")
def sound_tokens(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "tokens"
    folder.mkdir()
    with TokenFileWriter(folder, 300, 256, True) as writer:
        writer.add(LINES, [n % 7 == 0 for n in range(len(LINES))], [list(line.encode()) for line in LINES])
        writer.close(
            {"name": "x", "split": "test", "form": "files", "sha256": "0" * 64}, {"name": "byte", "vocab_size": 300}
        )
    return folder


@pytest.fixture
def copied(tmp_path):
    """A copy of a folder that may be spoilt, made anew by each call."""

    def copy(folder: Path) -> Path:
        target = tmp_path / "copy" / "checkpoints" / folder.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
        return target

    return copy

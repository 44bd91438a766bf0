"""`import alibi` for people without Hydra: what it gives, and what it leaves alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import alibi

ROOT = Path(__file__).parents[1]

FRESH = """
import sys, torch
before = (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(), torch.is_grad_enabled())
import alibi
after = (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(), torch.is_grad_enabled())
assert before == after, (before, after)
print(*sorted({"hydra", "wandb", "matplotlib", "transformers", "huggingface_hub", "pytest"} & set(sys.modules)))
"""


def test_importing_the_library_brings_no_study_tools_and_changes_no_settings(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FRESH],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
    assert list(tmp_path.iterdir()) == []


def test_the_names_are_there():
    expected = {"ALiBiConfig", "ALiBiTransformer", "LanguageModel", "ModelConfig", "load_model", "load_tokenizer"}
    assert set(alibi.__all__) >= expected
    assert all(hasattr(alibi, name) for name in alibi.__all__)


def test_a_position_may_be_a_name_and_ids_are_a_batch():
    config = alibi.ModelConfig(position="rotary", num_layers=1, d_model=16, num_heads=2)
    assert config == alibi.ModelConfig(position={"name": "rotary"}, num_layers=1, d_model=16, num_heads=2)
    model, ids = alibi.LanguageModel(config, 10, seed=0), torch.arange(5)
    for call in (model, lambda ids: model.nll(ids, ids), lambda ids: alibi.generate(model, ids, 1)):
        with pytest.raises(ValueError, match=r"ids\[None\] is a batch of one"):
            call(ids)
        call(ids[None])


def test_the_example_of_the_docstring_works():
    model = alibi.ALiBiTransformer(alibi.ALiBiConfig())
    assert model(torch.randn(2, 512, 256)).shape == (2, 512, 256)


def test_every_public_name_says_what_it_is():
    assert all(getattr(alibi, name).__doc__ for name in alibi.__all__)


def test_a_language_model_learns_in_a_loop_of_ones_own():
    """Three tokens that follow each other in a ring: from ln 3 nats towards none."""
    config = alibi.ModelConfig(num_layers=1, d_model=32, num_heads=4)
    model = alibi.LanguageModel(config, vocab_size=3, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ring = torch.arange(65) % 3
    for _ in range(20):
        loss = model.nll(ring[None, :-1], ring[None, 1:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    longer = torch.arange(301) % 3
    with torch.no_grad():
        assert model.nll(longer[None, :-1], longer[None, 1:]).mean() < 0.05

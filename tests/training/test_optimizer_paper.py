"""The paper's optimizer and schedule: fairseq's, written out."""

import math

import pytest
import torch

from alibi.model import LanguageModel, ModelConfig
from alibi.training import train
from alibi.training.optimizer import OptimizerConfig, build_optimizer
from alibi.training.schedule import check_schedule, learning_rate

UPDATES = 286_000
PAPER = {"lr": 1.0, "min_lr": 1e-4, "warmup_steps": 16_000, "warmup_init_lr": 1e-7, "cosine_steps": 270_000}


def nag(**values) -> OptimizerConfig:
    return OptimizerConfig("nag", **(PAPER | values))


@pytest.mark.parametrize(
    ("update", "closed_form"),
    [
        (0, 1e-7),
        (1, 1e-7 + (1 - 1e-7) / 16_000),
        (8_000, (1 + 1e-7) / 2),
        (15_999, 1 - (1 - 1e-7) / 16_000),
        (16_000, 1.0),
        (151_000, (1 + 1e-4) / 2),  # half of the cosine
        (285_999, 1e-4 + (1 - 1e-4) * math.sin(math.pi / 2 / 270_000) ** 2),  # one update before its end
    ],
)
def test_the_learning_rate_is_fairseqs(update, closed_form):
    assert learning_rate(nag(), update, UPDATES) == pytest.approx(closed_form, rel=1e-9)


def test_our_own_schedule_is_another():
    """Control: it is one update ahead in the warm-up, and ends at min_lr itself."""
    ours = nag(warmup_init_lr=None, cosine_steps=None)
    assert learning_rate(ours, 0, UPDATES) == pytest.approx(1 / 16_000)
    assert learning_rate(ours, UPDATES - 1, UPDATES) == 1e-4
    assert learning_rate(nag(), UPDATES - 1, UPDATES) > 1e-4


def fairseq_nag(weight, gradients, rates, momentum):
    """fairseq/optim/nag.py: the buffer is in units of the weights, and is rescaled when the rate changes."""
    buffer, old = torch.zeros_like(weight), rates[0]
    for gradient, lr in zip(gradients, rates, strict=True):
        correct = lr / old if old > 0 else lr
        weight = weight + momentum * momentum * correct * buffer - (1 + momentum) * lr * gradient
        buffer = momentum * correct * buffer - lr * gradient
        old = lr
    return weight


def test_nag_is_fairseqs_while_the_learning_rate_changes():
    model = LanguageModel(ModelConfig(num_layers=1, d_model=4, num_heads=1), 5, seed=0).double()
    optimizer, weight = build_optimizer(nag(), model), model.embedding.weight
    start = weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(5, 4, dtype=torch.float64, generator=generator) for _ in range(10)]
    rates = [learning_rate(nag(warmup_steps=4, cosine_steps=6), update, 10) for update in range(10)]
    assert len(set(rates)) == 10
    for gradient, lr in zip(gradients, rates, strict=True):
        weight.grad = gradient.clone()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    torch.testing.assert_close(weight.detach(), fairseq_nag(start, gradients, rates, 0.99), rtol=1e-10, atol=1e-12)
    for wrong in (fairseq_nag(start, gradients, rates, 0.9), fairseq_nag(start, gradients, rates[::-1], 0.99)):
        assert (weight - wrong).abs().max() > 0.1  # control


def test_a_run_goes_on_as_if_it_had_not_stopped(small_run, tmp_path):
    def settings(**train_settings):
        config = small_run(max_steps=4, **train_settings)
        config.optimizer = OptimizerConfig("nag", lr=0.5, min_lr=0.1, warmup_steps=2, warmup_init_lr=1e-3, clip=0.1)
        config.model.adaptive_cutoffs, config.model.adaptive_factor, config.model.adaptive_dropout = [90, 120], 2, 0.2
        return config

    weights = []
    for name in ("straight", "stopped"):
        folder = tmp_path / name
        train(settings(), folder)
        if name == "stopped":  # back to step 2, and on
            (folder / "checkpoints" / "last").unlink()
            (folder / "checkpoints" / "best").unlink(missing_ok=True)
            for file in (folder / "checkpoints" / "step-00000004").iterdir():
                file.unlink()
            (folder / "checkpoints" / "step-00000004").rmdir()
            train(settings(), folder)
        weights.append((folder / "checkpoints" / "step-00000004" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta1": 0.9}, r"optimizer.beta1 \(0.9\) would be ignored by nag"),
        ({"beta2": 0.9}, r"optimizer.beta2 \(0.9\) would be ignored by nag"),
        ({"eps": 1e-8}, r"optimizer.eps \(1e-08\) would be ignored by nag"),
        ({"weight_decay": 0.1}, r"optimizer.weight_decay \(0.1\) must be 0 for nag"),
        ({"momentum": 1.0}, r"optimizer.momentum \(1.0\)"),
        ({"momentum": 0.0}, "must be above 0 for nag"),
        ({"name": "adamw", "momentum": 0.9}, r"optimizer.momentum \(0.9\) would be ignored by adamw"),
        ({"warmup_init_lr": 2.0}, r"optimizer.warmup_init_lr \(2.0\) must be in \[0, optimizer.lr \(1.0\)\]"),
        ({"warmup_steps": 0}, r"optimizer.warmup_init_lr \(1e-07\) would be ignored"),
        ({"cosine_steps": 0}, r"optimizer.cosine_steps \(0\)"),
    ],
)
def test_settings_that_cannot_be_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**({"name": "nag"} | PAPER | values))


def test_a_cosine_that_ends_before_the_run_is_refused():
    check_schedule(nag(), UPDATES)
    with pytest.raises(ValueError, match=r"optimizer.cosine_steps \(270000\) must be at least the 284000 updates"):
        check_schedule(nag(), 300_000)


def test_each_optimizer_has_its_own_defaults():
    adamw, momentum = OptimizerConfig(), OptimizerConfig("nag")
    assert (adamw.beta1, adamw.beta2, adamw.eps, adamw.weight_decay, adamw.momentum) == (0.9, 0.95, 1e-8, 0.1, None)
    assert (momentum.beta1, momentum.momentum, momentum.weight_decay) == (None, 0.99, 0.0)

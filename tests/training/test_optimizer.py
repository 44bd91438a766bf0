import math
from itertools import pairwise

import pytest
import torch

from alibi.model import LanguageModel, ModelConfig
from alibi.training.optimizer import OptimizerConfig, build_optimizer
from alibi.training.schedule import check_schedule, learning_rate


def test_learning_rate_goes_up_in_a_line_and_down_in_one_cosine():
    config = OptimizerConfig(lr=2.0, min_lr=0.5, warmup_steps=10)
    rates = [learning_rate(config, update, 110) for update in range(110)]
    assert rates[:10] == pytest.approx([0.2 * n for n in range(1, 11)])
    assert rates[10] == 2.0
    assert rates[-1] == 0.5
    assert rates[60] == pytest.approx(0.5 + 1.5 * (1 + math.cos(math.pi * 50 / 99)) / 2)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_warm_up_is_a_twentieth_unless_told():
    config = OptimizerConfig(lr=1.0)
    assert learning_rate(config, 4, 100) == 1.0
    assert learning_rate(config, 0, 100) == pytest.approx(0.2)
    assert learning_rate(config, 0, 1) == 1.0


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match=r"optimizer.warmup_steps \(100\) must be below train.max_steps \(100\)"):
        check_schedule(OptimizerConfig(warmup_steps=100), 100)


@pytest.mark.parametrize("method", ["alibi", "t5"])
def test_only_matrices_decay_and_nothing_of_a_position_method(method):
    model = LanguageModel(ModelConfig(position={"name": method}, d_model=16, num_heads=2, bias=True), 11, seed=0)
    decayed, *rest = build_optimizer(OptimizerConfig(weight_decay=0.3), model).param_groups
    assert [group["weight_decay"] for group in (decayed, *rest)] == [0.3, *[0.0] * len(rest)]
    assert all(p.dim() == 2 for p in decayed["params"])
    own = {id(p) for p in model.position_parameters()}
    assert own == {id(p) for group in rest[1:] for p in group["params"]}
    assert sum(len(group["params"]) for group in (decayed, *rest)) == len(list(model.parameters()))


def test_adamw_is_the_textbook_one():
    """Ten updates against the formula written out (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2)."""
    model = LanguageModel(ModelConfig(num_layers=1, d_model=4, num_heads=1), 5, seed=0).double()
    config = OptimizerConfig(weight_decay=0.1)
    optimizer = build_optimizer(config, model)
    weight = model.embedding.weight
    x, m, v = weight.detach().clone(), torch.zeros_like(weight), torch.zeros_like(weight)
    for t in range(1, 11):
        gradient = torch.sin(torch.arange(20.0, dtype=torch.float64) * t).view(5, 4)
        weight.grad = gradient.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.95 * v + 0.05 * gradient**2
        x = x - config.lr * 0.1 * x
        x = x - config.lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.95**t)).sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach(), x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0.0}, "optimizer.lr"),
        ({"min_lr": 1.0}, "optimizer.min_lr"),
        ({"beta2": 1.0}, "optimizer.beta2"),
        ({"clip": 0.0}, "optimizer.clip"),
        ({"warmup_steps": -1}, "optimizer.warmup_steps"),
        ({"name": "sgd"}, "optimizer.name"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**values)

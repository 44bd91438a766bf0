from types import SimpleNamespace

import pytest
import torch

from alibi.model import LanguageModel
from alibi.processes import Processes
from alibi.training.optimizer import build_optimizer
from alibi.training.train_state import TrainState
from alibi.training.training_settings import TrainSettings
from alibi.training.update import NotFinite, Updater, micro_batch_sizes


class Order:
    """Two rows of tokens, whichever blocks are asked for."""

    def read(self, blocks):
        ids = torch.arange(len(blocks) * 16).view(len(blocks), 16).remainder(7).numpy()
        return ids, ids

    def count_targets(self, blocks):
        return len(blocks) * 16


def updater(config, dropout):
    config.model.dropout = dropout
    model = LanguageModel(config.model, 257, seed=0)
    optimizer = build_optimizer(config.optimizer, model)
    parts = {"config": config, "model": model, "optimizer": optimizer, "order": Order(), "procs": Processes()}
    run = SimpleNamespace(**parts, state=TrainState())
    return Updater(run, 32), model


def test_dropout_is_keyed_by_update_and_micro_batch_alone(small_run):
    first, model = updater(small_run(), 0.5)
    nats = first._gradient(3, [0, 1, 2, 3])
    torch.manual_seed(12345)
    model.zero_grad()
    assert first._gradient(3, [0, 1, 2, 3]) == nats
    model.zero_grad()
    assert first._gradient(4, [0, 1, 2, 3]) != nats


def test_micro_batches_of_an_update_have_different_masks(small_run):
    """Both have the same tokens, so with the same mask their nats would be twice those of one."""
    both, _ = updater(small_run(), 0.5)
    assert both._gradient(3, [0, 1, 2, 3]) != pytest.approx(2 * both._gradient(3, [0, 1]), rel=1e-6)


def test_every_parameter_has_the_learning_rate_of_its_update(small_run):
    config = small_run(dropout=0.0, max_steps=6)
    config.optimizer.lr, config.optimizer.min_lr, config.optimizer.warmup_steps = 1e-2, 1e-3, 2
    whole, _ = updater(config, 0.0)
    for step, lr in ((1, 0.5e-2), (2, 1e-2), (3, 1e-2), (6, 1e-3)):
        assert whole.update(step, [0, 1, 2, 3])["train/lr"] == pytest.approx(lr)
        assert [group["lr"] for group in whole.optimizer.param_groups] == pytest.approx(
            len(whole.optimizer.param_groups) * [lr]
        )


@pytest.mark.parametrize(("multiplier", "expected"), [(None, 1e-2), (10.0, 1e-1)])
def test_the_position_methods_own_parameters_learn_at_their_multiple(multiplier, expected, small_run):
    """AdamW's first update moves every number by the rate: here the table of T5."""
    config = small_run("t5", dropout=0.0, max_steps=6)
    config.optimizer.lr, config.optimizer.warmup_steps, config.optimizer.clip = 1e-2, 0, 1e9
    config.optimizer.position_lr_multiplier = multiplier
    whole, model = updater(config, 0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    whole.update(1, [0, 1, 2, 3])
    moved = {name: (p - before[name]).abs().max().item() for name, p in model.named_parameters()}
    assert moved.pop("transformer.position.table") == pytest.approx(expected, rel=0.01)
    assert max(moved.values()) < 2e-2


def test_a_skipped_update_leaves_no_gradient_behind(small_run, monkeypatch):
    (skipped, _), (fresh, _) = (updater(small_run(dropout=0.0), 0.0) for _ in range(2))
    gradient = Updater._gradient
    with monkeypatch.context() as patch:
        patch.setattr(Updater, "_gradient", lambda *given: gradient(*given) * float("nan"))
        with pytest.raises(NotFinite, match="step 1: loss is nan"):
            skipped.update(1, [0, 1, 2, 3])
    assert skipped.update(2, [0, 1, 2, 3]) == fresh.update(2, [0, 1, 2, 3])


def test_the_gradient_is_of_the_mean_over_the_batch(small_run):
    parts, model = updater(small_run(dropout=0.0), 0.0)
    parts._gradient(1, [0, 1, 2, 3])
    ids = torch.from_numpy(Order().read([0, 1])[0])
    wanted = torch.autograd.grad(model.nll(ids, ids).mean(), model.embedding.weight)[0]
    torch.testing.assert_close(model.embedding.weight.grad, wanted, rtol=1e-5, atol=1e-7)


def test_clipping_bounds_the_norm_and_reports_the_one_before(small_run):
    config = small_run(dropout=0.0)
    config.optimizer.clip = 1e-3
    tight, model = updater(config, 0.0)
    seen = []
    tight.optimizer.step = lambda: seen.append(torch.stack([p.grad.norm() for p in model.parameters()]).norm().item())
    result = tight.update(1, [0, 1, 2, 3])
    assert result["train/grad_norm"] > 1e-3
    assert seen[0] == pytest.approx(1e-3, rel=1e-3)


def test_micro_batches_are_divisors_that_fit(small_run, monkeypatch):
    config = small_run(micro_batch_tokens=None, batch_tokens=16 * 12)
    model = LanguageModel(config.model, 257, seed=0)
    assert micro_batch_sizes(config, model, Processes()) == [16 * d for d in (12, 6, 4, 3, 2, 1)]
    per_token = 80 * config.model.num_layers * config.model.d_model
    monkeypatch.setattr("alibi.training.update.CPU_BYTES", 16 * 2 * per_token)
    assert micro_batch_sizes(config, model, Processes()) == [16 * d for d in (2, 1)]
    with pytest.raises(ValueError, match="5 processes cannot share"):
        micro_batch_sizes(config, model, Processes(0, 5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_tokens": 100}, r"train.batch_tokens \(100\) must be a multiple of train.seq_len \(512\); use 512"),
        ({"batch_tokens": 2048, "micro_batch_tokens": 1536}, r"train.micro_batch_tokens \(1536\).*; use 1024, or null"),
        ({"seq_len": 0}, "train.seq_len"),
        ({"max_steps": 0}, "train.max_steps"),
        ({"eval_lengths": [0]}, "train.eval_lengths"),
        ({"resume": 3}, "train.resume"),
    ],
)
def test_bad_settings_are_named_with_a_remedy(values, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**values)

"""The output layer: nats in chunks are the nats, and only as many logits exist as one chunk has."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from largest_result import LargestResult
from torch import nn

from alibi.model import output
from alibi.model.output import SoftmaxOutput

V, D = 37, 8


def layer(dtype=torch.float32) -> SoftmaxOutput:
    return SoftmaxOutput(nn.Parameter(torch.randn(V, D, dtype=dtype, generator=torch.Generator().manual_seed(0))))


def batch(length: int, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    hidden = torch.randn(3, length, D, dtype=dtype, generator=generator)
    return hidden, torch.randint(V, (3, length), generator=generator)


@given(st.integers(1, 40), st.integers(1, 200))
def test_nats_in_chunks_are_the_nats(length, chunk):
    softmax, (hidden, targets) = layer(torch.float64), batch(length, torch.float64)
    reference = -softmax.logits(hidden).log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setitem(output.LOGITS_PER_CHUNK, "cpu", chunk * V)
        chunked = softmax.nll(hidden, targets)
    assert chunked.shape == targets.shape
    assert (chunked - reference).abs().max() < 1e-12


def test_a_chunk_smaller_than_the_vocabulary_still_goes_on(monkeypatch):
    softmax, (hidden, targets) = layer(), batch(5)
    with torch.no_grad():
        whole = softmax.nll(hidden, targets)
        monkeypatch.setitem(output.LOGITS_PER_CHUNK, "cpu", 1)
        assert (softmax.nll(hidden, targets) - whole).abs().max() < 1e-6


def test_only_one_chunk_of_logits_exists_at_once(monkeypatch):
    softmax, (hidden, targets) = layer(), batch(20)
    asked, logits = [], softmax.logits
    monkeypatch.setattr(softmax, "logits", lambda h: asked.append(len(h)) or logits(h))
    monkeypatch.setitem(output.LOGITS_PER_CHUNK, "cpu", 7 * V)
    with torch.no_grad():
        softmax.nll(hidden, targets)
    assert asked == [7] * 8 + [4]
    asked.clear()
    softmax.nll(hidden, targets)  # with gradients chunks would save nothing
    assert asked == [60]


def test_training_never_has_all_logits(monkeypatch):
    monkeypatch.setitem(output.LOGITS_PER_CHUNK, "cpu", 7 * V)
    softmax, (hidden, targets) = layer(), batch(200)
    hidden.requires_grad_()
    elements = {}
    for name, forward in (("total", softmax.total_nats), ("nll", lambda h, t: softmax.nll(h, t).sum())):
        with LargestResult() as largest:
            forward(hidden, targets).backward()
        elements[name] = largest.elements
    assert elements["total"] == 600 * D, "the hidden states' gradient is the largest"
    assert elements["nll"] == 600 * V  # control


@given(st.integers(1, 40), st.integers(1, 200), st.booleans())
def test_the_total_is_the_sum_of_the_nats_with_its_gradients(length, chunk, scaled):
    softmax, (hidden, targets) = layer(torch.float64), batch(length, torch.float64)
    hidden.requires_grad_()
    factor = 0.3 if scaled else 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(output.LOGITS_PER_CHUNK, "cpu", chunk * V)
        total = softmax.total_nats(hidden, targets)
        mine = torch.autograd.grad(total * factor, (hidden, softmax.weight))
    reference = softmax.nll(hidden, targets).sum()
    theirs = torch.autograd.grad(reference * factor, (hidden, softmax.weight))
    assert (total - reference).abs() < 1e-10
    for a, b in zip(mine, theirs, strict=True):
        assert (a - b).abs().max() < 1e-12


def test_the_total_in_bfloat16_is_summed_in_float32():
    """torch's own chunked loss rounds the sum to the three digits of bf16, which is what this would notice."""
    softmax, (hidden, targets) = layer(), batch(300)
    with torch.autocast("cpu", torch.bfloat16):
        total, reference = softmax.total_nats(hidden, targets), softmax.nll(hidden, targets).sum()
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(reference.item(), rel=1e-5)
    assert total.bfloat16().item() != pytest.approx(reference.item(), rel=1e-5)


def test_the_total_of_logits_far_from_zero_is_finite():
    softmax, (hidden, targets) = layer(), batch(9)
    total = softmax.total_nats(1e4 * hidden, targets)
    assert total.item() == pytest.approx(softmax.nll(1e4 * hidden, targets).sum().item(), rel=1e-6)


def test_the_total_keeps_its_digits_where_logits_are_large():
    """Of two logits 3 apart at 10,000: as the nats of evaluation, which are torch's cross entropy."""
    layer = SoftmaxOutput(nn.Parameter(torch.tensor([[10_000.0], [9_997.0]])))
    hidden, target = torch.ones(1, 1, 1), torch.zeros(1, 1, dtype=torch.long)
    exact = math.log1p(math.exp(-3))
    assert layer.total_nats(hidden, target).item() == pytest.approx(exact, abs=1e-7)
    assert layer.nll(hidden, target).item() == pytest.approx(exact, abs=1e-7)


def test_gradients_of_the_nats_are_softmax_minus_one_hot():
    softmax, (hidden, targets) = layer(torch.float64), batch(4, torch.float64)
    hidden.requires_grad_()
    softmax.nll(hidden, targets).sum().backward()
    wrong = softmax.logits(hidden).softmax(-1) - nn.functional.one_hot(targets, V)
    assert (hidden.grad - wrong @ softmax.weight).abs().max() < 1e-12
    assert (softmax.weight.grad - torch.einsum("blv,bld->vd", wrong, hidden)).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_nats_are_float32_or_wider(dtype):
    softmax = layer().to(dtype)
    hidden, targets = batch(6)
    nats = softmax.nll(hidden.to(dtype), targets)
    assert nats.dtype == torch.promote_types(dtype, torch.float32)
    logits = softmax.logits(hidden.to(dtype))
    reference = -logits.double().log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    assert (nats - reference).abs().max() < 1e-5


def test_probabilities_of_all_targets_add_up_to_one():
    softmax, (hidden, _) = layer(torch.float64), batch(1, torch.float64)
    every = torch.arange(V).expand(3, V)
    nats = softmax.nll(hidden.expand(3, V, D), every)
    assert ((-nats).exp().sum(1) - 1).abs().max() < 1e-12


def test_targets_of_another_length_are_refused():
    softmax, (hidden, targets) = layer(), batch(6)
    for wrong in (targets[:, 1:], targets.T, targets[:1]):
        rule = rf"target_ids have shape \({wrong.shape[0]}, {wrong.shape[1]}\); they must be \(3, 6\)"
        with pytest.raises(ValueError, match=rule):
            softmax.nll(hidden, wrong)
        with pytest.raises(ValueError, match=rule):
            softmax.total_nats(hidden, wrong)


def test_targets_that_do_not_count_have_neither_nats_nor_gradient():
    softmax, (hidden, targets) = layer(torch.float64), batch(11, torch.float64)
    left_out = torch.rand(targets.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    marked = targets.masked_fill(left_out, output.IGNORED)
    nats = softmax.nll(hidden, marked)
    assert torch.equal(nats, softmax.nll(hidden, targets).masked_fill(left_out, 0))
    hidden.requires_grad_()
    found = torch.autograd.grad(softmax.total_nats(hidden, marked), [hidden, softmax.weight])
    kept = torch.autograd.grad(
        softmax.total_nats(hidden[~left_out][None], targets[~left_out][None]), [hidden, softmax.weight]
    )
    for ours, theirs in zip(found, kept, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    assert not found[0][left_out].any()
    none = torch.full_like(targets, output.IGNORED)
    assert softmax.total_nats(hidden, none) == 0

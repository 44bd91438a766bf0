"""Keys left out because a linear bias puts them below rounding: only where they are, and then far fewer are visited."""

import math

import pytest
import torch
from dense_reference import random_model
from hypothesis import given, settings
from hypothesis import strategies as st

from alibi.model import LanguageModel, ModelConfig, far_keys, fused
from alibi.model.attention import attend
from alibi.model.score_bias import ScoreBias
from alibi.positions import build_position


@pytest.fixture
def visited(monkeypatch):
    """Keys that each block and head saw, in the order of the calls."""
    seen = []
    spans = far_keys.FarKeys.spans

    def watch(self, q, lse, start, stop, near):
        found = spans(self, q, lse, start, stop, near)
        keys = torch.zeros(q.shape[1], dtype=torch.long)
        for first, heads in found:
            keys[heads] = stop - first
        seen.append(keys)
        return found

    monkeypatch.setattr(far_keys.FarKeys, "spans", watch)
    return seen


def scores(num_heads: int, length: int, skip: bool) -> ScoreBias:
    position, keys = build_position({"name": "alibi"}, 8 * num_heads, num_heads, True), torch.arange(length)
    return ScoreBias(position, keys, keys, 0, True, True, skip_far_keys=skip)


def content(length: int, num_heads: int, size: float, dtype=torch.float32, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, num_heads, length, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    return (size * q).to(dtype), (size * k).to(dtype), v.to(dtype)


@settings(max_examples=25)
@given(st.integers(600, 1500), st.sampled_from([1, 3, 8]), st.floats(0.1, 6.0), st.booleans(), st.integers(0, 99))
def test_the_result_is_the_dense_one(length, num_heads, size, shared, seed):
    """To rounding, whatever the content: sharp or flat, with a part that all keys share or without."""
    q, k, v = content(length, num_heads, size, torch.float64, seed)
    if shared:
        k = k + 10 * torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        for module in (far_keys, fused):
            patch.setattr(module, "NEAR_KEYS", 64)
        patch.setattr(far_keys, "KEYS_PER_BLOCK", 32)
        skipped, full = (attend(q, k, v, scores(num_heads, length, skip)) for skip in (True, False))
    assert (skipped - full).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steep_heads_visit_few_keys(visited, dtype):
    q, k, v = content(8192, 8, 1.0, dtype)
    skipped, full = (attend(q, k, v, scores(8, 8192, skip)) for skip in (True, False))
    last = visited[-1]
    assert (last[:3] <= 256 + far_keys.NEAR_KEYS + far_keys.KEYS_PER_BLOCK).all(), last
    assert last.float().mean() < 8192 / 2
    assert (skipped.double() - full.double()).abs().max() < (1e-5 if dtype == torch.float32 else 2e-2)


def test_the_bound_is_not_rounded_by_autocast():
    """Scores of 5,200 that all keys share: in bf16 the bound would be off by more than its margin."""
    shape = 1, 1, 2048, 64
    q, k, v = torch.full(shape, 100.0), torch.full(shape, 6.5), torch.ones(shape)
    v[:, :, :1536] = -1.0
    q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        skipped, full = (attend(q, k, v, scores(1, 2048, skip)) for skip in (True, False))
    assert (skipped.double() - full.double()).abs().max() < 2e-2


def test_gradients_are_the_dense_ones(visited):
    q, k, v = (t.requires_grad_() for t in content(3000, 8, 1.0, torch.float64))
    direction = torch.randn(q.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = [
        torch.autograd.grad(attend(q, k, v, scores(8, 3000, skip)), (q, k, v), direction) for skip in (True, False)
    ]
    assert min(keys.min() for keys in visited) < 1500, "nothing was left out: the comparison says nothing"
    for mine, full in zip(*found, strict=True):
        assert (mine - full).abs().max() < 1e-12


def adversarial(length: int) -> tuple[torch.Tensor, ...]:
    """The first key scores so high that steep heads see it over thousands of keys."""
    q, k, v = content(length, 2, 1.0)
    q[..., 0], k[..., 0] = 40.0, 0.0
    k[:, :, 0, 0] = 800.0  # 11,314 / 16 = 707 a head of slope 1/16 away, and more than that
    return q, k, v


def test_nothing_is_left_out_where_a_far_key_matters(visited):
    q, k, v = adversarial(4096)
    skipped, full = (attend(q, k, v, scores(2, 4096, skip)) for skip in (True, False))
    exact = attend(q.double(), k.double(), v.double(), scores(2, 4096, False))
    assert (visited[-1] == 4096).all()
    assert (full - v[:, :, :1]).abs().max() < 1e-6, "the far key is all that matters here"
    assert (skipped - exact).abs().max() < 1e-5


def test_a_row_that_sees_far_keeps_its_keys_beside_one_that_does_not():
    q, k, v = (torch.cat(rows) for rows in zip(content(2048, 2, 1.0), adversarial(2048), strict=True))
    skipped, full = (attend(q, k, v, scores(2, 2048, skip)) for skip in (True, False))
    assert (skipped - full).abs().max() < 1e-5


@pytest.mark.parametrize("margin", range(4, 16, 2))
def test_no_more_is_left_out_than_the_margin_grants(margin, monkeypatch):
    """Without content the bound is tight. The values are 1 for far keys, so the output is the weight they have."""
    monkeypatch.setattr("alibi.model.content.MARGIN_FLOAT64", margin)
    q, k, v = content(2048, 8, 0.0, torch.float64)
    v[:] = (torch.arange(2048) < 1536)[:, None]
    skipped, full = (attend(q, k, v, scores(8, 2048, skip))[:, :, 1792:] for skip in (True, False))
    assert 0 < (full - skipped).abs().max() < math.exp(-margin)


def test_a_window_that_does_not_look_at_content_fails(monkeypatch):
    """Control: the same keys left out by the slope alone."""
    monkeypatch.setattr(far_keys.FarKeys, "spans", lambda self, q, lse, start, stop, near: [(near, slice(None))])
    q, k, v = adversarial(4096)
    skipped, full = (attend(q, k, v, scores(2, 4096, skip)) for skip in (True, False))
    assert (skipped - full).abs().max() > 0.1


@pytest.mark.parametrize("size", [1.0, 4.0])
def test_nats_of_every_token_are_the_dense_ones(size):
    """Per token 1e-5 at several lengths, also with weights that make scores large."""
    model = LanguageModel(ModelConfig(num_layers=2, d_model=32, num_heads=4, d_ff=32), 50, seed=0).eval()
    with torch.no_grad():
        for block in model.transformer.blocks:
            block.attention.query.weight.mul_(size)
            block.attention.key.weight.mul_(size)
    ids = torch.randint(50, (1, 5001), generator=torch.Generator().manual_seed(0))
    for length in (700, 1999, 5000):
        nats = []
        for model.transformer.skip_far_keys in (True, False):
            with torch.inference_mode():
                nats.append(model.nll(ids[:, :length], ids[:, 1 : length + 1]))
        assert (nats[0] - nats[1]).abs().max() < 1e-5


def test_not_a_number_is_not_hidden():
    q, k, v = content(2000, 4, 1.0)
    k[:, :, 3] = math.nan
    out = attend(q, k, v, scores(4, 2000, True))
    assert out[:, :, -1].isnan().all()


@pytest.mark.parametrize("name", ["none", "rotary", "t5"])
def test_other_methods_visit_every_key(name, visited):
    stack = random_model(name, num_heads=4).transformer
    stack(torch.randn(1, 1500, stack.d_model))
    assert visited == []

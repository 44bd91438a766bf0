"""Keys left out because a bias puts them below rounding: only where they are, and then far fewer are visited."""

import math

import pytest
import torch
from dense_reference import random_model
from hypothesis import given, settings
from hypothesis import strategies as st
from stack_inputs import settings_of
from test_model_fused import SCALE, bias, scores

from alibi.model import LanguageModel, ModelConfig, far_keys, fused
from alibi.model.attention import attend
from alibi.positions import Bias, DecayBias, DistanceBias


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


def attended(q, k, v, skip: bool, added: Bias | None = None, **values) -> torch.Tensor:
    """With ALiBi's slopes unless there is another bias."""
    added = bias("alibi", q.shape[1]) if added is None else added
    return attend(q, k, v, scores(added, q.shape[2], skip_far_keys=skip, **values), SCALE)


class Power(DistanceBias):
    """-slope_h |i - j|^0.9, computed from its line."""

    def __init__(self, num_heads: int) -> None:
        self.slopes_H = bias("alibi", num_heads).slopes_H

    def at(self, distance):
        return -self.slopes_H.view(-1, *[1] * distance.dim()) * distance.abs().double() ** 0.9


def fading(kind: str, num_heads: int, length: int, seed: int = 0) -> Bias:
    """About as steep as ALiBi, in the mean over tokens where these differ."""
    generator = torch.Generator().manual_seed(seed)
    alibi = bias("alibi", num_heads)
    if kind == "linear":
        return alibi
    if kind == "line":
        return Power(num_heads)
    one_BHM, other_BHM = torch.rand(2, 1, num_heads, length, generator=generator, dtype=torch.float64)
    steps_BHM, gain_BHL = -2 * alibi.slopes_H[:, None] * one_BHM, 0.5 + other_BHM
    return DecayBias(steps_BHM, gain_BHL if kind == "decay with a gain" else None)


KINDS = ["linear", "line", "decay", "decay with a gain"]


def content(length: int, num_heads: int, size: float, dtype=torch.float32, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, num_heads, length, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    return (size * q).to(dtype), (size * k).to(dtype), v.to(dtype)


@settings(max_examples=25)
@given(
    st.sampled_from(KINDS), st.integers(600, 1500), st.sampled_from([1, 3, 8]), st.floats(0.1, 6.0), st.booleans(),
    st.sampled_from([None, 500]), st.integers(0, 99),
)  # fmt: skip
def test_the_result_is_the_dense_one(kind, length, num_heads, size, shared, window, seed):
    """To rounding, whatever the content: sharp or flat, with a part that all keys share or without."""
    added = fading(kind, num_heads, length, seed)
    q, k, v = content(length, num_heads, size, torch.float64, seed)
    if shared:
        k = k + 10 * torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        for module in (far_keys, fused):
            patch.setattr(module, "NEAR_KEYS", 64)
        patch.setattr(far_keys, "KEYS_PER_BLOCK", 32)
        skipped, full = (attended(q, k, v, skip, added, window=window) for skip in (True, False))
    assert (skipped - full).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steep_heads_visit_few_keys(visited, dtype):
    q, k, v = content(8192, 8, 1.0, dtype)
    skipped, full = (attended(q, k, v, skip) for skip in (True, False))
    last = visited[-1]
    assert (last[:3] <= 256 + far_keys.NEAR_KEYS + far_keys.KEYS_PER_BLOCK).all(), last
    assert last.float().mean() < 8192 / 2
    assert (skipped.double() - full.double()).abs().max() < (1e-5 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_bias_that_fades_lets_keys_be_left_out(kind, visited):
    q, k, v = content(4096, 8, 1.0)
    added = fading(kind, 8, 4096)
    skipped, full = (attended(q, k, v, skip, added) for skip in (True, False))
    assert (visited[-1][:2] <= 256 + far_keys.NEAR_KEYS + far_keys.KEYS_PER_BLOCK).all(), visited[-1]
    assert visited[-1].float().mean() < 0.7 * 4096
    assert (skipped.double() - full.double()).abs().max() < 1e-5


def test_decays_of_a_constant_are_left_out_where_slopes_are(visited):
    q, k, v = content(2048, 8, 1.0)
    steps_BHM = -bias("alibi", 8).slopes_H[None, :, None].expand(1, 8, 2048)
    attended(q, k, v, True)
    slopes = visited.copy()
    visited.clear()
    attended(q, k, v, True, DecayBias(steps_BHM))
    assert torch.equal(torch.stack(visited), torch.stack(slopes))


@pytest.mark.parametrize(("window", "values"), [(600, {}), (1200, {}), (1200, {"sink_tokens": 4})])
def test_a_window_hides_keys_and_the_bias_more_of_them(window, values, visited):
    q, k, v = content(2048, 8, 1.0)
    skipped, full = (attended(q, k, v, skip, window=window, **values) for skip in (True, False))
    assert (skipped - full).abs().max() < 1e-5
    least = 256 + far_keys.NEAR_KEYS + far_keys.KEYS_PER_BLOCK
    assert bool(visited) == (window > least and not values), "too narrow, or first keys that are always seen"


def test_the_bound_is_not_rounded_by_autocast():
    """Scores of 5,200 that all keys share: in bf16 the bound would be off by more than its margin."""
    shape = 1, 1, 2048, 64
    q, k, v = torch.full(shape, 100.0), torch.full(shape, 6.5), torch.ones(shape)
    v[:, :, :1536] = -1.0
    q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        skipped, full = (attended(q, k, v, skip) for skip in (True, False))
    assert (skipped.double() - full.double()).abs().max() < 2e-2


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_dense_ones(kind, visited):
    """Of queries, keys and values, and of what the bias is made of."""
    length = 1800
    q, k, v = (t.requires_grad_() for t in content(length, 8, 1.0, torch.float64))
    direction = torch.randn(q.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    added = fading(kind, 8, length)
    learned = [added.slopes_H] if isinstance(added, DistanceBias) else [added.log_decay_BHM]
    learned += [] if kind != "decay with a gain" else [added.gain_BHL]
    inputs = [q, k, v, *(one.requires_grad_() for one in learned)]
    found = [torch.autograd.grad(attended(q, k, v, skip, added), inputs, direction) for skip in (True, False)]
    assert visited[-1][0] < 900, "nothing was left out: the comparison says nothing"
    for mine, full in zip(*found, strict=True):
        assert (mine - full).abs().max() < 1e-12 * full.abs().max().clamp(min=1)


def adversarial(length: int) -> tuple[torch.Tensor, ...]:
    """The first key scores so high that steep heads see it over thousands of keys."""
    q, k, v = content(length, 2, 1.0)
    q[..., 0], k[..., 0] = 40.0, 0.0
    k[:, :, 0, 0] = 800.0  # 11,314 / 16 = 707 a head of slope 1/16 away, and more than that
    return q, k, v


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_out_where_a_far_key_matters(kind, visited):
    q, k, v = adversarial(4096)
    added = fading(kind, 2, 4096)
    skipped, full = (attended(q, k, v, skip, added) for skip in (True, False))
    exact = attended(q.double(), k.double(), v.double(), False, added)
    assert (visited[-1] == 4096).all()
    assert (full - v[:, :, :1]).abs().max() < 1e-6, "the far key is all that matters here"
    assert (skipped - exact).abs().max() < 1e-5


def test_a_row_that_sees_far_keeps_its_keys_beside_one_that_does_not():
    q, k, v = (torch.cat(rows) for rows in zip(content(2048, 2, 1.0), adversarial(2048), strict=True))
    skipped, full = (attended(q, k, v, skip) for skip in (True, False))
    assert (skipped - full).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("margin", range(4, 16, 2))
def test_no_more_is_left_out_than_the_margin_grants(margin, kind, monkeypatch):
    """Without content the bound is tight. The values are 1 for far keys, so the output is the weight they have."""
    monkeypatch.setattr("alibi.model.content.MARGIN_FLOAT64", margin)
    q, k, v = content(2048, 8, 0.0, torch.float64)
    v[:] = (torch.arange(2048) < 1536)[:, None]
    added = fading(kind, 8, 2048)
    skipped, full = (attended(q, k, v, skip, added)[:, :, 1792:] for skip in (True, False))
    assert 0 < (full - skipped).abs().max() < math.exp(-margin)


def test_a_window_that_does_not_look_at_content_fails(monkeypatch):
    """Control: the same keys left out by the slope alone."""
    monkeypatch.setattr(far_keys.FarKeys, "spans", lambda self, q, lse, start, stop, near: [(near, slice(None))])
    q, k, v = adversarial(4096)
    skipped, full = (attended(q, k, v, skip) for skip in (True, False))
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
    out = attended(q, k, v, True)
    assert out[:, :, -1].isnan().all()


@pytest.mark.parametrize("name", ["none", "rotary", "t5", "fire", "inkling", "hard_alibi"])
def test_other_methods_visit_every_key(name, visited):
    stack = random_model(settings_of(name), num_heads=4).transformer
    stack(torch.randn(1, 1500, stack.d_model))
    assert visited == []

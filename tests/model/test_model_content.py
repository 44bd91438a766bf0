"""The floor under a distance bias: no denormal weight or gradient, and the result of the exact bias to rounding."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model_fused import SCALE, bias, dense, errors, ours, outcome, scores, tensors

from alibi.model import LanguageModel, ModelConfig, fused, gradient_columns
from alibi.model.attention import attend
from alibi.model.content import KeySizes

TINY = torch.finfo(torch.float32).tiny


@pytest.fixture
def denormals(monkeypatch):
    """Denormal numbers among the weights and the scores' gradients of all blocks, as the kernel is given them."""
    found = Counter()
    backward = fused.kernel_backward

    def count(name, x):
        found[name] += int(((x != 0) & (x.abs() < TINY)).sum())

    def watch(grad, q, k, v, out, lse, *rest, attn_mask, scale):
        weight = (q @ k.transpose(2, 3) * scale + attn_mask - lse[..., None]).exp()
        count("weights", weight)
        count("gradients", weight * (grad @ v.transpose(2, 3) - (grad * out).sum(-1, keepdim=True)))
        found["calls"] += 1
        return backward(grad, q, k, v, out, lse, *rest, attn_mask=attn_mask, scale=scale)

    for module in (fused, gradient_columns):
        monkeypatch.setattr(module, "kernel_backward", watch)
    return found


def without_floor(monkeypatch):
    monkeypatch.setattr(KeySizes, "bias_depth", lambda self, q, first, scale: torch.full((q.shape[1],), math.inf))


def train_step(method: str, length: int, skip_far_keys: bool) -> None:
    """As in training, but for the optimizer: gradients are of the mean over all tokens, and small."""
    model = LanguageModel(ModelConfig({"name": method}, num_layers=2, d_model=64, num_heads=4), 200, seed=0).train()
    model.transformer.skip_far_keys = skip_far_keys
    ids = torch.randint(200, (2, length + 1), generator=torch.Generator().manual_seed(0))
    (model.total_nats(ids[:, :-1], ids[:, 1:]) / (2 * length)).backward()


@pytest.mark.parametrize(
    ("method", "length", "skip_far_keys"),
    [
        *(("alibi", 400, True), ("alibi", 1500, True), ("alibi", 1500, False)),
        *(("alibi_learned", 1500, True), ("fox", 400, True), ("fox", 1500, True), ("cable", 400, True)),
    ],
)
def test_no_weight_and_no_gradient_is_denormal(method, length, skip_far_keys, denormals):
    train_step(method, length, skip_far_keys)
    assert denormals["calls"]
    assert (denormals["weights"], denormals["gradients"]) == (0, 0)


@pytest.mark.parametrize("method", ["alibi", "fox", "cable"])
def test_without_the_floor_there_are_denormals(method, denormals, monkeypatch):
    """Control."""
    without_floor(monkeypatch)
    train_step(method, 400, True)
    assert min(denormals["weights"], denormals["gradients"]) > 1000


def content(length: int, num_heads: int, size: float, shared: float, dtype, seed: int):
    q, k, v, grad = (t.double() for t in tensors(length, num_heads, seed=seed))
    return (size * q).to(dtype), (size * k + shared).to(dtype), v.to(dtype), grad.to(dtype)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 700), st.sampled_from([1, 3, 8]), st.floats(0.1, 8.0), st.sampled_from([0.0, 20.0]),
    st.booleans(), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_output_and_gradients_are_those_of_the_exact_bias(length, num_heads, size, shared, causal, padded, seed):
    padding = torch.zeros(1, length, dtype=torch.bool)
    padding[:, : length // 3 * padded] = True
    forward = ours(bias("alibi", num_heads, causal), causal, padding_BM=padding if padded else None)
    given_tensors = content(length, num_heads, size, shared, torch.float64, seed)
    floored = outcome(forward, *given_tensors)
    with pytest.MonkeyPatch.context() as patch:
        without_floor(patch)
        exact = outcome(forward, *given_tensors)
    assert max(errors(floored, exact).values()) < 1e-13


def test_in_float32_the_floor_costs_nothing():
    """Next to the float64 reference, the same error with the floor and without."""
    added, given_tensors = bias("alibi", 8), content(1200, 8, 1.5, 0.0, torch.float32, 0)
    exact = outcome(dense(added), *given_tensors)
    floored = errors(outcome(ours(added), *given_tensors), exact)
    with pytest.MonkeyPatch.context() as patch:
        without_floor(patch)
        plain = errors(outcome(ours(added), *given_tensors), exact)
    assert all(floored[name] <= 1.001 * plain[name] for name in exact), (floored, plain)


@pytest.mark.parametrize("path", ["line", "explicit positions", "public torch"])
def test_the_floor_is_on_every_path(path, monkeypatch):
    """A floor at the query's own bias takes the whole bias away: that of one path alone would be seen."""
    monkeypatch.setattr(KeySizes, "bias_depth", lambda self, q, first, scale: torch.zeros(q.shape[1]))
    q, k, v, _ = tensors(300, 4)
    # Public torch takes over where attention drops weights; so few that none of these is dropped.
    dropout = 1e-9 if path == "public torch" else 0.0
    biased, plain = (
        attend(q, k, v, scores(added, 300, consecutive=path != "explicit positions"), SCALE, dropout)
        for added in (bias("alibi", 4), None)
    )
    assert (biased - plain).abs().max() < 1e-5


def strong_first_key(length: int) -> tuple[torch.Tensor, ...]:
    """The first key scores 60 nats over the others: a head of slope 1/16 sees it over some 960 keys."""
    q, k, v, grad = tensors(length, 2)
    q[..., 0], k[..., 0] = 40.0, 0.0
    k[:, :, 0, 0] = 60 * math.sqrt(8) / 40
    return q, k, v, grad


def test_the_floor_gives_way_to_content():
    added, given_tensors = bias("alibi", 2), strong_first_key(1200)
    exact = outcome(dense(added), *given_tensors)
    assert max(errors(outcome(ours(added), *given_tensors), exact).values()) < 1e-4
    with pytest.MonkeyPatch.context() as patch:  # control: a floor that does not look at content
        patch.setattr(KeySizes, "bias_depth", lambda self, q, first, scale: torch.full((q.shape[1],), 60.0))
        assert errors(outcome(ours(added), *given_tensors), exact)["out"] > 1e-2


def test_the_depth_bounds_every_row_and_is_finite_only_for_finite_content():
    q, k, _, _ = content(200, 3, 2.0, 5.0, torch.float32, 1)
    products = (q @ k.transpose(2, 3)).double() * SCALE
    over_own = (products - products.diagonal(dim1=2, dim2=3)[..., None]).amax((0, 2, 3))
    depth = KeySizes(k).bias_depth(q, 0, SCALE)
    assert (depth > over_own + math.log(200) + 16.6).all()
    assert (depth < 1.5 * over_own + math.log(200) + 50).all()
    k += 1000.0  # a part that all keys share cancels in the bound, but not between products rounded to bf16
    with torch.autocast("cpu", torch.bfloat16):
        narrow = KeySizes(k).bias_depth(q, 0, SCALE)
    assert torch.equal(narrow, KeySizes(k).bias_depth(q, 0, SCALE))
    q[0, 1, 5], k[0, 2, 5] = math.nan, math.inf
    assert KeySizes(k).bias_depth(q, 0, SCALE).isfinite().tolist() == [True, False, False]


def test_the_depth_is_enough_for_every_row_of_a_batch():
    q, k, _, _ = content(200, 3, 2.0, 0.0, torch.float32, 1)
    wide = KeySizes(k).bias_depth(4 * q, 0, SCALE)
    assert (wide > KeySizes(k).bias_depth(q, 0, SCALE)).all()
    for rows in ((q, 4 * q), (4 * q, q)):
        torch.testing.assert_close(KeySizes(torch.cat([k, k])).bias_depth(torch.cat(rows), 0, SCALE), wide)


def test_a_query_that_scores_itself_lowest_needs_the_deepest_floor():
    _, k, _, _ = content(200, 3, 2.0, 0.0, torch.float32, 1)
    products = (-k @ k.transpose(2, 3)).double() * SCALE
    over_own = (products - products.diagonal(dim1=2, dim2=3)[..., None]).amax((0, 2, 3))
    assert (KeySizes(k).bias_depth(-k, 0, SCALE) > over_own + math.log(200) + 16.6).all()

"""Attention through the fused kernel against a dense float64 reference, beside the error of plain attention."""

import math

import pytest
import torch
from dense_bias import dense_bias
from largest_result import LargestResult
from stack_inputs import settings_of
from torch.nn.functional import scaled_dot_product_attention

from alibi.model import attention, gradient_tiles
from alibi.model.attention import attend
from alibi.model.mask import Mask, Pass
from alibi.model.score_bias import ScoreBias
from alibi.positions import Bias, DistanceBias, Position, build_position

NAMES = ("out", "q", "k", "v")
SCALE = 8**-0.5


def method(name: str, num_heads: int, causal: bool = True) -> Position:
    position = build_position(settings_of(name), 8 * num_heads, num_heads, causal)
    position.initialise(torch.Generator().manual_seed(0))
    return position


def bias(name: str, num_heads: int, causal: bool = True, length: int = 0, batch: int = 1) -> Bias | None:
    """Of a method at its start, and of texts of this length if the method asks for their content."""
    return bias_at(method(name, num_heads, causal), length, batch)


def bias_at(position: Position, length: int, batch: int = 1) -> Bias | None:
    x = torch.randn(batch, length, position.d_model, generator=torch.Generator().manual_seed(length))
    by_content = position.content_bias(x, torch.arange(length), position.remember(x))
    return position.bias() if by_content is None else by_content


def scores(added: Bias | None, length: int, causal: bool = True, first_query: int = 0, **values) -> ScoreBias:
    """`values` are those of Pass or Mask."""
    keys = torch.arange(length)
    of_mask = {name: values.pop(name) for name in ("window", "sink_tokens", "head_windows") if name in values}
    return ScoreBias(added, Mask(Pass(keys[first_query:], keys, first_query, causal, **values), **of_mask))


def tensors(length: int, num_heads: int, dtype=torch.float32, batch: int = 1, head_dim: int = 8, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    shape = batch, length, num_heads, head_dim
    return [torch.randn(shape, generator=generator).to(dtype).transpose(1, 2) for _ in range(4)]


def outcome(forward, q, k, v, grad, rows=slice(None)) -> dict[str, torch.Tensor]:
    """Output of the queries `rows` and, with `grad` for its gradient, those of q, k and v."""
    q, k, v = (t.detach().clone().requires_grad_() for t in (q, k, v))
    out = forward(q, k, v)[:, :, rows]
    gradients = torch.autograd.grad(out, (q, k, v), grad[:, :, rows].to(out.dtype))
    return dict(zip(NAMES, (out.detach(), *gradients), strict=True))


def dense(added: Bias | None, causal: bool = True, rows=slice(None)):
    """softmax(q k^T / sqrt(head_dim) + bias) v written out in float64, of the queries `rows`; others are zero."""

    def forward(q, k, v):
        q, k, v = q.double(), k.double(), v.double()
        keys = torch.arange(k.shape[2])
        queries = keys[rows]
        scores_BHLM = q[:, :, rows] @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        if isinstance(added, DistanceBias):
            scores_BHLM = scores_BHLM + added.at(queries[:, None] - keys).double()
        else:
            scores_BHLM = scores_BHLM + dense_bias(added, keys)[:, :, rows]
        scores_BHLM = scores_BHLM.masked_fill(keys > queries[:, None], -math.inf) if causal else scores_BHLM
        out = torch.zeros_like(q)
        out[:, :, rows] = scores_BHLM.softmax(-1) @ v
        return out

    return forward


def ours(added: Bias | None, causal: bool = True, **values):
    def forward(q, k, v):
        return attend(q, k, v, scores(added, q.shape[2], causal, **values), SCALE)

    return forward


def errors(got: dict, exact: dict) -> dict[str, float]:
    """Relative to the size of the exact tensor; one key alone has gradients of zero, held against v's."""
    least = 1e-6 * exact["v"].norm()
    return {
        name: ((got[name].double() - exact[name]).norm() / exact[name].norm().maximum(least)).item() for name in exact
    }


def rows_of_batch(length: int) -> int:
    return 1 if length > 2 else 200  # a few numbers alone are luck


def assert_as_exact_as_plain(added, num_heads, length, dtype, causal=True, rows=slice(None), forward=None):
    """Output and gradients: at most 1.5 times the error of torch's attention without position, on the same numbers."""
    forward = forward or ours(added, causal)
    given = tensors(length, num_heads, dtype, batch=rows_of_batch(length))
    plain = outcome(lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=causal), *given, rows)
    floor = errors(plain, outcome(dense(None, causal, rows), *given, rows))
    found = errors(outcome(forward, *given, rows), outcome(dense(added, causal, rows), *given, rows))
    # One key alone leaves nothing to be wrong, and no sum can be asked to be nearer than half a unit.
    half_unit = torch.finfo(dtype).eps / 2
    for name in NAMES:
        assert found[name] <= 1.5 * max(floor[name], half_unit), (name, found, floor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 2, 97, 256, 513, 1200])
@pytest.mark.parametrize(("name", "num_heads"), [("alibi", 8), ("alibi", 6), ("none", 8), ("t5", 6)])
def test_the_error_is_that_of_plain_attention(name, num_heads, length, dtype):
    assert_as_exact_as_plain(bias(name, num_heads), num_heads, length, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [2, 97, 513])
@pytest.mark.parametrize("name", ["fire", "fox", "cable", "inkling", "kerple_log"])
def test_the_error_is_that_of_plain_attention_for_every_kind_of_bias(name, length, dtype):
    added = bias(name, 6, length=length, batch=rows_of_batch(length))
    assert_as_exact_as_plain(added, 6, length, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["alibi", "t5"])
def test_the_error_is_that_of_plain_attention_in_an_encoder(name, dtype):
    for length in (1, 301, 700):
        assert_as_exact_as_plain(bias(name, 6, causal=False), 6, length, dtype, causal=False)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "name", "num_heads"), [(4095, "alibi", 8), (16_384, "alibi", 3), (16_384, "t5", 3)])
def test_the_error_is_that_of_plain_attention_far_past_any_block(length, name, num_heads):
    """Some hundred queries all over the text, and the gradients that they alone give."""
    rows = torch.cat([torch.arange(0, length, length // 300), torch.arange(length - 3, length)]).unique()
    assert_as_exact_as_plain(bias(name, num_heads), num_heads, length, torch.float32, rows=rows)


def by_public_torch(added: Bias):
    def forward(q, k, v):
        return attention._attend_in_blocks(q, k, v, scores(added, q.shape[2]), SCALE, 0.0)

    return forward


def large_table() -> Bias:
    """Of T5's, as training may make it: up to 18, of which bf16 keeps no digit behind the point but three."""
    position = method("t5", 6)
    with torch.no_grad():
        position.table.mul_(50)
    return position.bias()


@pytest.mark.parametrize("name", ["alibi", "t5", "large t5", "fox", "inkling"])
@pytest.mark.parametrize("length", [97, 512, 1200])
def test_the_error_is_that_of_plain_attention_by_public_torch(name, length):
    """Where kernels want the bias in the query's type, bf16."""
    added = large_table() if name == "large t5" else bias(name, 6, length=length)
    assert_as_exact_as_plain(added, 6, length, torch.bfloat16, forward=by_public_torch(added))


def test_a_bias_rounded_as_it_is_fails_the_test_of_error(monkeypatch):
    """Control."""
    monkeypatch.setattr(attention, "_in_type", lambda bias, dtype: bias.to(dtype))
    added = large_table()
    with pytest.raises(AssertionError):
        assert_as_exact_as_plain(added, 6, 512, torch.bfloat16, forward=by_public_torch(added))


def test_a_bias_in_rows_alike_fails_the_test_of_error(monkeypatch):
    """Control: the form m * j, which the softmax makes the same, loses digits as j grows."""

    def rows_alike(self, start, stop, dtype, first=0, last=None, heads=slice(None)):
        keys = torch.arange(first, self.of.keys_seen(stop) if last is None else last)
        query = torch.arange(stop - 1, start - 1, -1)
        row = self.term.bias.slopes_H.to(dtype)[heads, None, None] * keys
        return row.masked_fill(keys > query[:, None], -math.inf)[None]

    monkeypatch.setattr(ScoreBias, "block", rows_alike)
    with pytest.raises(AssertionError):
        assert_as_exact_as_plain(bias("alibi", 8), 8, 1200, torch.float32)


@pytest.mark.parametrize("constant_from", [None, 128])
def test_a_learned_table_gets_its_gradient(constant_from, monkeypatch):
    """With the far keys visited, and with their sum taken from what the near ones lack."""
    position = method("t5", 6).double()
    monkeypatch.setattr(type(position.bias()), "constant_from", constant_from)
    given = tensors(700, 6, torch.float64, batch=2)
    found = {}
    for name, forward in (("ours", ours(position.bias())), ("dense", dense(position.bias()))):
        q, k, v, grad = given
        found[name] = torch.autograd.grad(forward(q, k, v), position.table, grad)[0]
    assert (found["ours"] - found["dense"]).abs().max() < 1e-10
    assert found["dense"][-1].abs().max() > 1e-3


@pytest.mark.parametrize("causal", [True, False])
def test_a_learned_table_gets_its_gradient_from_where_the_method_calls_it_constant(causal):
    position, (q, k, v, grad) = method("t5", 6, causal).double(), tensors(700, 6, torch.float64)
    mine, full = (
        torch.autograd.grad(forward(q, k, v), position.table, grad)[0]
        for forward in (ours(position.bias(), causal), dense(position.bias(), causal))
    )
    assert (mine - full).abs().max() < 1e-10


LARGE = {
    "causal": ["none", "alibi", "alibi_learned", "t5", "kerple_log", "fire", "fox", "cable", "inkling", "hard_alibi"],
    "encoder": ["none", "alibi", "alibi_learned", "t5", "kerple_log"],
    "padded": ["none", "alibi", "t5", "fox", "inkling"],
    "dropout": ["none", "alibi", "t5", "cable", "hard_alibi"],
}


@pytest.mark.parametrize(("name", "use"), [(name, use) for use, names in LARGE.items() for name in names])
def test_no_matrix_of_lengths_in_training(name, use):
    """Nor is anything kept for the backward pass that grows with the square: memory over blocks is not added up."""
    L, causal = 4096, use != "encoder"
    position = method(name, 2, causal)
    q, k, v, grad = (t.requires_grad_() for t in tensors(L, 2))
    padding = torch.arange(L)[None] < 9 if use == "padded" else None
    kept = 0

    def keep(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with LargestResult() as largest:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            masked = {"padding_BM": padding, "head_windows": position.head_windows()}
            added = scores(bias_at(position, L), L, causal, **masked)
            out = attend(q, k, v, added, SCALE, 0.1 if use == "dropout" else 0.0)
        out.backward(grad.detach())
    assert largest.elements < L * L
    assert kept < L * L


def test_dense_attention_fails_the_test_of_memory():
    q, k, v, grad = (t.requires_grad_() for t in tensors(512, 2))
    with LargestResult() as largest:
        dense(bias("alibi", 2))(q, k, v).backward(grad.detach())
    assert largest.elements >= 512 * 512


@pytest.mark.parametrize("which", NAMES)
def test_any_layout_in_memory_gives_the_same(which):
    """Queries, keys, values or the gradient of the output with their last dimension not innermost."""
    given = tensors(300, 4, torch.float64)
    wanted = outcome(ours(bias("alibi", 4)), *given)
    moved = dict(zip(("q", "k", "v", "out"), given, strict=True))
    moved[which] = moved[which].transpose(2, 3).contiguous().transpose(2, 3)
    assert moved[which].stride(-1) != 1
    q, k, v = (moved[name].detach().requires_grad_() for name in ("q", "k", "v"))
    out = ours(bias("alibi", 4))(q, k, v)
    found = dict(zip(NAMES, (out, *torch.autograd.grad(out, (q, k, v), moved["out"])), strict=True))
    for name in NAMES:
        assert (found[name] - wanted[name]).abs().max() < 1e-12


@pytest.mark.parametrize("causal", [True, False])
def test_short_and_long_plain_attention_agree_whichever_kernel_is_faster(causal, monkeypatch):
    given = tensors(300, 4, torch.float64)
    monkeypatch.setattr(attention, "TORCH_IS_FASTER_FROM", 1)
    torchs = outcome(ours(None, causal), *given)
    monkeypatch.setattr(attention, "TORCH_IS_FASTER_FROM", 10**9)
    blocks = outcome(ours(None, causal), *given)
    for name in NAMES:
        assert (torchs[name] - blocks[name]).abs().max() < 1e-12


@pytest.mark.parametrize("faster_from", [1, 10**9])
def test_a_tail_of_queries_is_a_slice_whichever_kernel_is_faster(faster_from, monkeypatch):
    """Torch's causal kernel takes the first query to be at the first key, which is wrong for a tail."""
    monkeypatch.setattr(attention, "TORCH_IS_FASTER_FROM", faster_from)
    q, k, v, _ = tensors(300, 4, torch.float64)
    tail = attend(q[:, :, 200:], k, v, scores(None, 300, first_query=200), SCALE)
    assert (tail - ours(None)(q, k, v)[:, :, 200:]).abs().max() < 1e-12


def test_sums_along_equal_distances():
    x = torch.randn(2, 5, 7)
    wanted = torch.zeros(2, 11)
    for r in range(5):
        for c in range(7):
            wanted[:, r + c] += x[:, r, c]
    assert torch.allclose(gradient_tiles._sum_antidiagonals(x), wanted, atol=1e-6)

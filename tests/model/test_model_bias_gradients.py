"""Gradients of every kind of bias through the fused kernel, against autograd on softmax written out in float64.

Legend: B batch, L queries, M keys, H heads, C queries of a block.
"""

import math

import pytest
import torch
from kinds_of_bias import KINDS, Logarithmic, Table, pair
from test_model_mask import visible
from torch import Tensor
from torch.nn.functional import softplus

from alibi.model import fused, gradient_columns
from alibi.model.attention import attend
from alibi.model.bias_terms import DecayTerm
from alibi.model.gradient_columns import Columns
from alibi.model.mask import Mask, Pass
from alibi.model.score_bias import ScoreBias
from alibi.positions import Bias, DecayBias, DistanceBias, LinearBias, PairBias, QueryTableBias

B, H, K = 2, 3, 8
SCALE = 0.4


def content(L: int, M: int, batch: int = B, heads: int = H, seed: int = 0) -> list[Tensor]:
    """Queries, keys, values and the gradient of the output, in float64."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (L, M, M, L)
    return [torch.randn(batch, heads, size, K, dtype=torch.float64, generator=generator) for size in sizes]


def rows_of(bias: Bias, of: Pass, start: int, stop: int) -> Tensor:
    """(1 or B, H, C, M): the bias of these queries; of later keys anything."""
    query, key = of.query_positions[start:stop, None], of.key_positions
    if isinstance(bias, DistanceBias):
        return bias.at(query - key)[None]
    if isinstance(bias, PairBias):
        return bias.at(query[None, None], key[None, None, None], *bias.parameters)
    if isinstance(bias, DecayBias):
        total_BHM = bias.log_decay_BHM.double().cumsum(-1)
        decay = total_BHM[:, :, of.first_query + start : of.first_query + stop, None] - total_BHM[:, :, None]
        decay = decay.to(bias.log_decay_BHM.dtype)
        return decay if bias.gain_BHL is None else decay * bias.gain_BHL[:, :, start:stop, None]
    table_BHCE, distance = bias.table_BHLE[:, :, start:stop], query - key
    E = table_BHCE.shape[-1]
    near = table_BHCE.gather(-1, distance.clamp(0, E - 1).expand(*table_BHCE.shape[:2], -1, -1))
    return near.masked_fill(distance >= E, 0.0)


def by_hand(kind: str, parameters, tensors, of: Pass, seen_BHLM, dtype=torch.float64) -> list[Tensor]:
    """Gradients of the parameters, some queries at a time, by torch's autograd in this type."""
    parameters = [p.to(dtype).requires_grad_() for p in parameters]
    q, k, v, grad = (t.to(dtype) for t in tensors)
    total = [torch.zeros_like(p) for p in parameters]
    for start in range(0, of.num_queries, 256):
        rows = slice(start, start + 256)
        bias = rows_of(KINDS[kind].make(*parameters), of, start, min(start + 256, of.num_queries))
        scores = SCALE * (q[:, :, rows] @ k.transpose(2, 3)) + bias.to(dtype)
        out = scores.masked_fill(~seen_BHLM[:, :, rows], -math.inf).softmax(-1) @ v
        for one, more in zip(total, torch.autograd.grad(out, parameters, grad[:, :, rows]), strict=True):
            one += more
    return total


def ours(make, parameters, tensors, of: Pass, dtype=torch.float64, **windows) -> list[Tensor]:
    """Those of attention; the content is of the type, parameters are in float32 or wider."""
    wide = torch.promote_types(dtype, torch.float32)
    parameters = [p.detach().to(wide).requires_grad_() for p in parameters]
    q, k, v, grad = (t.to(dtype) for t in tensors)
    out = attend(q, k, v, ScoreBias(make(*parameters), Mask(of, **windows)), SCALE)
    return list(torch.autograd.grad(out, parameters, grad))


def errors(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]


@pytest.fixture
def fused_blocks(monkeypatch):
    """How many blocks went backward through the fused kernel."""
    calls, kernel = [], fused.kernel_backward

    def watch(*args, **kwargs):
        calls.append(1)
        return kernel(*args, **kwargs)

    for module in (fused, gradient_columns):
        monkeypatch.setattr(module, "kernel_backward", watch)
    return calls


USES = {
    "all keys": {},
    "a tail of queries": {"first_query": 217},
    "window": {"window": 70},
    "window and sinks": {"window": 70, "sink_tokens": 5},
    "windows of heads": {"head_windows": (1, None, 200)},
    "windows of heads and sinks": {"head_windows": (300, 5, None), "sink_tokens": 3, "first_query": 100},
    "encoder": {"causal": False},
}
CASES = [(kind, use) for kind in KINDS for use in USES if not (KINDS[kind].causal_only and use == "encoder")]


@pytest.mark.parametrize(("kind", "use"), CASES)
def test_gradients_are_those_of_the_dense_form(kind, use, fused_blocks):
    """Several blocks of queries and tiles of keys."""
    M, wanted = 600, dict(USES[use])
    first_query, causal = wanted.pop("first_query", 0), wanted.pop("causal", True)
    keys = torch.arange(M)
    of = Pass(keys[first_query:], keys, first_query, causal)
    parameters, tensors = KINDS[kind].parameters(B, H, M - first_query, M), content(M - first_query, M)
    exact = by_hand(kind, parameters, tensors, of, visible(Mask(of), **wanted))
    assert max(errors(ours(KINDS[kind].make, parameters, tensors, of, **wanted), exact)) < 1e-11
    assert fused_blocks, "on the fused path"
    # Control: a mask off by one key, or queries off by one.
    off = {**wanted, "window": 69} if "window" in wanted else {**wanted, "head_windows": (M - 150, 4, 199)}
    wrong = by_hand(kind, parameters, tensors, of, visible(Mask(of), **(off if causal else {"window": 590})))
    assert max(errors(wrong, exact)) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_dense_form_by_public_torch(kind, fused_blocks):
    """With padding, and at explicit positions."""
    M = 300
    padding = torch.zeros(B, M, dtype=torch.bool)
    padding[1, :40] = True
    keys = torch.arange(M)
    of = Pass(keys, keys, padding_BM=padding)
    parameters, tensors = KINDS[kind].parameters(B, H, M, M), content(M, M)
    tensors[3][1, :, :40] = 0.0  # what comes out at padding has no gradient
    if kind.startswith("decay"):  # nor has padding a decay
        make = KINDS[kind].make
        bare = make(*parameters).log_decay_BHM * ~padding[:, None]
        parameters[0] = torch.where(padding[:, None], -1e3, parameters[0])
        assert torch.allclose(make(*parameters).log_decay_BHM, bare)
    exact = by_hand(kind, parameters, tensors, of, visible(Mask(of)))
    found = ours(KINDS[kind].make, parameters, tensors, of, window=100)
    assert max(errors(found, exact)) > 1e-9, "control: a window that the dense form has not"
    assert max(errors(ours(KINDS[kind].make, parameters, tensors, of), exact)) < 1e-11
    gaps = torch.randint(1, 3, (M,), generator=torch.Generator().manual_seed(0)).cumsum(0)
    of = Pass(gaps, gaps, consecutive=False)
    exact = by_hand(kind, parameters, tensors, of, visible(Mask(of)))
    assert max(errors(ours(KINDS[kind].make, parameters, tensors, of), exact)) < 1e-11
    assert not fused_blocks


LONG = 4096
BOUND = 5e-6  # of relative error; plain float32 has some 2e-7, more where a gradient is a small sum of large numbers


def long_errors(kind: str, dtype: torch.dtype, M: int = LONG) -> tuple[list[float], list[float]]:
    """Of attention, and of plain arithmetic in float32, for one row of two heads."""
    keys, seen = torch.arange(M), torch.ones(1, 1, M, M, dtype=torch.bool).tril_()
    of = Pass(keys, keys)
    parameters = KINDS[kind].parameters(1, 2, M, M, dtype=torch.float32)
    if kind.startswith("decay"):
        parameters[0] += 3  # most of a nat at each step, so that prefix sums are thousands
    tensors = [t.to(dtype) for t in content(M, M, 1, 2)]
    exact = by_hand(kind, parameters, tensors, of, seen)
    plain = by_hand(kind, parameters, tensors, of, seen, torch.float32)
    return errors(ours(KINDS[kind].make, parameters, tensors, of, dtype), exact), errors(plain, exact)


@pytest.mark.parametrize(
    "kind",
    [
        "linear",
        "line",
        "line, constant at last",
        "decay",
        "decay with a gain",
        "table of each query",
        "pair",
    ],
)
def test_in_float32_gradients_of_long_texts_keep_their_digits(kind):
    M = LONG if kind in ("linear", "line", "decay", "decay with a gain") else 1024  # others are sums of near keys
    found, plain = long_errors(kind, torch.float32, M)
    assert all(one < max(BOUND, 3 * other) for one, other in zip(found, plain, strict=True)), (found, plain)


def test_prefix_sums_in_float32_fail_the_bound(monkeypatch):
    """Control: the difference of two sums of thousands."""
    build = DecayTerm.__init__

    def narrow(self, bias, of):
        build(self, bias, of)
        self.total_BHM = self.total_BHM.float()
        self.inputs = (self.total_BHM,)

    monkeypatch.setattr(DecayTerm, "__init__", narrow)
    assert max(long_errors("decay", torch.float32)[0]) > 2 * BOUND


@pytest.mark.parametrize(
    "kind",
    [
        "linear",
        "line",
        "line, constant at last",
        "decay",
        "decay with a gain",
        "table of each query",
        "pair",
    ],
)
def test_in_bfloat16_gradients_have_the_digits_of_their_content(kind):
    """Parameters are in float32, so that nothing but the attention's output is rounded to bf16, 2^-9 of it."""
    assert max(long_errors(kind, torch.bfloat16, 1024)[0]) < 2e-2


def decayed(i: Tensor, j: Tensor, log_decay_BHM: Tensor, gain_BHL: Tensor | None = None) -> Tensor:
    total_BHM, query, key = log_decay_BHM.cumsum(-1), i[0, 0, :, 0], j[0, 0, 0]
    decay = total_BHM[:, :, query, None] - total_BHM[:, :, None, key]
    return decay if gain_BHL is None else decay * gain_BHL[:, :, query, None]


def tabled(i: Tensor, j: Tensor, table_BHLE: Tensor) -> Tensor:
    distance, E = i - j, table_BHLE.shape[-1]
    rows = table_BHLE[:, :, i[0, 0, :, 0]]
    at = rows.gather(-1, distance.clamp(0, E - 1).expand(*rows.shape[:2], -1, -1))
    return at.masked_fill((distance < 0) | (distance >= E), 0.0)


def line_of(make_line):
    """A bias by distance as one of two positions."""
    return lambda i, j, *own: make_line(*own).at(i - j).movedim(0, 2)[0]


AS_PAIR = {
    "linear": lambda a: PairBias(lambda i, j, s_H: -s_H.view(-1, 1, 1) * (i - j).abs(), (softplus(a - 2),)),
    "line": lambda a: PairBias(line_of(Logarithmic), (softplus(a),)),
    "line, constant at last": lambda a: PairBias(line_of(Table), (a,)),
    "decay": lambda a: PairBias(decayed, (-softplus(a - 3),)),
    "decay with a gain": lambda a, b: PairBias(decayed, (-softplus(a - 3), softplus(b))),
    "table of each query": lambda a: PairBias(tabled, (a,)),
}


@pytest.mark.parametrize("windows", [{}, {"window": 70, "sink_tokens": 5}, {"head_windows": (1, None, 200)}])
@pytest.mark.parametrize("kind", AS_PAIR)
def test_every_kind_may_be_written_as_a_pair_bias(kind, windows):
    """Slower, and with the same output and gradients, of queries, keys and values too."""
    M, keys = 600, torch.arange(600)
    of, (q, k, v, grad) = Pass(keys, keys), content(M, M)
    found = []
    for make in (KINDS[kind].make, AS_PAIR[kind]):
        inputs = [t.detach().requires_grad_() for t in (q, k, v, *KINDS[kind].parameters(B, H, M, M))]
        bias = make(*inputs[3:])
        out = attend(*inputs[:3], ScoreBias(bias, Mask(of, **windows)), SCALE)
        found.append([out.detach(), *torch.autograd.grad(out, inputs, grad)])
    assert isinstance(bias, PairBias)
    assert max(errors(*found)) < 1e-11


def test_another_pair_bias_fails_the_comparison():
    """Control."""
    M, keys = 300, torch.arange(300)
    of, tensors, parameters = Pass(keys, keys), content(M, M), KINDS["pair"].parameters(B, H, M, M)
    right = ours(KINDS["pair"].make, parameters, tensors, of)
    wrong = ours(lambda a, b: PairBias(lambda i, j, *own: pair(i + 1, j, *own), (a, b)), parameters, tensors, of)
    assert max(errors(wrong, right)) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_no_gradient_gets_none(kind):
    M, keys = 300, torch.arange(300)
    of, (q, k, v, grad) = Pass(keys, keys), content(M, M)
    parameters = KINDS[kind].parameters(B, H, M, M)
    for number, learned in enumerate(parameters):
        own = [p.requires_grad_(at == number) for at, p in enumerate(parameters)]
        out = attend(q, k, v, ScoreBias(KINDS[kind].make(*own), Mask(of)), SCALE)
        alone = torch.autograd.grad(out, learned, grad)[0]
        together = ours(KINDS[kind].make, parameters, (q, k, v, grad), of)[number]
        assert (alone - together).abs().max() < 1e-12


def test_a_pair_bias_may_leave_a_parameter_out():
    """A setting may switch off what a parameter is for; its gradient is then zero."""
    keys, tensors = torch.arange(300), content(300, 300)
    found = ours(lambda a: PairBias(lambda i, j, a: 0.1 * (j - i), (a,)), [torch.ones(3)], tensors, Pass(keys, keys))
    assert not found[0].any()


def test_nothing_is_collected_where_nothing_is_learned(fused_blocks, monkeypatch):
    def never(*args):
        raise AssertionError("collected")

    keys = torch.arange(300)
    monkeypatch.setattr(Columns, "__init__", never)
    q, k, v, grad = content(300, 300)
    for bias in (
        LinearBias(torch.ones(3)),
        DecayBias(-torch.ones(2, 3, 300)),
        QueryTableBias(torch.ones(2, 3, 300, 5)),
    ):
        out = attend(q.requires_grad_(), k, v, ScoreBias(bias, Mask(Pass(keys, keys))), SCALE)
        assert torch.autograd.grad(out, q, grad)[0].isfinite().all()
    assert fused_blocks

"""Each kind of bias in blocks against the whole bias, the bound on its far keys, and what is no kind of bias."""

import math
from dataclasses import dataclass

import pytest
import torch
from dense_bias import dense_bias
from hypothesis import given
from hypothesis import strategies as st
from kinds_of_bias import EXTENT, KINDS
from torch.nn.functional import softplus

from alibi.model import LanguageModel, ModelConfig
from alibi.model.bias_terms import (
    PAIR_KEYS,
    DecayTerm,
    DistanceTerm,
    LinearTerm,
    PairTerm,
    QueryTableTerm,
    term_of,
)
from alibi.model.content import MARGIN
from alibi.model.mask import Mask, Pass
from alibi.model.score_bias import ScoreBias
from alibi.positions import DecayBias, DistanceBias, LinearBias, PairBias, Position, QueryTableBias

B, H = 2, 3


def bias_of(kind: str, M: int, first: int = 0, seed: int = 0):
    return KINDS[kind].make(*KINDS[kind].parameters(B, H, M - first, M, seed))


def whole(kind: str, M: int, first: int, positions=None, padding_BM=None) -> torch.Tensor:
    """(1 or B, H, L, M): the bias of all queries from `first` on, from that of a pass over all of them."""
    a, *rest = KINDS[kind].parameters(B, H, M - first, M)
    if kind in ("table of each query", "decay with a gain"):  # rows of queries before the first are never read
        rows = a if kind == "table of each query" else rest[0]
        rows = torch.cat([rows.new_zeros(B, H, first, *rows.shape[3:]), rows], dim=2)
        a, rest = (rows, []) if kind == "table of each query" else (a, [rows])
    bias = KINDS[kind].make(a, *rest)
    if padding_BM is not None and isinstance(bias, DecayBias):
        bias = DecayBias(bias.log_decay_BHM * ~padding_BM[:, None], bias.gain_BHL)
    return dense_bias(bias, torch.arange(M) if positions is None else positions)[:, :, first:]


def assert_block_is(term, full: torch.Tensor, start: int, stop: int, first: int, last: int) -> None:
    """Of keys that a query may see; of later ones a kind may say anything that is a number."""
    block = term.block(start, stop, first, last).flip(2)
    wanted = full[:, :, start:stop, first:last]
    seen = (term.of.first_query + torch.arange(start, stop))[:, None] >= torch.arange(first, last)
    block, wanted, seen = torch.broadcast_tensors(block, wanted, seen)
    assert block.isfinite().all()
    difference = ((block - wanted).abs() / (1 + wanted.abs()))[seen]
    assert not difference.numel() or difference.max() < 1e-12


@given(st.sampled_from(sorted(KINDS)), st.integers(1, 90), st.data())
def test_blocks_are_the_whole_bias(kind, M, data):
    first_query = data.draw(st.integers(0, M - 1))
    start = data.draw(st.integers(0, M - first_query - 1))
    stop = data.draw(st.integers(start + 1, M - first_query))
    first = data.draw(st.integers(0, first_query + stop - 1))
    last = data.draw(st.integers(first + 1, first_query + stop))
    keys = torch.arange(M)
    term = term_of(bias_of(kind, M, first_query), Pass(keys[first_query:], keys, first_query))
    assert_block_is(term, whole(kind, M, first_query), start, stop, first, last)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_the_whole_bias_at_positions_of_each_row(kind):
    """With gaps, far away, and different in every row; decays count tokens, not positions."""
    M, first_query = 90, 7
    gaps = torch.randint(1, 4, (B, M), generator=torch.Generator().manual_seed(0)).cumsum(1)
    rows = gaps + torch.tensor([[3], [4000]])
    for positions in (gaps[0], rows):
        term = term_of(
            bias_of(kind, M, first_query),
            Pass(positions[..., first_query:], positions, first_query, consecutive=False),
        )
        full = whole(kind, M, first_query, positions)
        for block in ((0, 83, 0, 90), (20, 30, 0, 37), (20, 30, 25, 30), (82, 83, 89, 90)):
            assert_block_is(term, full, *block)
    if kind not in ("decay", "decay with a gain"):
        with pytest.raises(AssertionError):  # control: the positions of another row
            assert_block_is(term, whole(kind, M, first_query, rows.flip(0)), 0, 83, 0, 90)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_place_fails_the_comparison(kind):
    """Control: one query, or one key, further."""
    M = 90
    keys = torch.arange(M)
    term, full = term_of(bias_of(kind, M), Pass(keys, keys)), whole(kind, M, 0)
    assert_block_is(term, full, 40, 60, 20, 41)
    for shift in (0, 0, 1, 0), (0, 0, 0, 1):
        with pytest.raises(AssertionError):
            assert_block_is(term, full.roll(shift, (0, 1, 2, 3)), 40, 60, 20, 41)


@pytest.mark.parametrize("kind", ["decay", "decay with a gain"])
def test_padding_does_not_decay(kind):
    M = 40
    padding = torch.rand(B, M, generator=torch.Generator().manual_seed(0)) < 0.4
    keys = torch.arange(M)
    term = term_of(bias_of(kind, M), Pass(keys, keys, padding_BM=padding))
    assert_block_is(term, whole(kind, M, 0, padding_BM=padding), 0, M, 0, M)
    with pytest.raises(AssertionError):
        assert_block_is(term, whole(kind, M, 0), 0, M, 0, M)


@pytest.mark.parametrize("kind", ["linear", "line", "pair"])
def test_an_encoder_has_the_bias_of_later_keys_too(kind):
    M, keys = 60, torch.arange(60)
    term, full = term_of(bias_of(kind, M), Pass(keys, keys, causal=False)), whole(kind, M, 0)
    block = term.block(10, 50, 5, 60).flip(2)
    assert (block - full[:, :, 10:50, 5:60]).abs().max() < 1e-12


def test_a_pair_bias_is_computed_a_few_keys_at_a_time():
    asked = []

    def at(i, j):
        asked.append(j.shape[-1])
        return (i - j).double()

    M, keys = 2 * PAIR_KEYS + 100, torch.arange(2 * PAIR_KEYS + 100)
    term = term_of(PairBias(at), Pass(keys, keys))
    asked.clear()
    block = term.block(0, M, 30, M)
    assert asked == [PAIR_KEYS, PAIR_KEYS, 70]
    assert torch.equal(block[0, 0].flip(0), (keys[:, None] - keys[30:]).clamp(min=0).double())


def test_a_table_is_not_read_beyond_its_extent():
    M, keys = 4 * EXTENT, torch.arange(4 * EXTENT)
    term = term_of(bias_of("table of each query", M), Pass(keys, keys))
    block = term.block(100, 150, 0, 150).flip(2)
    distance = torch.arange(100, 150)[:, None] - torch.arange(150)
    assert (block[..., distance >= EXTENT] == 0).all()
    assert (block[..., (distance >= 0) & (distance < EXTENT)] != 0).all()
    assert term.first_near(100, 0) == 100 - EXTENT + 1
    assert term_of(bias_of("table of each query", M), Pass(keys, keys, consecutive=False)).first_near(100, 0) == 0


@pytest.mark.parametrize(
    ("kind", "term"),
    [
        ("linear", LinearTerm),
        ("line", DistanceTerm),
        ("line, constant at last", DistanceTerm),
        ("decay", DecayTerm),
        ("decay with a gain", DecayTerm),
        ("table of each query", QueryTableTerm),
        ("pair", PairTerm),
    ],
)
def test_each_kind_has_its_term(kind, term):
    keys = torch.arange(9)
    assert type(term_of(bias_of(kind, 9), Pass(keys, keys))) is term
    assert term_of(None, Pass(keys, keys)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_own_bias_is_that_of_the_query_itself(kind):
    keys = torch.arange(30)
    own_H = term_of(bias_of(kind, 30), Pass(keys, keys)).own()
    if kind in ("table of each query", "pair"):
        assert own_H is None, "it varies"
        return
    diagonal = whole(kind, 30, 0).diagonal(dim1=2, dim2=3)
    assert (own_H[None, :, None] - diagonal).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_is_learned_where_a_parameter_wants_a_gradient(kind):
    keys = torch.arange(9)
    parameters = KINDS[kind].parameters(B, H, 9, 9)
    assert not term_of(KINDS[kind].make(*parameters), Pass(keys, keys)).learned
    for one in parameters:
        one.requires_grad_()
        term = term_of(KINDS[kind].make(*parameters), Pass(keys, keys))
        assert term.learned
        with torch.no_grad():
            assert not term.learned
        one.requires_grad_(False)


FADING = ["linear", "line", "decay", "decay with a gain"]


@given(st.sampled_from(FADING), st.integers(20, 300), st.integers(1, 16), st.integers(0, 9), st.data())
def test_the_reach_bounds_the_bias_of_every_far_key(kind, M, block_size, seed, data):
    first_query = data.draw(st.integers(0, M // 2))
    L = M - first_query
    start = data.draw(st.integers(0, L - 1))
    stop = data.draw(st.integers(start + 1, L))
    near = data.draw(st.integers(0, first_query + start))
    if near < block_size:
        return
    keys = torch.arange(M)
    term = term_of(bias_of(kind, M, first_query, seed), Pass(keys[first_query:], keys, first_query))
    blocks = near // block_size
    ends_N = torch.arange(1, blocks + 1) * block_size - 1
    of_queries, of_keys = term.reach(start, stop, near, ends_N)
    bound = of_queries[..., None] + of_keys[:, :, None, :]
    actual = term.block(start, stop, 0, blocks * block_size).unflatten(-1, (blocks, block_size)).amax(-1)
    bound, actual = torch.broadcast_tensors(bound, actual)
    assert (bound >= actual - 1e-9).all()
    # And it is no idle bound: met by some pair, but for the spread of gains, or of distances in a line.
    if kind in ("linear", "decay"):
        assert (bound - actual).min() < 1e-9


def test_a_bound_that_is_too_low_fails():
    """Control: the reach of half the slope."""
    keys, ends_N = torch.arange(300), torch.tensor([99, 199])
    term = term_of(LinearBias(torch.tensor([0.1])), Pass(keys, keys))
    steep = term_of(LinearBias(torch.tensor([0.2])), Pass(keys, keys))
    of_queries, of_keys = steep.reach(250, 300, 200, ends_N)
    actual = term.block(250, 300, 0, 200).unflatten(-1, (2, 100)).amax(-1)
    assert ((of_queries[..., None] + of_keys[:, :, None, :]) < actual - 1).any()


@dataclass(frozen=True)
class Wavy(DistanceBias):
    """Falls, rises again, and has its largest value far away."""

    depth: float

    def at(self, distance):
        return (-self.depth * (distance / 40.0).sin().square())[None].double()


def test_the_reach_of_a_line_that_rises_again_is_what_it_rises_to():
    keys = torch.arange(300)
    term = term_of(Wavy(30.0), Pass(keys, keys))
    _, of_keys = term.reach(260, 300, 200, torch.tensor([99, 199]))
    suffix = term.block(0, 300, 0, 300)[0, 0, 0].flip(0).flip(0)
    assert of_keys[0, 0, 0] >= suffix[:100].max() - 1e-12
    assert not term_of(Wavy(0.1), Pass(keys, keys)).fades


def test_only_a_bias_that_falls_deep_enough_fades():
    keys = torch.arange(1000)
    of, explicit = Pass(keys, keys), Pass(keys, keys, consecutive=False)

    def fades(kind: str, of: Pass) -> bool:
        return term_of(bias_of(kind, 1000), of).fades

    assert fades("linear", of)
    assert not fades("linear", explicit)
    assert fades("decay", of)
    assert not fades("table of each query", of)
    assert not fades("pair", of)
    assert not fades("line, constant at last", of), "bounded"
    for depth, deep in ((MARGIN - 1, False), (MARGIN + 1, True)):
        strength_H = torch.tensor([0.01, depth / math.log1p(999)])
        assert term_of(KINDS["line"].make(strength_H.expm1().log()), of).fades is deep
    assert not term_of(KINDS["line"].make(torch.tensor([9.0])), explicit).fades


def test_a_pair_bias_that_closes_over_a_parameter_is_refused(monkeypatch):
    """Its gradient would be lost without a word."""
    monkeypatch.setattr(Position, "registry", dict(Position.registry))
    message = "^a PairBias uses a parameter that is not in its `parameters`; pass it as an argument of `at`.$"

    class Toy(Position, name="toy"):
        def __init__(self, *args):
            super().__init__(*args)
            self.slope, self.other = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))

        def initialise(self, generator):
            for parameter in self.parameters():
                torch.nn.init.ones_(parameter)

        def bias(self):
            return PairBias(lambda i, j, other: -self.slope * (i - j) * other, (self.other,))

    model = LanguageModel(ModelConfig("toy", d_model=16, num_heads=2, num_layers=1), 10, seed=0)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 5, dtype=torch.long))
    with torch.no_grad():  # where no gradient is wanted none is lost
        model(torch.zeros(1, 5, dtype=torch.long))
    monkeypatch.setattr(
        Toy, "bias", lambda self: PairBias(lambda i, j, a, b: -a * (i - j) * b, (self.slope, self.other))
    )
    model(torch.zeros(1, 5, dtype=torch.long)).sum().backward()
    assert model.transformer.position.slope.grad is not None


@pytest.mark.parametrize("wrong", [torch.zeros(3, 3), "alibi", 0.5, LinearBias])
def test_what_is_no_kind_of_bias_is_refused(wrong, monkeypatch):
    monkeypatch.setattr(Position, "registry", dict(Position.registry))

    class Toy(Position, name="toy"):
        def bias(self):
            return wrong

    model = LanguageModel(ModelConfig("toy", d_model=16, num_heads=2, num_layers=1), 10, seed=0)
    name = type(wrong).__name__
    with pytest.raises(ValueError, match=rf"^a position method returned {name}; return one of the kinds of base\.py"):
        model(torch.zeros(1, 5, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_decays_keep_the_digits_of_near_ones(dtype):
    """Both prefix sums are some thousands at the end of the text, and their difference is one step."""
    M, keys = 5000, torch.arange(5000)
    log_decay_BHM = -softplus(torch.randn(1, 1, M, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    term = term_of(DecayBias(log_decay_BHM.to(dtype)), Pass(keys, keys))
    near = term.block(4990, 5000, 4980, 5000)[0, 0, 0]
    exact = log_decay_BHM.to(dtype).double()[0, 0, 4981:].flip(0).cumsum(0).flip(0)
    assert near.dtype == dtype
    assert (near[:-1].double() - exact).abs().max() < 1e-6
    in_float32 = log_decay_BHM.float().cumsum(-1)[0, 0]  # control
    assert ((in_float32[-1] - in_float32[4980:-1]).double() - exact).abs().max() > 1e-5


def test_a_bias_may_be_the_saved_result_of_an_operation():
    """What a block is made of is not written to: the backward pass of an exponential needs its result."""

    @dataclass(frozen=True)
    class Exponential(DistanceBias):
        a_H: torch.Tensor

        def at(self, distance):
            return (-self.a_H.view(-1, *[1] * distance.dim()) * distance.abs()).exp()

    M, keys = 20, torch.arange(20)
    for consecutive in (True, False):
        a_H = torch.tensor([0.1, 0.2], dtype=torch.float64, requires_grad=True)
        scores = ScoreBias(Exponential(a_H), Mask(Pass(keys, keys, consecutive=consecutive), window=7))
        block = scores.block(0, M, torch.float64)
        block.masked_fill(block.isinf(), 0.0).sum().backward()
        distance = keys[:, None] - keys
        inside = (distance >= 0) & (distance < 7)
        wanted = [-(distance * (-a * distance).exp())[inside].sum().item() for a in (0.1, 0.2)]
        assert a_H.grad.tolist() == pytest.approx(wanted)
    table = torch.randn(1, 2, M, 5, dtype=torch.float64, requires_grad=True)
    block = ScoreBias(QueryTableBias(table.exp()), Mask(Pass(keys, keys), window=3)).block(0, M, torch.float64)
    block.masked_fill(block.isinf(), 0.0).sum().backward()
    assert (table.grad[:, :, 10, :3] > 0).all()
    assert (table.grad[:, :, 10, 3:] == 0).all()

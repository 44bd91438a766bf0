"""What a new method may return, as its author would first write it: natural formulas, other shapes, narrow turns."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from alibi.model import LanguageModel, ModelConfig
from alibi.positions import DecayBias, DistanceBias, PairBias, Position

IDS = torch.randint(50, (2, 40), generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Logarithm(DistanceBias):
    """No number for later keys: the logarithm of something negative."""

    p_H: torch.Tensor

    def at(self, distance):
        p_H = self.p_H.reshape(-1, *[1] * distance.dim())
        return -p_H * torch.log1p(p_H * distance)


def by_pairs(i, j, p_H):
    return -p_H[:, None, None] * torch.log1p(p_H[:, None, None] * (i - j))


@pytest.fixture
def trained(monkeypatch):
    """Output and gradient of the parameter of a model with this bias."""
    monkeypatch.setattr(Position, "registry", dict(Position.registry))
    made = []

    def run(bias, causal=True, **hooks):
        class Mine(Position, name=f"mine{len(made)}"):
            causal_only = causal

            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.p_H = nn.Parameter(torch.empty(4))

            def initialise(self, generator):
                nn.init.constant_(self.p_H, 0.5)

        made.append(Mine)
        Mine.bias = lambda self: bias(self.p_H)
        for hook, function in hooks.items():
            setattr(Mine, hook, function)
        config = ModelConfig(position={"name": Mine.name}, num_layers=1, d_model=32, num_heads=4)
        model = LanguageModel(config, 50, seed=0).double()
        out = model(IDS)
        out.square().sum().backward()
        return out.detach(), model.transformer.position.p_H.grad

    return run


def test_a_formula_need_not_hold_for_later_keys(trained):
    pairs, of_pairs = trained(lambda p_H: PairBias(by_pairs, (p_H,)))
    line, of_line = trained(Logarithm)
    assert line.isfinite().all()
    assert of_line.isfinite().all()
    assert (pairs - line).abs().max() < 1e-12
    assert (of_pairs - of_line).abs().max() < 1e-10 * of_line.abs().max()


@pytest.mark.parametrize("shape", ["H, C, N", "C, N", "a number"])
def test_a_pair_bias_may_have_any_shape_that_broadcasts(trained, shape):
    def at(i, j, p_H):
        full = -(i - j) * p_H[0]  # the same for all heads
        return {"H, C, N": full[0].expand(4, -1, -1), "C, N": full[0, 0], "a number": p_H[0] * 2}[shape]

    out, _ = trained(lambda p_H: PairBias(at, (p_H,)))
    whole, _ = trained(
        lambda p_H: PairBias(lambda i, j, p_H: at(i, j, p_H).expand(1, 4, i.shape[2], j.shape[3]), (p_H,))
    )
    assert (out - whole).abs().max() < 1e-12


def test_a_turn_may_narrow_and_may_widen_the_type(trained):
    def first_half(self, positions):
        return lambda q_BHLK: q_BHLK[..., :4]

    def zeros_behind(self, positions):
        return lambda q_BHLK: torch.cat([q_BHLK[..., :4], torch.zeros_like(q_BHLK[..., 4:])], -1)

    def nothing(p_H):
        return PairBias(lambda i, j, p_H: 0 * p_H[0] * (i - j), (p_H,))

    narrow, same = (trained(nothing, turn_query=turn)[0] for turn in (first_half, zeros_behind))
    assert (narrow - same).abs().max() < 1e-12
    with torch.autocast("cpu", torch.bfloat16):
        trained(nothing, turn_query=lambda self, positions: lambda q_BHLK: q_BHLK.float())


def test_what_initialise_forgets_and_a_wrong_shape_are_said(trained, monkeypatch):
    with pytest.raises(ValueError, match=r"does not set its parameter p_H; its `initialise` must set them all"):
        trained(Logarithm, initialise=lambda self, generator: None)
    with pytest.raises(ValueError, match=r"a PairBias has the shape \(1, 1, 1, 4\) for \d+ queries and \d+ keys"):
        trained(lambda p_H: PairBias(lambda i, j, p_H: p_H, (p_H,)))


def test_windows_that_fit_no_head_are_refused(trained):
    for windows in ((3,), (1, 2), (0, 1, 2, 3), (None, None, None, -1)):
        with pytest.raises(ValueError, match=r"has the windows .*; give one for each head, None or at least 1"):
            trained(Logarithm, head_windows=lambda self, windows=windows: windows)


def test_a_decay_in_an_encoder_names_the_remedy():
    from alibi.model.bias_terms import term_of
    from alibi.model.mask import Pass

    keys = torch.arange(5)
    with pytest.raises(ValueError, match=r"DecayBias needs a causal model; set causal_only = True"):
        term_of(DecayBias(torch.zeros(1, 2, 5)), Pass(keys, keys, causal=False))


def test_two_types_of_layers_add_to_the_embeddings_once():
    types = {"a": {"position": {"name": "sinusoidal"}}, "b": {"position": {"name": "sinusoidal"}, "window": 40}}
    shape = {"num_layers": 2, "d_model": 32, "num_heads": 4}
    with torch.no_grad():
        pattern = LanguageModel(ModelConfig(pattern=["a", "b"], layer_types=types, **shape), 50, seed=0)(IDS)
        plain = LanguageModel(ModelConfig(position={"name": "sinusoidal"}, **shape), 50, seed=0)(IDS)
        types["b"]["position"]["theta"] = 100.0
        other = LanguageModel(ModelConfig(pattern=["a", "b"], layer_types=types, **shape), 50, seed=0)(IDS)
    assert (pattern - plain).abs().max() < 1e-5
    assert (other - plain).abs().max() > 1e-2, "control"

"""FoX against its formula and against x-transformers; its three starts."""

import math
import warnings

import pytest
import torch
from dense_bias import bias_of

from alibi.positions import DecayBias, Position, build_position

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit.script
    from x_transformers.x_transformers import DataDependentAlibi

HEADS, D, L = 6, 48, 9
LATER = torch.ones(L, L).triu(1).bool()


def build(name: str = "fox", causal: bool = True, d_model: int = D, **values) -> Position:
    position = build_position({"name": name, **values}, d_model, HEADS, causal).double()
    position.initialise(torch.Generator().manual_seed(0))
    return position


def random_x(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(2, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def formula(position: Position, x_BLD: torch.Tensor, own_gate: int = 0) -> torch.Tensor:
    """The sum over j + 1 .. i, token by token; with own_gate = 1 over j .. i, a slightly different method."""
    score_BLH = torch.einsum("bld,hd->blh", x_BLD, position.weight_HD) + position.bias_H
    gate_BLH = (1 / (1 + (-score_BLH).exp())).log()
    bias = torch.full((2, HEADS, L, L), -math.inf, dtype=torch.float64)
    for i in range(L):
        for j in range(i + 1):
            bias[:, :, i, j] = gate_BLH[:, j + 1 - own_gate : i + 1].sum(1)
    return bias


@pytest.mark.parametrize("init", ["alibi", "zero", "constant"])
def test_bias_is_the_formula(init):
    position, x = build(init=init), random_x()
    torch.nn.init.normal_(position.weight_HD, std=0.3, generator=torch.Generator().manual_seed(2))
    ours = bias_of(position, x)
    torch.testing.assert_close(ours, formula(position, x), rtol=0, atol=1e-10)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, formula(position, x, own_gate=1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("constant", [5.0, 1.0])
def test_bias_is_that_of_x_transformers(constant):
    position, x = build(init="constant", constant=constant), random_x()
    theirs = DataDependentAlibi(D, HEADS, causal=True, bias_init=constant, post_log_scale=1.0).double()
    linear = theirs.to_forget_gates[0]
    linear.weight.data.copy_(position.weight_HD)
    assert torch.equal(linear.bias, position.bias_H)
    ours = bias_of(position, x)
    torch.testing.assert_close(ours, theirs(x).masked_fill(LATER, -math.inf), rtol=0, atol=1e-10)
    linear.bias.data += 1e-6
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, theirs(x).masked_fill(LATER, -math.inf), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_starts_at_alibi_whatever_the_content(dtype):
    position = build().to(dtype)
    position.initialise(torch.Generator().manual_seed(0))
    x = random_x(scale=100).to(dtype)
    reference = bias_of(build("alibi"), x).expand(2, -1, -1, -1)
    torch.testing.assert_close(bias_of(position, x), reference, rtol=1e-6, atol=0)
    other = build(init="constant").to(dtype)
    assert not torch.allclose(bias_of(other, x), reference, rtol=1e-6, atol=0)


def test_content_can_move_the_start_at_alibi():
    position = build()
    position.remember(random_x()).square().sum().backward()
    assert (position.weight_HD.grad != 0).all()


def test_other_starts_are_what_they_say():
    for values, bias in (
        ({"init": "zero"}, 0.0),
        ({"init": "constant"}, 5.0),
        ({"init": "constant", "constant": -1.5}, -1.5),
    ):
        position = build(d_model=4800, **values)
        assert position.weight_HD.std().item() == pytest.approx(0.02, rel=0.02)
        assert position.weight_HD.mean().item() == pytest.approx(0, abs=5e-4)
        assert (position.bias_H == bias).all()
    half = build(init="zero").remember(torch.zeros(1, 1, D, dtype=torch.float64))
    assert half.flatten().tolist() == pytest.approx([-math.log(2)] * HEADS)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_decay_is_at_most_0_and_gradients_are_finite(scale):
    position = build(init="zero")
    decay_BHN = position.remember(random_x(scale))
    assert decay_BHN.shape == (2, HEADS, L)
    assert (decay_BHN <= 0).all()
    decay_BHN.sum().backward()
    assert decay_BHN.isfinite().all()
    assert position.weight_HD.grad.isfinite().all()
    assert position.bias_H.grad.isfinite().all()


def test_what_is_remembered_of_each_token_alone_is_the_bias():
    position, x = build(init="zero"), random_x()
    remembered = position.remember(x)
    bias = position.content_bias(x[:, -1:], torch.tensor([L - 1]), remembered)
    assert isinstance(bias, DecayBias)
    assert bias.log_decay_BHM is remembered
    assert bias.gain_BHL is None
    torch.testing.assert_close(position.remember(x[:, 3:5]), remembered[..., 3:5], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init": "ones"}, r"init \('ones'\) must be one of: alibi, zero, constant"),
        ({"constant": 3.0}, r"constant \(3\.0\) is read with init: constant only, and init is alibi; set init to cons"),
        ({"init": "zero", "constant": 0.0}, r"constant \(0\.0\) is read with init: constant only, and init is zero"),
        ({"init": "constant", "constant": math.inf}, r"constant \(inf\) must be a finite number"),
        ({"shared": None}, r"shared \(None\) must be true or false"),
    ],
)
def test_settings_that_say_nothing_are_refused(values, message):
    with pytest.raises(ValueError, match=rf"^model\.position\.{message}"):
        build(**values)


def test_an_encoder_is_refused_and_each_layer_has_its_own_gates():
    with pytest.raises(ValueError, match="fox is for causal models alone"):
        build(causal=False)
    assert build().shared is False
    assert build(shared=True).shared is True

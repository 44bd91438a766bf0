"""CABLE against its formula, and against FoX, which its unweighted form is."""

import itertools
import math

import pytest
import torch
from dense_bias import bias_of

from alibi.positions import Position, build_position

HEADS, D, L = 6, 48, 9
FORMS = list(itertools.product(["softplus", "relu"], ["softplus", "none"]))


def build(name: str = "cable", causal: bool = True, d_model: int = D, **values) -> Position:
    position = build_position({"name": name, **values}, d_model, HEADS, causal).double()
    position.initialise(torch.Generator().manual_seed(0))
    return position


def random_x(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(2, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def formula(position: Position, x_BLD: torch.Tensor, activation: str, weight: str, sign: float = -1) -> torch.Tensor:
    def softplus(x: torch.Tensor) -> torch.Tensor:
        return (1 + x.exp()).log()

    step_BLH = torch.einsum("bld,hd->blh", x_BLD, position.step_weight_HD) + position.step_bias_H
    step_BLH = softplus(step_BLH) if activation == "softplus" else step_BLH.clamp(min=0)
    bias = torch.full((2, HEADS, L, L), -math.inf, dtype=torch.float64)
    for i in range(L):
        gain_BH = softplus(x_BLD[:, i] @ position.gain_weight_HD.T) if weight == "softplus" else 1.0
        for j in range(i + 1):
            bias[:, :, i, j] = sign * gain_BH * (step_BLH[:, : i + 1].sum(1) - step_BLH[:, : j + 1].sum(1))
    return bias


@pytest.mark.parametrize(("activation", "weight"), FORMS)
def test_bias_is_the_formula(activation, weight):
    position, x = build(activation=activation, weight=weight), random_x()
    for parameter in position.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(2))
    ours = bias_of(position, x)
    torch.testing.assert_close(ours, formula(position, x, activation, weight), rtol=0, atol=1e-10)
    wrong = [formula(position, x, activation, weight, sign=-1 - 1e-6), formula(position, x, activation, weight, sign=1)]
    other = "relu" if activation == "softplus" else "softplus"
    for control in (*wrong, formula(position, x, other, weight)):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(ours, control, rtol=0, atol=1e-10)


def test_without_weight_it_is_fox_with_negated_gates():
    position, fox, x = build(weight="none"), build("fox", init="zero"), random_x()
    fox.weight_HD.data.copy_(-position.step_weight_HD)
    torch.testing.assert_close(bias_of(position, x), bias_of(fox, x), rtol=0, atol=1e-10)
    fox.weight_HD.data.neg_()
    assert not torch.allclose(bias_of(position, x), bias_of(fox, x), rtol=0, atol=1e-10)


def test_starts_as_the_authors_do():
    position = build(d_model=4800)
    for weight_HD in (position.step_weight_HD, position.gain_weight_HD):
        assert weight_HD.std().item() == pytest.approx(0.02, rel=0.02)
        assert weight_HD.mean().item() == pytest.approx(0, abs=5e-4)
    assert not torch.equal(position.step_weight_HD, position.gain_weight_HD)
    assert (position.step_bias_H == 0).all()


def test_parameters_are_those_that_are_used():
    assert set(build().state_dict()) == {"step_weight_HD", "step_bias_H", "gain_weight_HD"}
    assert set(build(weight="none").state_dict()) == {"step_weight_HD", "step_bias_H"}


@pytest.mark.parametrize(("activation", "weight"), FORMS)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_signs_hold_and_gradients_are_finite(activation, weight, scale):
    position, x = build(activation=activation, weight=weight), random_x(scale)
    decay_BHN = position.remember(x)
    bias = position.content_bias(x[:, -2:], torch.tensor([L - 2, L - 1]), decay_BHN)
    assert (decay_BHN <= 0).all()
    total = decay_BHN.sum()
    if weight == "softplus":
        assert bias.gain_BHL.shape == (2, HEADS, 2)
        assert (bias.gain_BHL >= 0).all()
        total = total * bias.gain_BHL.sum()
    else:
        assert bias.gain_BHL is None
    total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in position.parameters())


def test_what_is_remembered_of_a_token_depends_on_that_token_alone():
    position, x = build(), random_x()
    torch.testing.assert_close(position.remember(x[:, 3:5]), position.remember(x)[..., 3:5], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"activation": "gelu"}, r"activation \('gelu'\) must be one of: softplus, relu"),
        ({"weight": True}, r"weight \(True\) must be one of: softplus, none"),
        ({"shared": 1}, r"shared \(1\) must be true or false"),
    ],
)
def test_other_words_are_refused(values, message):
    with pytest.raises(ValueError, match=rf"^model\.position\.{message}"):
        build(**values)


def test_an_encoder_is_refused_and_each_layer_has_its_own_parameters():
    with pytest.raises(ValueError, match="cable is for causal models alone"):
        build(causal=False)
    assert build().shared is False
    assert build(shared=True).shared is True

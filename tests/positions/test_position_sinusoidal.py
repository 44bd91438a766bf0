"""Sinusoids against their formula in float64, written with Python's own sine."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alibi.positions.sinusoidal import Sinusoidal


def added(d_model: int, positions: torch.Tensor, dtype: torch.dtype = torch.float64, **values) -> torch.Tensor:
    """What the method adds, (B, L, D)."""
    rows = positions.shape[0] if positions.dim() == 2 else 1
    zeros = torch.zeros(rows, positions.shape[-1], d_model, dtype=dtype)
    return Sinusoidal(d_model, 1, True, Sinusoidal.Settings(**values)).embed(zeros, positions)


def formula(d_model: int, position: int, theta: float = 10000.0) -> torch.Tensor:
    half = d_model // 2
    angles = [position * theta ** (-k / (half - 1)) for k in range(half)]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)


@settings(max_examples=50)
@given(st.integers(2, 100), st.integers(0, 70_000))
def test_sinusoids_are_the_formula(half, position):
    ours = added(2 * half, torch.tensor([position]))[0, 0]
    assert (ours - formula(2 * half, position)).abs().max() < 1e-9
    if position:
        assert (ours - formula(2 * half, position - 1)).abs().max() > 1e-3
        assert (ours - formula(2 * half, position, theta=10001.0)).abs().max() > 1e-9


def test_float32_is_the_formula_rounded_at_65536():
    ours = added(256, torch.tensor([65_536]), torch.float32)[0, 0]
    assert (ours.double() - formula(256, 65_536)).abs().max() <= 6e-8
    angles_in_float32 = torch.tensor(65_536.0) * 10000.0 ** (-torch.arange(128).float() / 127)
    assert (angles_in_float32.sin().double() - formula(256, 65_536)[:128]).abs().max() > 1e-4


def test_first_half_is_sines_and_the_ends_have_the_stated_wavelengths():
    first, second = added(64, torch.tensor([0, 5]))[0].chunk(2, dim=-1)
    assert torch.equal(first[0], torch.zeros(32, dtype=torch.float64))
    assert torch.equal(second[0], torch.ones(32, dtype=torch.float64))
    assert first[1, 0].item() == pytest.approx(math.sin(5), abs=1e-15)
    assert first[1, -1].item() == pytest.approx(math.sin(5 / 10000), abs=1e-15)
    interleaved = torch.stack([first, second], dim=-1).flatten(-2)
    assert (added(64, torch.tensor([0, 5]))[0] - interleaved).abs().max() > 0.1


def test_positions_may_differ_between_rows_and_the_input_is_kept():
    positions = torch.tensor([[0, 0, 1, 2], [3, 4, 5, 900]])
    x = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    ours = Sinusoidal(16, 1, True).embed(x, positions)
    for row in range(2):
        assert torch.equal(ours[row], x[row] + added(16, positions[row], torch.float32)[0])
    assert ours.shape == x.shape


def test_model_type_decides_the_rounding_only():
    x = torch.zeros(1, 3, 16, dtype=torch.bfloat16)
    positions = torch.tensor([0, 700, 65_536])
    ours = Sinusoidal(16, 1, True).to(torch.bfloat16).embed(x, positions)
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, added(16, positions).bfloat16())


@pytest.mark.parametrize("d_model", [2, 5, 33])
def test_width_that_has_no_two_halves_is_refused(d_model):
    with pytest.raises(ValueError, match=rf"d_model \({d_model}\) must be even and at least 4.*; use \d+"):
        Sinusoidal(d_model, 1, True)


def test_theta_must_be_above_zero():
    with pytest.raises(ValueError, match=r"^theta \(-2\.0\) must be above 0; the paper uses 10000"):
        Sinusoidal.Settings(theta=-2.0)

"""Scaled frequencies and slopes, against transformers' rope utilities and the formulas written out."""

import math

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from alibi.positions import Position, build_position
from alibi.positions.alibi import alibi_slopes
from alibi.positions.rotation import frequencies
from alibi.positions.scaling import Scaling

THETA = 10000.0
THEIR_NAMES = {"pi": "linear", "ntk": "dynamic", "yarn": "yarn", "llama3": "llama3"}


def theirs(name: str, width: int, length: int, factor: float) -> tuple[torch.Tensor, float]:
    rope = {"rope_type": THEIR_NAMES[name], "rope_theta": THETA, "factor": 1.0 if name == "ntk" else factor}
    if name in ("yarn", "llama3"):
        rope["original_max_position_embeddings"] = length
    if name == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    most = length if name in ("pi", "ntk") else 10**6
    config = LlamaConfig(
        hidden_size=width, num_attention_heads=1, head_dim=width, max_position_embeddings=most, rope_parameters=rope
    )
    found, attention_factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu", seq_len=int(factor * length))
    return found.double(), attention_factor


def scaled(name: str, factor: float, length: int = 128, method: str = "rotary", heads: int = 1, **values) -> Position:
    scaling = {"name": name, "factor": factor, "length": length} | values
    return build_position({"name": method, "scaling": scaling}, 32 * heads, heads, True)


@pytest.mark.parametrize("name", THEIR_NAMES)
@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize(("length", "factor"), [(64, 2.0), (128, 4.0), (512, 16.0), (8192, 4.0)])
def test_frequencies_and_temperature_are_those_of_transformers(name, width, length, factor):
    scaling = scaled(name, factor, length).settings.scaling
    ours = scaling.frequencies(frequencies(THETA, width), THETA)
    frequency_C, attention_factor = theirs(name, width, length, factor)
    assert (ours - frequency_C).abs().max() < 1e-7
    assert math.isclose((scaling.temperature or 1.0) ** 0.5, attention_factor, rel_tol=1e-12)
    other_C, _ = theirs(name, width, length, 1.1 * factor)
    assert (ours - other_C).abs().max() > 1e-6, "control: another factor"


def test_the_fastest_pair_stays_and_the_slowest_is_divided_by_the_factor():
    plain_C = frequencies(THETA, 32)
    ntk_C = scaled("ntk", 4.0).settings.scaling.frequencies(plain_C, THETA)
    assert ntk_C[0] == 1.0
    assert math.isclose(plain_C[-1] / ntk_C[-1], 4.0)


def test_yarn_turns_fast_pairs_as_before_and_slow_ones_as_pi():
    """At 8,192 the first pairs turn 32 times and more, the last ones less than once."""
    plain_C = frequencies(THETA, 64)
    yarn_C = scaled("yarn", 4.0, 8192).settings.scaling.frequencies(plain_C, THETA)
    turns_C = plain_C * 8192 / (2 * math.pi)
    assert torch.equal(yarn_C[turns_C > 40], plain_C[turns_C > 40])
    assert torch.equal(yarn_C[turns_C < 0.8], plain_C[turns_C < 0.8] / 4)
    wider_C = scaled("yarn", 4.0, 8192, beta_fast=8.0).settings.scaling.frequencies(plain_C, THETA)
    assert (wider_C >= yarn_C).all()
    assert (wider_C > yarn_C).any()


@pytest.mark.parametrize("method", ["rotary", "p_rope", "rotary_partial"])
def test_a_temperature_multiplies_what_is_turned(method):
    """Scores by the temperature, so queries and keys each by its root; by default the square of 0.1 ln s + 1."""
    positions = torch.tensor([0])  # where nothing turns
    x = torch.ones(1, 1, 1, 32, dtype=torch.float64)
    product = scaled("temperature", 4.0, method=method).turn_query(positions)(x) ** 2
    turned = 8 if method == "rotary_partial" else 32
    assert torch.allclose(product[..., :turned], torch.tensor((0.1 * math.log(4) + 1) ** 2, dtype=torch.float64))
    assert (product[..., turned:] == 1).all()
    own = scaled("temperature", 4.0, method=method, temperature=1.5).turn_query(positions)(x) ** 2
    assert torch.allclose(own[..., :turned], torch.tensor(1.5, dtype=torch.float64))


def test_without_positions_the_temperature_is_that_of_drope():
    position = scaled("temperature", 4.0, method="none")
    x = torch.ones(1, 1, 3, 32, dtype=torch.float64)
    assert torch.allclose(position.turn_query(torch.arange(3))(x), x * (1 + 0.412 * math.log(4)))
    assert position.turn_key(torch.arange(3)) is None
    assert build_position({"name": "none"}, 32, 1, True).turn_query(torch.arange(3)) is None


def test_positions_of_sinusoids_are_divided_by_the_factor():
    x, four = torch.zeros(1, 8, 32), torch.arange(0, 32, 4)
    embedded = scaled("pi", 4.0, method="sinusoidal").embed(x, four)
    assert torch.equal(embedded, build_position({"name": "sinusoidal"}, 32, 1, True).embed(x, torch.arange(8)))


@pytest.mark.parametrize("heads", [2, 6, 8])
def test_slopes_are_scaled_alike_or_by_their_rank(heads):
    slopes_H = torch.tensor(alibi_slopes(heads), dtype=torch.float64)
    assert torch.equal(scaled("slope_scaling", 4.0, method="alibi", heads=heads).bias().slopes_H, slopes_H / 4)
    ntk_H = scaled("ntk_alibi", 4.0, method="alibi", heads=heads).bias().slopes_H
    steepest, flattest = slopes_H.argmax(), slopes_H.argmin()
    assert ntk_H[steepest] == slopes_H[steepest]
    assert torch.isclose(ntk_H[flattest], slopes_H[flattest] / 4)
    if heads == 8:  # keezen's formula, whose heads are in the order of their slopes
        written_H = [2.0 ** (-8 * h / 8) * 4 ** (-(h - 1) / 7) for h in range(1, 9)]
        assert torch.allclose(ntk_H, torch.tensor(written_H, dtype=torch.float64))


def test_learned_slopes_are_ranked_as_they_are_now():
    position = scaled("ntk_alibi", 4.0, method="alibi_learned", heads=3)
    with torch.no_grad():
        position.log_slope_H.copy_(torch.tensor([0.1, 0.4, 0.2]).log())
    slopes_H = position.bias().slopes_H
    assert torch.allclose(slopes_H, torch.tensor([0.1 / 4, 0.4, 0.2 / 2]).double())
    slopes_H.sum().backward()
    assert (position.log_slope_H.grad > 0).all()


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ("yarn", "must be a mapping with a name"),
        ({"name": "yarn"}, "must be a mapping with a name"),
        (
            {"name": "dynamic", "factor": 2},
            r"^model\.position\.scaling\.name \('dynamic'\) must be one of: pi, ntk, yarn",
        ),
        ({"name": "pi", "factor": 0.5}, r"^model\.position\.scaling\.factor \(0\.5\) must be at least 1"),
        ({"name": "pi", "factor": math.nan}, r"^model\.position\.scaling\.factor \(nan\) must be a finite number"),
        ({"name": "yarn", "factor": 2.0}, r"scaling\.length must be given for yarn"),
        ({"name": "pi", "factor": 2.0, "beta_fast": 8}, r"scaling\.beta_fast \(8\) would be ignored by pi"),
        ({"name": "pi", "factor": 2.0, "fast": 8}, r"scaling\.fast is not a setting of a scaling"),
        ({"name": "yarn", "factor": 2.0, "length": 8, "beta_fast": 1}, r"beta_fast \(1\) must be above beta_slow \(1"),
        ({"name": "yarn", "factor": 2.0, "length": 0}, r"scaling\.length \(0\) must be at least 1"),
    ],
)
def test_a_wrong_scaling_is_refused(scaling, message):
    with pytest.raises(ValueError, match=message):
        build_position({"name": "rotary", "scaling": scaling}, 32, 1, True)


def test_what_no_formula_holds_for_is_refused():
    with pytest.raises(ValueError, match=r"ntk_alibi\) needs two heads: it ranks their slopes; use slope_scaling"):
        scaled("ntk_alibi", 2.0, method="alibi")
    with pytest.raises(ValueError, match=r"theta \(1\.0\) must be above 1 for yarn"):
        build_position(
            {"name": "rotary", "theta": 1.0, "scaling": {"name": "yarn", "factor": 2.0, "length": 8}}, 32, 1, True
        )
    assert Scaling("ntk", 4.0).frequencies(torch.ones(1, dtype=torch.float64), THETA) == 1.0, "one pair is the fastest"

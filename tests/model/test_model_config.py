"""Configuration: what is filled in, and what is refused with a remedy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alibi.model import LanguageModel, ModelConfig
from alibi.model.model_config import nearest_divisor


def test_feed_forward_is_four_times_the_width_unless_given():
    assert ModelConfig(d_model=96).d_ff == 384
    assert ModelConfig(d_model=96, d_ff=100).d_ff == 100


def test_two_configurations_share_no_position():
    one, other = ModelConfig(), ModelConfig()
    one.position["name"] = "rotary"
    assert other.position == {"name": "alibi"}


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_the_remedy_for_heads_divides_and_nothing_nearer_does(number, near):
    found = nearest_divisor(number, near)
    assert number % found == 0
    assert all(number % other for other in range(1, number + 1) if abs(other - near) < abs(found - near))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_heads": 7}, r"num_heads \(7\) must divide d_model \(256\); use 8\."),
        ({"num_heads": 512}, r"num_heads \(512\) must divide d_model \(256\); use 256\."),
        ({"num_layers": 0}, r"model\.num_layers \(0\) must be at least 1"),
        ({"d_model": -4}, r"model\.d_model \(-4\) must be at least 1"),
        ({"num_heads": 0}, r"model\.num_heads \(0\) must be at least 1"),
        ({"d_ff": 0}, r"model\.d_ff \(0\) must be at least 1"),
        ({"dropout": 1.0}, r"model\.dropout \(1\.0\) must be at least 0 and below 1"),
        ({"attention_dropout": -0.5}, r"model\.attention_dropout \(-0\.5\)"),
        ({"activation_dropout": float("nan")}, r"model\.activation_dropout \(nan\)"),
        ({"activation": "swish"}, r"model\.activation \(swish\) must be one of: gelu, relu, swiglu"),
        ({"embedding_std": 0.0}, r"model\.embedding_std \(0\.0\) must be above 0"),
        (
            {"embedding_std": 0.02, "adaptive_cutoffs": [10]},
            r"embedding_std \(0\.02\) would be ignored",
        ),
    ],
)
def test_what_makes_no_model_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**values)


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ({"name": "alibii"}, r"'alibii'.*choose one of: alibi, none, rotary, sinusoidal, t5"),
        ({"name": "rotary", "base": 1}, r"model\.position\.base is not a setting of rotary, which has theta"),
        ({"name": "alibi", "theta": 1.0}, r"model\.position\.theta is not a setting of alibi"),
    ],
)
def test_a_wrong_position_is_refused_when_the_model_is_made(position, message):
    with pytest.raises(ValueError, match=message):
        LanguageModel(ModelConfig(position=position, num_layers=1, d_model=16, num_heads=2), 10)


def test_odd_heads_are_refused_for_rotary_alone():
    odd = {"num_layers": 1, "d_model": 20, "num_heads": 4}
    with pytest.raises(ValueError, match=r"20 / 4 = 5\) must be even"):
        LanguageModel(ModelConfig(position={"name": "rotary"}, **odd), 10)
    LanguageModel(ModelConfig(position={"name": "alibi"}, **odd), 10)


def test_activation_and_bias_are_what_they_say():
    relu, gelu = (
        LanguageModel(ModelConfig(num_layers=1, d_model=16, num_heads=2, activation=a, bias=a == "relu"), 10, seed=0)
        for a in ("relu", "gelu")
    )
    assert relu.transformer.blocks[0].feed_forward.activation.__name__ == "relu"
    assert gelu.transformer.blocks[0].feed_forward.activation.__name__ == "gelu"
    assert not [name for name, _ in gelu.named_parameters() if name.endswith("bias")]
    biases = [name for name, _ in relu.named_parameters() if name.endswith("bias")]
    assert len(biases) == 6 + 2 + 1  # four of attention, two of feed-forward, two norms, the final norm

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
    assert (one.method, other.method, ModelConfig().method) == ("rotary", "alibi", "alibi")


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
        ({"name": "alibii"}, r"'alibii'.*choose one of: alibi, .*none, .*rotary, .*sinusoidal, t5"),
        ({"name": "rotary", "base": 1}, r"model\.position\.base is not a setting of rotary, which has theta"),
        ({"name": "alibi", "theta": 1.0}, r"model\.position\.theta is not a setting of alibi"),
    ],
)
def test_a_wrong_position_is_refused_when_the_model_is_made(position, message):
    with pytest.raises(ValueError, match=message):
        LanguageModel(ModelConfig(position=position, num_layers=1, d_model=16, num_heads=2), 10)


def test_odd_heads_are_refused_for_rotary_alone():
    odd = {"num_layers": 1, "d_model": 20, "num_heads": 4}
    with pytest.raises(ValueError, match=r"\(20 / 4\) must be even and at least 2, not 5"):
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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": 0}, r"^model\.window \(0\) must be at least 1, the query's own key; null sees all\.$"),
        ({"window": -3}, r"^model\.window \(-3\) must be at least 1"),
        ({"window": 2.5}, r"^model\.window \(2\.5\) must be a whole number"),
        (
            {"window": 8, "causal": False},
            r"^model\.window \(8\) needs a causal model; remove it, or set causal=True",
        ),
        (
            {"sink_tokens": 4},
            r"^model\.sink_tokens \(4\) would be ignored without model\.window: all tokens are seen; remove it, or set",
        ),
        ({"window": 8, "sink_tokens": 0}, r"^model\.sink_tokens \(0\) must be at least 1; null has none\.$"),
        ({"window": 8, "sink_tokens": 1.5}, r"^model\.sink_tokens \(1\.5\) must be a whole number"),
        ({"position": 3}, r"^model\.position \(3\) must be a name or a dict"),
    ],
)
def test_settings_of_layers_are_refused_with_and_without_a_pattern(values, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**values)
    causal = values.get("causal", True)
    own = {"position": "none", **{name: value for name, value in values.items() if name != "causal"}}
    of_layer = message.replace(r"model\.", r"model\.layer_types\.local\.")
    with pytest.raises(ValueError, match=of_layer):
        ModelConfig(pattern=["local"], layer_types={"local": own}, causal=causal)


LOCAL, GLOBAL = {"position": {"name": "rotary"}, "window": 8}, {"position": {"name": "none"}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"layer_types": {"local": LOCAL, "global": GLOBAL, "spare": GLOBAL}},
            r"^model\.layer_types\.spare would be ignored: the first 6 layers of the pattern \['local', 'global'\]",
        ),
        (
            {"num_layers": 1},
            r"^model\.layer_types\.global would be ignored: the first 1 layers.*raise model\.num_layers, or",
        ),
        (
            {"pattern": ["local", "globl"]},
            r"^model\.pattern has 'globl', which is not in model\.layer_types; it has: local, global\.$",
        ),
        ({"pattern": []}, r"^model\.layer_types needs model\.pattern: \[a, b\] names types of layers"),
        ({"pattern": None}, r"^model\.layer_types needs model\.pattern"),
        ({"layer_types": {}}, r"^model\.pattern needs model\.layer_types"),
        (
            {"position": {"name": "alibi"}},
            r"^model\.position \(\{'name': 'alibi'\}\) would be ignored with a pattern of layers; set "
            r"model\.layer_types\.local\.position, or choose a model without a pattern\.$",
        ),
        ({"window": 9}, r"^model\.window \(9\) would be ignored with a pattern.*set model\.layer_types\.local\.window"),
        ({"sink_tokens": 2}, r"^model\.sink_tokens \(2\) would be ignored with a pattern"),
        ({"query_scale": {"name": "log_n"}}, r"^model\.query_scale .* would be ignored with a pattern"),
        (
            {"layer_types": {"local": {**LOCAL, "windw": 3}, "global": GLOBAL}},
            r"^model\.layer_types\.local\.windw is not a setting of a layer; remove it\.$",
        ),
        (
            {"layer_types": {"local": LOCAL, "global": {"position": {"name": "nothing"}}}},
            r"^model\.layer_types\.global\.position\.name \('nothing'\) is not a position method",
        ),
        (
            {"layer_types": {"local": {"position": {"name": "rotary", "base": 1}}, "global": GLOBAL}},
            r"^model\.layer_types\.local\.position\.base is not a setting of rotary, which has theta",
        ),
        (
            {"layer_types": {"local": {"position": {"name": "rotary", "theta": -1.0}}, "global": GLOBAL}},
            r"^model\.layer_types\.local\.position\.theta \(-1\.0\) must be above 0",
        ),
    ],
)
def test_a_pattern_that_makes_no_model_is_refused(values, message):
    shape = {"d_model": 16, "num_heads": 2}
    whole = {"pattern": ["local", "global"], "layer_types": {"local": dict(LOCAL), "global": dict(GLOBAL)}}
    LanguageModel(ModelConfig(**shape, **whole), 10)
    with pytest.raises(ValueError, match=message):
        LanguageModel(ModelConfig(**shape, **{**whole, **values}), 10)


def test_a_pattern_is_repeated_and_cut_off_at_the_last_layer():
    types = {"local": dict(LOCAL), "global": dict(GLOBAL)}
    config = ModelConfig(pattern=["local", "local", "global"], layer_types=types, num_layers=7)
    kinds = [kind for kind, _ in config.layers()]
    assert kinds == ["local", "local", "global", "local", "local", "global", "local"]
    assert [layer.window for _, layer in config.layers()] == [8, 8, None, 8, 8, None, 8]
    assert [layer.position["name"] for _, layer in config.layers()][:3] == ["rotary", "rotary", "none"]


def test_layers_without_a_pattern_are_all_alike():
    layers = ModelConfig("rotary", window=5, sink_tokens=2, num_layers=3).layers()
    assert [kind for kind, _ in layers] == [None] * 3
    assert {(layer.position["name"], layer.window, layer.sink_tokens) for _, layer in layers} == {("rotary", 5, 2)}


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "alibi"),
        ({"position": "rotary"}, "rotary"),
        ({"position": {"name": "t5"}, "name": "mine"}, "mine"),
        ({"pattern": ["a", "b", "a"], "layer_types": {"a": GLOBAL, "b": LOCAL}}, "a-b-a"),
        ({"pattern": ["a", "b"], "layer_types": {"a": GLOBAL, "b": LOCAL}, "name": "mix"}, "mix"),
    ],
)
def test_the_method_is_named_by_name_position_or_pattern(values, name):
    assert ModelConfig(**values).method == name


def test_a_name_alone_is_a_position_with_its_defaults():
    assert ModelConfig("rotary").position == {"name": "rotary"}
    types = {"a": {"position": "t5"}}
    assert ModelConfig(pattern=["a"], layer_types=types).layer_types["a"].position == {"name": "t5"}


def test_a_pattern_of_a_negative_number_of_layers_is_refused_by_name():
    with pytest.raises(ValueError, match=r"model\.num_layers \(-1\) must be at least 1"):
        ModelConfig(num_layers=-1, pattern=["local"], layer_types={"local": dict(LOCAL)})


@pytest.mark.parametrize("kind", ["type", "local.near"])
def test_a_type_of_layer_that_cannot_name_a_module_is_refused(kind):
    with pytest.raises(ValueError, match=rf"model\.layer_types has '{kind}'"):
        ModelConfig(pattern=[kind], layer_types={kind: dict(LOCAL)}, d_model=16, num_heads=2)

"""Adaptations of a trained model: which fit, that they are the identity at L, and that no text changes another."""

import math
import re
from dataclasses import replace

import pytest
import torch
from dense_reference import random_model
from stack_inputs import METHODS, WITHOUT_POSITIONS, settings_of

from alibi.model import Adaptation, KeyValueCache, LanguageModel, ModelConfig, adapt
from alibi.model.adaptation_parts import PARTS, TRUNCATION, adapted, shift_invariant
from alibi.positions import Position
from alibi.results import adapt_slug

L, LONGER = 24, 96
NAMES = [name for name in PARTS if name != TRUNCATION]
ROTARY = {"rotary", "rotary_partial", "p_rope"}
HYBRID = {
    "pattern": ["local", "global"],
    "layer_types": {"local": {"position": "rotary", "window": 12}, "global": {"position": "none"}},
}


def fits(name: str, method: str) -> bool:
    """The table of docs/evaluation.md."""
    if name == "pi":
        return method in ROTARY | {"sinusoidal", "alibi", "alibi_learned"}
    if name in ("ntk", "yarn", "llama3"):
        return method in ROTARY
    if name == "temperature":
        return method in ROTARY | {"none"}
    if name in ("slope_scaling", "ntk_alibi"):
        return method in {"alibi", "alibi_learned"}
    if name == "log_n":
        return method != "inkling"
    return name != "sink" or method not in WITHOUT_POSITIONS


def trained(method: str) -> LanguageModel:
    return random_model(settings_of(method), d_model=48).requires_grad_(False)


def ids(length: int = LONGER) -> torch.Tensor:
    return torch.randint(50, (2, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_an_adaptation_fits_or_is_refused_by_name(name, method):
    model = trained(method)
    if not fits(name, method):
        with pytest.raises(ValueError, match=rf"^{name} (does not fit {method}|would be a second scale)"):
            adapt(model, name, L, LONGER)
        return
    before = model(ids())
    longer, short = adapt(model, name, L, LONGER)(ids()), adapt(model, name, L, L)(ids(L))
    assert longer.isfinite().all()
    if (name, method) != ("nope", "none"):
        assert (longer - before).abs().max() > 1e-4, "it changes something"
    if name != "nope":
        assert torch.equal(short, model(ids(L))), "at L it is the identity, bit for bit"
    assert torch.equal(model(ids()), before), "and the model stays as it was"


@pytest.mark.parametrize("method", ["rotary", "sinusoidal", "alibi", "t5", "fire", "fox", "inkling", "xpos"])
@pytest.mark.parametrize("name", NAMES)
def test_texts_do_not_change_each_other(name, method):
    """No state, no look at the length: order independence, prefix invariance at a fixed factor, cached = full."""
    if not fits(name, method):
        return
    model = adapt(trained(method), name, L, LONGER)
    prefix = model(ids()[:, :70])
    whole = model(ids())
    assert torch.equal(model(ids()[:, :70]), prefix), "a longer text before changes nothing"
    assert (whole[:, :70] - prefix).abs().max() < 1e-4
    cache = KeyValueCache()
    parts = [model(ids()[:, begin:end], cache=cache) for begin, end in [(0, 40), *((n, n + 1) for n in range(40, 96))]]
    assert (torch.cat(parts, dim=1) - whole).abs().max() < 1e-4
    other = adapt(trained(method), name, L, 2 * LONGER)(ids())
    if name in ("pi", "ntk", "yarn", "llama3", "slope_scaling", "ntk_alibi", "temperature"):
        assert (other - whole).abs().max() > 1e-3, "control: another factor is noticed"


def test_parts_are_joined_and_applied_in_one_order():
    model = trained("rotary")
    once, twice = (adapt(model, name, L, LONGER)(ids()) for name in ("nope+temperature", "temperature+nope"))
    assert torch.equal(once, twice)
    assert Adaptation.of("window+yarn").name == "yarn+window"
    plain = random_model("none", d_model=48).requires_grad_(False)
    for name, parameter in plain.named_parameters():
        parameter.copy_(dict(model.named_parameters())[name])
    assert torch.equal(once, adapt(plain, "temperature", L, LONGER)(ids())), "DroPE's own evaluation"


def test_log_n_is_its_formula():
    config = adapted(ModelConfig("rotary"), "log_n", {"length": L}, 4.0)
    assert (config.query_scale.name, config.query_scale.length) == ("log_n", L)


def test_in_a_hybrid_the_layers_that_see_all_keys_are_adapted():
    model = random_model({}, num_layers=2, **HYBRID).requires_grad_(False)
    for name in ("pi", "ntk", "yarn", "llama3", "temperature"):
        with pytest.raises(ValueError, match=f"^{name} does not fit local-global: its layers of rotary see no further"):
            adapt(model, name, L, LONGER)
    with pytest.raises(ValueError, match=r"^sink does not fit local-global: it counts no positions there; sink_mask"):
        adapt(model, "sink", L, LONGER)
    for name, (setting, value) in {"window": ("window", L), "bca": ("block_keys", L)}.items():
        layers = adapted(model.config, name, {"length": L}, 4.0).layer_types
        assert getattr(layers["global"], setting) == value
        assert layers["local"] == model.config.layer_types["local"]
    scale = adapted(model.config, "log_n", {"length": L}, 4.0).layer_types
    assert (scale["global"].query_scale.name, scale["local"].query_scale.name) == ("log_n", None)
    without = adapted(model.config, "nope", {"length": L}, 4.0).layer_types
    assert {layer.position["name"] for layer in without.values()} == {"none"}


def test_pi_of_slopes_is_slope_scaling_by_name_too():
    fitted = Adaptation.of("pi").fitted(ModelConfig("alibi"), L)
    assert fitted == Adaptation("slope_scaling")
    assert Adaptation.of("pi").fitted(ModelConfig("sinusoidal"), L).name == "pi"


def test_settings_at_their_default_are_no_settings():
    of = ModelConfig("rotary")
    assert Adaptation.of({"name": "yarn", "beta_fast": 32, "beta_slow": 1}).fitted(of, L).settings == {}
    assert Adaptation.of({"name": "window", "window": L}).fitted(of, L).settings == {}
    assert Adaptation.of({"name": "sink", "window": L - 4, "sink_tokens": 4}).fitted(of, L).settings == {}
    assert Adaptation.of({"name": "sink", "window": L}).fitted(of, L).settings == {"window": L}


def test_a_number_has_one_form():
    """Or two commands would write two files of the same adaptation."""
    one, other = (Adaptation.of({"name": "yarn", "beta_fast": value}) for value in (16, 16.0))
    assert repr(one) == repr(other)
    assert adapt_slug(one.name, one.settings) == adapt_slug(other.name, other.settings)
    slugs = [adapt_slug("ntk", {"factor": factor}) for factor in (4.0, 4.0000001, 2.5, 1e6)]
    assert (slugs[0], slugs[2]) == ("ntk-x4", "ntk-x2.5")
    assert len(set(slugs)) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", slug) for slug in slugs)


def test_a_table_longer_than_the_window_is_refused_before_anything_is_scored():
    long = ModelConfig({"name": "inkling", "extent": 20})
    with pytest.raises(ValueError, match=r"^inkling has a table of 20 distances, and the window \(9\) is shorter; use"):
        Adaptation.of({"name": "sink", "window": 9}).fitted(long, L)


def test_numbers_are_resolved():
    yarn, of = Adaptation.of("yarn").fitted(ModelConfig("rotary"), L), ModelConfig("rotary")
    head = {"name": "yarn", "factor": f"max(1, length / {L})", "length": L, "beta_fast": 32.0, "beta_slow": 1.0}
    assert yarn.in_file(of, L) == head | {"set": {}}
    row = {"factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "temperature": (0.1 * math.log(4) + 1) ** 2}
    assert yarn.in_row(of, L, LONGER) == row
    assert yarn.in_row(of, L, L) == {"factor": 1.0}
    fixed = Adaptation.of({"name": "yarn", "factor": 8})
    assert fixed.in_file(of, L)["factor"] == fixed.in_row(of, L, L)["factor"] == 8
    assert Adaptation.of("sink").in_row(of, L, LONGER) == {"factor": 4.0, "window": L - 4, "sink_tokens": 4}


def test_a_window_below_the_training_length_counts_there_too():
    model = trained("rotary")
    assert not torch.equal(adapt(model, {"name": "window", "window": 5}, L, L)(ids(L)), model(ids(L)))
    narrow = random_model({"name": "rotary"}, window=5).requires_grad_(False)
    assert adapted(narrow.config, "window", {"length": L}, 4.0).window == 5, "the narrower one stays"


def test_weights_are_shared():
    model = trained("t5")
    for name in ("log_n", "nope"):
        other = adapt(model, name, L, LONGER)
        mine = {parameter.data_ptr() for parameter in model.parameters()}
        assert {parameter.data_ptr() for parameter in other.parameters()} <= mine
    assert not [one for one in other.modules() if isinstance(one, Position) and list(one.parameters())]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            "dynamic",
            r"^eval\.adapt \(dynamic\): .dynamic. is not an adaptation; choose one of: pi, ntk, yarn, .*truncation\.$",
        ),
        ("yarn+dynamic", r"^eval\.adapt \(yarn\+dynamic\): .dynamic. is not an adaptation"),
        ("", r"^eval\.adapt \(\): .. is not an adaptation"),
        (3, r"^eval\.adapt \(3\) must be a name, or a mapping with one"),
        ({"factor": 8}, r"must be a name, or a mapping with one: \{name: yarn, factor: 8\}\.$"),
        ({"name": "yarn", "factor": 0.5}, r"^eval\.adapt\.factor \(0\.5\) must be a number of at least 1\.$"),
        ({"name": "yarn", "factor": math.nan}, r"^eval\.adapt\.factor \(nan\) must be a number of at least 1\.$"),
        ({"name": "yarn", "factor": True}, r"^eval\.adapt\.factor \(True\) must be a number of at least 1\.$"),
        ({"name": "yarn", "beta_fast": 0}, r"^eval\.adapt\.beta_fast \(0\) must be a number above 0\.$"),
        ({"name": "yarn", "beta_slow": 40}, r"^eval\.adapt\.beta_slow \(40\) must be below beta_fast \(32\)"),
        ({"name": "yarn", "window": 8}, r"^eval\.adapt\.window is not a setting of yarn, which has factor, beta_fast"),
        ({"name": "log_n", "factor": 8}, r"^eval\.adapt\.factor is not a setting of log_n, which has no settings"),
        ({"name": "window", "window": 1.5}, r"^eval\.adapt\.window \(1\.5\) must be a whole number of at least 1\.$"),
        ("pi+yarn", r"^eval\.adapt \(pi\+yarn\) combines pi and yarn, which exclude each other; use one\.$"),
        ("yarn+truncation", r"combines yarn and truncation, which exclude each other"),
    ],
)
def test_a_wrong_adaptation_is_refused(wanted, message):
    with pytest.raises(ValueError, match=message):
        Adaptation.of(wanted)


def test_a_second_scaling_or_query_scale_is_refused():
    scaled = {"name": "rotary", "scaling": {"name": "pi", "factor": 4.0}}
    with pytest.raises(
        ValueError, match=r"^yarn would be a second scaling, and the model has pi x4; leave yarn out\.$"
    ):
        Adaptation.of("yarn").fitted(ModelConfig(scaled), L)
    for config in (ModelConfig("alibi", query_scale={"name": "log_n", "length": 8}), ModelConfig("inkling")):
        with pytest.raises(
            ValueError, match=r"^log_n would be a second scale of the query, and the model has one; leave log_n out\.$"
        ):
            Adaptation.of("log_n").fitted(config, L)
    with pytest.raises(ValueError, match=r"ntk_alibi\) needs two heads"):
        Adaptation.of("ntk_alibi").fitted(ModelConfig("alibi", num_heads=1), L)
    with pytest.raises(ValueError, match=r"^truncation is for evaluation alone"):
        adapt(trained("rotary"), TRUNCATION, L, LONGER)


def test_sinks_and_blocks_know_where_the_text_begins():
    plain = ModelConfig(position={"name": "alibi"}, num_layers=1, d_model=16, num_heads=2)
    assert shift_invariant(plain)
    assert not shift_invariant(replace(plain, window=8, sink_tokens=2))
    assert not shift_invariant(replace(plain, block_keys=8))

"""The hooks do nothing unless overridden, and a method is registered and built by its name alone."""

from dataclasses import dataclass

import pytest
import torch
from dense_bias import dense_bias

from alibi.positions import DistanceBias, LinearBias, Position, build_position

POSITIONS = torch.arange(6)


@pytest.fixture
def toy_method(monkeypatch):
    """A method that lives for one test: a step at distance 2."""
    monkeypatch.setattr(Position, "registry", dict(Position.registry))

    class Step(DistanceBias):
        def at(self, distance):
            return -(distance > 2).float()[None].expand(4, *distance.shape)

    class Toy(Position, name="toy"):
        causal_only = True

        @dataclass
        class Settings(Position.Settings):
            depth: int = 3
            shared: bool = False

            def check(self):
                if self.depth < 1:
                    raise ValueError(f"depth ({self.depth}) must be at least 1; use 3.")

        def __init__(self, *args):
            super().__init__(*args)
            if self.settings.depth > self.d_model:
                raise ValueError(f"d_model ({self.d_model}) must be at least the depth ({self.settings.depth}).")
            self.weight = torch.nn.Parameter(torch.zeros(3))

        def bias(self):
            return Step()

    return Toy


def build(name: str, d_model: int = 32, num_heads: int = 4, causal: bool = True, **values) -> Position:
    return build_position({"name": name, **values}, d_model, num_heads, causal)


def test_no_method_means_no_effect():
    position, x = build("none"), torch.randn(2, 6, 32)
    assert position.embed(x, POSITIONS) is x
    assert position.turn_query(POSITIONS) is None
    assert position.turn_key(POSITIONS) is None
    assert position.head_windows() is None
    assert position.bias() is None
    assert position.remember(x) is None
    assert position.content_bias(x, POSITIONS, None) is None
    assert position.initialise(torch.Generator()) is None
    assert position.shared is True


def test_the_methods_of_the_paper_are_there():
    assert {"alibi", "none", "rotary", "sinusoidal", "t5"} <= set(Position.registry)


@pytest.mark.parametrize("name", sorted(Position.registry))
def test_each_method_is_built_with_its_sizes(name):
    position = build(name)
    assert position.name == name
    assert (position.d_model, position.num_heads, position.head_dim, position.causal) == (32, 4, 8, True)
    if Position.registry[name].causal_only:
        with pytest.raises(ValueError, match=f"^{name} is for causal models alone; set causal=True, or choose another"):
            build(name, causal=False)
    else:
        assert build(name, causal=False).causal is False


@pytest.mark.parametrize("name", sorted(Position.registry))
def test_initialise_sets_every_parameter_of_each_method(name):
    position = build(name)
    for parameter in position.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    position.initialise(torch.Generator().manual_seed(0))
    assert all(parameter.isfinite().all() for parameter in position.parameters())
    assert hasattr(position.settings, "shared") == bool(list(position.parameters()))


@pytest.mark.parametrize(("name", "has"), [("alibi", True), ("t5", True), ("rotary", False), ("sinusoidal", False)])
def test_a_method_has_a_bias_or_none(name, has):
    assert (build(name).bias() is not None) is has


def test_own_settings_reach_the_method():
    assert build("rotary", theta=500.0).settings.theta == 500.0
    assert build("t5", num_buckets=64, max_distance=300).table.shape == (64, 4)


def test_settings_left_out_are_the_defaults():
    rotary = Position.registry["rotary"]
    assert rotary(32, 4, True).settings == build("rotary").settings == rotary.Settings(10000.0)
    assert build("rotary").settings != rotary.Settings(500.0)


def test_values_are_not_changed_by_building():
    values = {"name": "rotary", "theta": 10.0}
    build_position(values, 32, 4, True)
    assert values == {"name": "rotary", "theta": 10.0}


@pytest.mark.parametrize("values", [{"name": "alibii"}, {}, {"name": None}])
def test_unknown_method_names_the_existing_ones(values):
    with pytest.raises(ValueError, match=r"^model\.position\.name \(.*\) is not a position method") as error:
        build_position(values, 32, 4, True)
    said, known = str(error.value).removesuffix(".").split("; choose one of: ")
    assert repr(values.get("name")) in said
    assert known.split(", ") == sorted(Position.registry)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alibi", r"model\.position\.base is not a setting of alibi, which has scaling; remove it"),
        ("rotary", r"model\.position\.base is not a setting of rotary, which has theta, scaling; remove it"),
        ("t5", r"model\.position\.base is not a setting of t5, which has num_buckets, max_distance, shared; remove it"),
    ],
)
def test_unknown_setting_is_refused_and_the_known_ones_named(name, message):
    with pytest.raises(ValueError, match=message):
        build(name, base=3)


def test_sizes_are_not_settings_of_a_method():
    with pytest.raises(ValueError, match=r"model\.position\.d_model is not a setting of rotary"):
        build_position({"name": "rotary", "d_model": 8}, 32, 4, True)


def test_a_class_registers_itself(toy_method):
    position = build("toy", depth=5)
    assert isinstance(position, toy_method)
    assert position.settings == toy_method.Settings(depth=5)
    assert dense_bias(position.bias(), POSITIONS)[0, 0, 5].tolist() == [-1, -1, -1, 0, 0, 0]
    with pytest.raises(ValueError, match="toy"):
        build("toys")


def test_parameters_need_an_initialise(toy_method):
    with pytest.raises(ValueError, match=r"toy has parameters; its `initialise` must set them all"):
        build("toy").initialise(torch.Generator())


def test_a_method_is_shared_if_its_setting_says_so(toy_method):
    assert build("toy").shared is False
    assert build("toy", shared=True).shared is True


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, r"^model\.layer_types\.local\.position\.depth \(0\) must be at least 1; use 3\.$"),
        ({"depth": 2.5}, r"^model\.layer_types\.local\.position\.depth \(2\.5\) must be a whole number"),
        ({"depth": True}, r"^model\.layer_types\.local\.position\.depth \(True\) must be a whole number"),
        ({"shared": 1}, r"^model\.layer_types\.local\.position\.shared \(1\) must be true or false"),
        ({"deep": 1}, r"^model\.layer_types\.local\.position\.deep is not a setting of toy"),
        ({"depth": 33}, r"^d_model \(32\) must be at least the depth \(33\)\.$"),  # begins with no setting of toy
    ],
)
def test_a_refused_setting_is_named_by_its_full_key(toy_method, values, message):
    with pytest.raises(ValueError, match=message):
        build_position({"name": "toy", **values}, 32, 4, True, key="model.layer_types.local.position")


def test_a_class_that_would_do_nothing_is_refused(toy_method):
    """Hooks of an earlier interface, and settings that are no dataclass."""
    for old, new in (("rotate", "turn_query"), ("distance_bias", "bias")):
        with pytest.raises(ValueError, match=rf"'old' has `{old}`, which nothing calls; it is `{new}` now"):
            type("Old", (Position,), {old: lambda self: None}, name="old")
    with pytest.raises(ValueError, match=r"the Settings of position method 'bare' need @dataclass"):
        type("Bare", (Position,), {"Settings": type("Settings", (Position.Settings,), {})}, name="bare")
    assert {"old", "bare"}.isdisjoint(Position.registry)


def test_a_name_is_given_once(toy_method):
    with pytest.raises(ValueError, match="'toy' is registered twice"):

        class Again(Position, name="toy"):
            pass


def test_bias_of_rows_with_their_own_positions():
    bias = build("alibi").bias()
    rows = torch.stack([POSITIONS, POSITIONS * 2])
    dense = dense_bias(bias, rows)
    assert dense.shape == (2, 4, 6, 6)
    assert torch.equal(dense[1], dense_bias(bias, rows[1])[0])
    assert torch.equal(dense[1], 2 * dense[0])


def test_linear_bias_takes_distances_of_any_shape():
    bias = LinearBias(torch.tensor([0.5, 0.25]))
    for shape in [(), (3,), (2, 3), (2, 3, 4)]:
        assert bias.at(torch.full(shape, -6)).shape == (2, *shape)
    assert bias.at(torch.tensor(-6)).tolist() == [-3.0, -1.5]
    assert bias.at(torch.tensor(-6)).dtype == torch.float64


def test_learned_slopes_of_a_linear_bias_have_their_gradient():
    slopes_H = torch.tensor([0.5, 0.25], requires_grad=True)
    LinearBias(slopes_H).at(torch.tensor([[1, -2], [3, 70_000]])).sum().backward()
    assert slopes_H.grad.tolist() == [-70_006.0, -70_006.0]


def test_a_description_must_say_what_it_is():
    with pytest.raises(NotImplementedError):
        DistanceBias().at(POSITIONS)

"""The hooks do nothing unless overridden, and a method is registered and built by its name alone."""

import pytest
import torch
from references import REFERENCES

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
        def __init__(self, d_model, num_heads, causal, *, depth: int = 3):
            super().__init__(d_model, num_heads, causal)
            self.depth = depth

        def distance_bias(self):
            return Step()

    return Toy


def build(name: str, d_model: int = 32, num_heads: int = 4, causal: bool = True, **values) -> Position:
    return build_position({"name": name, **values}, d_model, num_heads, causal)


def test_no_method_means_no_effect():
    position, x = build("none"), torch.randn(2, 6, 32)
    assert position.embed(x, POSITIONS) is x
    assert position.rotate(POSITIONS) is None
    assert position.distance_bias() is None
    assert position.bias(POSITIONS, POSITIONS) is None
    assert not position.has_bias()


def test_the_methods_of_the_paper_are_there():
    assert {"alibi", "none", "rotary", "sinusoidal", "t5"} <= set(Position.registry)


def test_every_method_has_its_formula_for_the_parity_tests():
    assert REFERENCES.keys() == Position.registry.keys()


@pytest.mark.parametrize("name", sorted(Position.registry))
def test_each_method_is_built_with_its_sizes(name):
    position = build(name)
    assert position.name == name
    assert (position.d_model, position.num_heads, position.causal) == (32, 4, True)
    assert build(name, causal=False).causal is False


@pytest.mark.parametrize(("name", "has"), [("alibi", True), ("t5", True), ("rotary", False), ("sinusoidal", False)])
def test_a_method_knows_whether_it_has_a_bias(name, has):
    assert build(name).has_bias() is has


def test_own_settings_reach_the_method():
    assert build("rotary", theta=500.0).theta == 500.0
    assert build("t5", num_buckets=64, max_distance=300).table.shape == (64, 4)


def test_values_are_not_changed_by_building():
    values = {"name": "rotary", "theta": 10.0}
    build_position(values, 32, 4, True)
    assert values == {"name": "rotary", "theta": 10.0}


@pytest.mark.parametrize("values", [{"name": "alibii"}, {}, {"name": None}])
def test_unknown_method_names_the_existing_ones(values):
    with pytest.raises(ValueError, match=r"choose one of: alibi, none, rotary, sinusoidal, t5") as error:
        build_position(values, 32, 4, True)
    assert repr(values.get("name")) in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alibi", r"model\.position\.base is not a setting of alibi, which has no settings of its own; remove it"),
        ("rotary", r"model\.position\.base is not a setting of rotary, which has theta; remove it"),
        ("t5", r"model\.position\.base is not a setting of t5, which has num_buckets, max_distance; remove it"),
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
    assert position.depth == 5
    assert position.bias(POSITIONS, POSITIONS)[0, 5].tolist() == [-1, -1, -1, 0, 0, 0]
    with pytest.raises(ValueError, match="toy"):
        build("toys")


def test_a_name_is_given_once(toy_method):
    with pytest.raises(ValueError, match="'toy' is registered twice"):

        class Again(Position, name="toy"):
            pass


def test_full_bias_of_rows_with_their_own_positions():
    position = build("alibi")
    rows = torch.stack([POSITIONS, POSITIONS * 2])
    bias = position.bias(rows[:, -2:], rows)
    assert bias.shape == (2, 4, 2, 6)
    assert torch.equal(bias[1], position.bias(rows[1, -2:], rows[1]))
    assert torch.equal(bias[1], 2 * bias[0])


def test_linear_bias_takes_distances_of_any_shape():
    bias = LinearBias((0.5, 0.25))
    for shape in [(), (3,), (2, 3), (2, 3, 4)]:
        assert bias.at(torch.full(shape, -6)).shape == (2, *shape)
    assert bias.at(torch.tensor(-6)).tolist() == [-3.0, -1.5]


def test_a_description_must_say_what_it_is():
    with pytest.raises(NotImplementedError):
        DistanceBias().at(POSITIONS)

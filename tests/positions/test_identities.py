"""Methods and switches that are others in a special case: whole models with the same weights agree to rounding."""

from dataclasses import replace

import pytest
import torch
from dense_reference import randomised

from alibi.model import LanguageModel, ModelConfig

IDS = torch.randint(50, (2, 300), generator=torch.Generator().manual_seed(0))


def logits(position: dict, like: LanguageModel | None = None, **values) -> torch.Tensor:
    """In float64, at the initial values of the method, with sharper attention than at the start."""
    config = ModelConfig(position=position, num_layers=2, d_model=32, num_heads=4, **values)
    model = LanguageModel(config, 50, seed=0).double().eval()
    with torch.no_grad():
        for block in model.transformer.blocks:
            block.attention.query.weight.mul_(3)
            block.attention.key.weight.mul_(3)
        return model(IDS)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().max().item()


@pytest.mark.parametrize("method", ["alibi_learned", "fox"])
def test_what_starts_as_alibi_is_alibi_there(method):
    alibi = logits({"name": "alibi"})
    assert apart(logits({"name": method}), alibi) < 1e-5  # parameters are drawn in float32
    assert apart(logits({"name": "none"}), alibi) > 1e-2, "control"


@pytest.mark.parametrize("method", ["rotary_partial", "p_rope"])
def test_the_whole_of_rotary_is_rotary(method):
    rotary = logits({"name": "rotary"})
    assert apart(logits({"name": method, "fraction": 1.0}), rotary) == 0
    assert apart(logits({"name": method, "fraction": 0.5}), rotary) > 1e-3, "control"


def test_hard_alibi_without_windowed_heads_is_no_position():
    none = logits({"name": "none"})
    assert apart(logits({"name": "hard_alibi", "windowed_heads": 0}), none) < 1e-12
    assert apart(logits({"name": "hard_alibi", "windowed_heads": 1}), none) > 1e-3, "control"


@pytest.mark.parametrize("method", ["alibi", "none", "rotary", "t5", "fox", "fire"])
def test_a_window_of_the_whole_length_is_no_window(method):
    whole = logits({"name": method})
    assert apart(logits({"name": method}, window=300), whole) < 1e-12
    assert apart(logits({"name": method}, window=150), whole) > 1e-3, "control"
    assert apart(logits({"name": method}, window=150, sink_tokens=150), whole) < 1e-12


def test_a_window_of_one_attends_to_itself_alone():
    """Then tokens do not feel each other at all."""
    one = logits({"name": "none"}, window=1)
    model = randomised(LanguageModel(ModelConfig(position={"name": "none"}, window=1, num_layers=2), 50, seed=0))
    with torch.no_grad():
        assert apart(model(IDS)[:, 7], model(IDS[:, 7:8])[:, 0]) < 1e-5
    assert apart(logits({"name": "none"}, window=2), one) > 1e-3, "control"


def test_layers_of_one_type_are_a_model_without_a_pattern():
    plain = logits({"name": "rotary"}, window=20)
    types = {"a": {"position": {"name": "rotary"}, "window": 20}}
    assert apart(logits({}, pattern=["a"], layer_types=types), plain) == 0
    types["b"] = {"position": {"name": "rotary"}}
    assert apart(logits({}, pattern=["a", "b"], layer_types=types), plain) > 1e-3, "control"


def test_two_settings_are_one_where_only_their_product_counts():
    """ssmax with s = 1 / ln n scales nothing in the row of n keys; the last of 300 is the last of plain attention."""
    config = ModelConfig(position={"name": "none"}, num_layers=1, d_model=32, num_heads=4)
    with torch.no_grad():
        plain = LanguageModel(config, 50, seed=0).double()(IDS)
        scale = replace(config.query_scale, name="ssmax", length=300)
        scaled = LanguageModel(replace(config, query_scale=scale), 50, seed=0).double()(IDS)
    assert apart(scaled[:, -1], plain[:, -1]) < 1e-6
    assert apart(scaled[:, 20], plain[:, 20]) > 1e-4, "control"

"""When hooks of a method are called, how often, and in which precision; each layer's own method and shared ones."""

from dataclasses import dataclass

import pytest
import torch
from dense_reference import random_model, reference_hidden, stack_of
from stack_inputs import METHODS, settings_of, tokens

from alibi.model import KeyValueCache, LanguageModel, ModelConfig
from alibi.model.layer_position import LayerPosition
from alibi.model.mask import Pass
from alibi.model.model_config import LayerSettings
from alibi.model.transformer import Transformer
from alibi.positions import DistanceBias, LinearBias, PairBias, Position, build_position

HOOKS = ["embed", "turn_query", "turn_key", "bias", "remember", "content_bias"]


@pytest.fixture
def registry(monkeypatch):
    """Methods that live for one test."""
    monkeypatch.setattr(Position, "registry", dict(Position.registry))


@pytest.fixture
def seen(registry):
    """Two methods, with a bias that depends on the content and with one that does not, and what their hooks saw:
    (hook, autocast, types), in the order of the calls."""
    calls = []

    def saw(hook: str, *tensors: torch.Tensor) -> None:
        calls.append((hook, torch.is_autocast_enabled("cpu"), {x.dtype for x in tensors if x.is_floating_point()}))

    class Watched(DistanceBias):
        def at(self, distance):
            saw("at", distance)
            return -distance.abs()[None].double().expand(2, *distance.shape)

    class Toy(Position, name="toy"):
        @dataclass
        class Settings(Position.Settings):
            shared: bool = True

        def turn_query(self, positions):
            saw("turn_query", positions)
            return lambda x: (saw("turned query", x), x)[1]

        def turn_key(self, positions):
            saw("turn_key", positions)
            return lambda x: (saw("turned key", x), x)[1]

        def bias(self):
            saw("bias")
            return Watched()

    class Embedded(Toy, name="embedded toy"):
        def embed(self, x_BLD, positions):
            saw("embed", x_BLD)
            return x_BLD

    class Content(Toy, name="content toy"):
        bias = Position.bias

        def remember(self, x_BND):
            saw("remember", x_BND)
            return x_BND.transpose(1, 2)

        def content_bias(self, x_BLD, positions, remembered_BRM):
            saw("content_bias", x_BLD, remembered_BRM)

            def at(i, j, slope):
                saw("at", slope)
                return -slope * (i - j)

            return PairBias(at, (x_BLD.square().mean(),))

    return calls


def stack(name: str, num_layers: int = 3, **values):
    position = {"name": name, **({} if name == "embedded toy" else {"shared": values.pop("shared", True)})}
    config = ModelConfig(position, d_model=16, num_heads=2, num_layers=num_layers, d_ff=16, **values)
    return LanguageModel(config, 20, seed=0).transformer.eval()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ["toy", "content toy"])
def test_hooks_run_in_float32_with_autocast_off(name, shared, seen):
    """Also those that attention calls later, a block at a time, and in the backward pass."""
    model, x = stack(name, shared=shared), torch.randn(2, 30, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x.transpose(1, 2)).dtype == torch.bfloat16, "autocast is on"
        out = model(x)
    out.float().sum().backward()
    assert {hook for hook, _, _ in seen} >= {"turn_query", "turn_key", "at", "turned query", "turned key"}
    assert not any(autocast for _, autocast, _ in seen)
    for hook, _, types in seen:
        # Turns get what the linear layers made, which is narrow, and keep its type.
        assert types <= {torch.bfloat16 if hook.startswith("turned") else torch.float32}, hook
    assert any(types == {torch.bfloat16} for _, _, types in seen)


def test_embed_runs_in_float32_with_autocast_off(seen):
    model = stack("embedded toy")
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(2, 5, 16))
    assert ("embed", False, {torch.float32}) in seen
    assert [hook for hook, _, _ in seen].count("embed") == 1


def test_content_hooks_of_a_bfloat16_model_get_float32(seen):
    model = stack("content toy").to(torch.bfloat16)
    model(torch.randn(2, 5, 16).bfloat16())
    assert {frozenset(types) for hook, _, types in seen if hook in ("remember", "content_bias")} == {
        frozenset([torch.float32])
    }
    seen.clear()
    stack("content toy").double()(torch.randn(2, 5, 16).double())
    assert {frozenset(types) for hook, _, types in seen if hook in ("remember", "content_bias")} == {
        frozenset([torch.float64])
    }


def test_autocast_reaches_a_hook_that_is_called_without_care(seen, monkeypatch):
    """Control."""
    monkeypatch.setattr("alibi.model.layer_position.hooks_in_float32", lambda device: torch.autocast("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        stack("toy")(torch.randn(2, 5, 16))
    assert any(autocast for _, autocast, _ in seen)


def counted(seen: list, hook: str) -> int:
    return [name for name, _, _ in seen].count(hook)


@pytest.mark.parametrize("shared", [True, False])
def test_shared_hooks_are_called_once_a_pass_and_others_once_a_layer(shared, seen):
    model, x = stack("toy", shared=shared), torch.randn(2, 30, 16)
    calls = 1 if shared else 3
    for _ in range(2):
        seen.clear()
        model(x)
        assert [counted(seen, hook) for hook in ("turn_query", "turn_key", "bias")] == [calls] * 3
        assert counted(seen, "turned query") == counted(seen, "turned key") == 3
    seen.clear()
    model(x, first_query=10)  # for which the last layer needs other queries
    assert counted(seen, "bias") == (2 if shared else 3)


@pytest.mark.parametrize("shared", [True, False])
def test_content_hooks_are_called_in_every_layer(shared, seen):
    stack("content toy", shared=shared)(torch.randn(2, 30, 16))
    assert (counted(seen, "remember"), counted(seen, "content_bias")) == (3, 3)
    assert counted(seen, "turn_query") == (1 if shared else 3)


def test_types_of_layers_share_their_own_method(seen):
    types = {name: {"position": {"name": "toy"}} for name in ("a", "b")}
    model = stack_of(random_model({}, num_heads=2, pattern=["a", "b"], layer_types=types, num_layers=5))
    seen.clear()
    model(torch.randn(2, 30, 8))
    assert counted(seen, "bias") == 2


def test_cached_decoding_remembers_the_content_of_new_tokens_alone(registry):
    """As a method may forget what it gave, the cache keeps it, layer by layer, in the method's own type."""
    given, remembered = [], []

    class Toy(Position, name="toy"):
        def remember(self, x_BND):
            given.append(x_BND.shape[1])
            return x_BND[:, :, :3].transpose(1, 2).double()

        def content_bias(self, x_BLD, positions, remembered_BRM):
            remembered.append(remembered_BRM)
            return None

    model, cache = LanguageModel(ModelConfig("toy", d_model=16, num_heads=2, num_layers=2), 20, seed=0), KeyValueCache()
    x = torch.randn(2, 9, 16)
    with torch.no_grad():
        for piece in (slice(0, 5), slice(5, 6), slice(6, 9)):
            model.transformer(x[:, piece], cache=cache)
        assert given == [5, 5, 1, 1, 3, 3]
        assert [one.shape[2] for one in remembered] == [5, 5, 6, 6, 9, 9]
        in_pieces = remembered[-2:]
        model.transformer(x)
    for pieces, whole in zip(in_pieces, remembered[-2:], strict=True):
        assert pieces.dtype == torch.float64
        assert (pieces - whole).abs().max() < 1e-5
    assert (remembered[-1] - remembered[-2]).abs().max() > 0.1


def test_fire_under_autocast_has_the_bias_of_float32():
    """A network that autocast would run in bf16, two digits in place of seven."""
    stack = stack_of(random_model(settings_of("fire"), num_heads=4))
    of = Pass(torch.arange(300), torch.arange(300))

    def block() -> torch.Tensor:
        scores = LayerPosition(stack.method_of(0), LayerSettings(), of).scores(torch.zeros(1, 300, 16), 0, None, 0)
        return scores.block(0, 256, torch.float32).detach()

    exact = block()
    seen = exact.isfinite()
    x_BHLK = torch.randn(1, 4, 300, 4)
    captured = {}

    def attend(q, k, v, scores, *rest):
        captured["bias"] = scores.block(0, 256, torch.float32).detach()
        return x_BHLK.to(q.dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alibi.model.attention.attend", attend)
        with torch.autocast("cpu", torch.bfloat16):
            stack.blocks[0].attention(torch.randn(1, 300, 16), LayerPosition(stack.method_of(0), LayerSettings(), of))
    assert (captured["bias"] - exact)[seen].abs().max() < 1e-6
    with torch.autocast("cpu", torch.bfloat16):  # control
        assert (block() - exact)[seen].abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_queries_that_are_turned_as_keys_are_turned_once(method):
    """And other queries, of a tail, by a turn of their own."""
    position = build_position(settings_of(method), 24, 6, True)
    position.initialise(torch.Generator().manual_seed(0))
    of = Pass(torch.arange(9), torch.arange(9))
    whole, tail = (LayerPosition(position, LayerSettings(), of, first) for first in (0, 4))
    q, k = torch.randn(2, 2, 6, 9, 4)
    turned_q, turned_k = whole.turned(q, k)
    tail_q, same_k = tail.turned(q[:, :, 4:], k)
    assert torch.equal(turned_k, same_k)
    assert (tail_q - turned_q[:, :, 4:]).abs().max() < 1e-6
    if type(position).turn_key is Position.turn_key:
        assert whole.turn_query is whole.turn_key
    assert (tail.of.first_query, tail.of.num_queries, whole.of.first_query) == (4, 5, 0)


def test_a_pattern_holds_a_module_for_each_type_or_layer():
    types = {"a": {"position": {"name": "t5"}}, "b": {"position": {"name": "alibi_learned"}, "window": 3}}
    model = stack_of(random_model({}, pattern=["a", "b", "b"], layer_types=types, num_layers=7))
    assert model.kinds == ["a", "b", "b", "a", "b", "b", "a"], "repeated from the bottom up, and cut off"
    assert model.position is None
    assert list(model.positions) == ["a"]
    own = [block.position for block in model.blocks]
    assert [one is None for one in own] == [True, False, False, True, False, False, True]
    assert len({id(one) for one in own if one is not None}) == 4
    assert [model.method_of(layer).name for layer in range(7)] == ["t5", *2 * ["alibi_learned"]] * 2 + ["t5"]
    assert [block.layer.window for block in model.blocks] == [None, 3, 3, None, 3, 3, None]
    names = [name for name, _ in model.named_parameters() if "position" in name]
    assert names == ["positions.a.table", *(f"blocks.{layer}.position.log_slope_H" for layer in (1, 2, 4, 5))]


def test_a_pattern_of_one_type_is_the_model_without_a_pattern():
    plain = stack_of(random_model("alibi", num_layers=3, window=5)).double()
    types = {"only": {"position": {"name": "alibi"}, "window": 5}}
    pattern = stack_of(random_model({}, num_layers=3, pattern=["only"], layer_types=types)).double()
    x = tokens(plain, 50).double()
    assert torch.equal(plain(x), pattern(x))


def test_two_types_that_add_to_the_embeddings_both_do():
    types = {"a": {"position": {"name": "sinusoidal"}}, "b": {"position": {"name": "sinusoidal", "theta": 50.0}}}
    model = stack_of(random_model({}, pattern=["a", "b"], layer_types=types)).double()
    x = tokens(model, 20).double()
    assert (model(x) - reference_hidden(model, x)).abs().max() < 1e-10
    added = model.positions["a"].embed(x, torch.arange(20)) - x
    assert (model.positions["b"].embed(x, torch.arange(20)) - x - added).abs().max() > 0.1


def test_a_method_that_adds_to_the_embeddings_is_shared(registry):
    class Toy(Position, name="toy"):
        @dataclass
        class Settings(Position.Settings):
            shared: bool = True

        def embed(self, x_BLD, positions):
            return x_BLD

    LanguageModel(ModelConfig("toy"), 10)
    with pytest.raises(ValueError, match=r"^model\.position\.shared must be true: toy adds to the embeddings, once"):
        LanguageModel(ModelConfig({"name": "toy", "shared": False}), 10)
    types = {"one": {"position": {"name": "toy", "shared": False}}}
    with pytest.raises(ValueError, match=r"^model\.layer_types\.one\.position\.shared must be true"):
        LanguageModel(ModelConfig(pattern=["one"], layer_types=types), 10)


def test_windows_of_heads_need_a_causal_model(registry):
    class Toy(Position, name="toy"):
        def head_windows(self):
            return (1, None)

    shape = {"d_model": 16, "num_heads": 2, "num_layers": 1}
    stack_of(random_model("toy", num_heads=2))
    with pytest.raises(ValueError, match=r"^toy has windows, which need a causal model; set causal=True"):
        Transformer(ModelConfig("toy", causal=False, **shape))


def test_a_hook_may_return_nothing():
    of = Pass(torch.arange(5), torch.arange(5))
    layer = LayerPosition(build_position({"name": "none"}, 8, 2, True), LayerSettings(), of)
    q, k = torch.randn(2, 1, 2, 5, 4)
    assert all(mine is given for mine, given in zip(layer.turned(q, k), (q, k), strict=True))
    assert layer.scores(torch.zeros(1, 5, 8), 0, None, 0).plain
    biased = LayerPosition(build_position({"name": "alibi"}, 8, 2, True), LayerSettings(), of)
    assert isinstance(biased.scores(torch.zeros(1, 5, 8), 0, None, 0).term.bias, LinearBias)

"""What holds for every model= there is: a new method or pattern is tested here without an edit.

Models are composed from their YAML at a training length of 32, with parameters moved away from where they start, and
compared in float64 with the dense reference.

Legend: B batch, L tokens, D d_model.
"""

from dataclasses import asdict, fields, replace
from functools import cache

import pytest
import torch
from dense_reference import randomised, reference_hidden
from largest_result import LargestResult
from stack_inputs import left_padding, positions_of

from alibi.config.known import choices
from alibi.config.typed import run_of
from alibi.model import KeyValueCache, LanguageModel, ModelConfig, shift_invariant
from alibi.model.transformer import Transformer
from alibi.positions import Position
from alibi.positions.alibi import LinearSettings
from alibi.positions.rotation import ScaledRotarySettings

SEQ_LEN = 32
CHOICES = choices("model")
EVERY = pytest.mark.parametrize("name", CHOICES)


pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def config_of(name: str) -> ModelConfig:
    """Small, and with two whole patterns of layers or two layers."""
    shape = ["model.num_layers=12", "model.d_model=64", "model.num_heads=4", "model.d_ff=32", "model.bias=true"]
    config = run_of([f"model={name}", "size=tiny", "data=stdlib", f"train.seq_len={SEQ_LEN}", *shape]).model
    return replace(config, num_layers=len(config.pattern or [1]) + 1)


def stack(name: str, causal: bool = True) -> Transformer:
    config = replace(config_of(name), causal=causal)
    model = LanguageModel(config, 50, seed=0).transformer if causal else Transformer(config)
    return randomised(model).double().eval()


def layer_types(name: str) -> set[str]:
    return {layer.position["name"] for _, layer in config_of(name).layers()}


def tokens(length: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, length, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def projected(out: torch.Tensor) -> torch.Tensor:
    """A sum in a random direction: after a norm a plain sum is the same for every input."""
    return (out * torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(9))).sum()


def test_every_method_has_a_yaml():
    assert set(Position.registry) <= {one for name in CHOICES for one in layer_types(name)}


def felt(forward, length: int, at: int) -> torch.Tensor:
    """(L,): how much each token moves the output at one place."""
    x = tokens(length).requires_grad_()
    projected(forward(x)[0, at]).backward()
    return x.grad[0].norm(dim=-1)


@EVERY
def test_later_tokens_have_no_influence(name):
    model = stack(name)
    for at in (0, 39, 255, 256, 290):
        assert (felt(model, 300, at)[at + 1 :] == 0).all()
        assert felt(model, 300, at)[at] > 0
    # Control: an encoder, or outputs read one place too early, fail.
    can_be_encoder = not any(layer.window for _, layer in config_of(name).layers())
    if can_be_encoder and not any(Position.registry[method].causal_only for method in layer_types(name)):
        assert (felt(stack(name, causal=False), 60, 20)[21:] > 0).any()
    assert (felt(lambda x: model(x).roll(-1, 1), 60, 20)[21:] > 0).any()


def decoded(model: Transformer, x: torch.Tensor, ends: list[int]) -> torch.Tensor:
    cache, begin, out = KeyValueCache(), 0, []
    for end in ends:
        out.append(model(x[:, begin:end], cache=cache))
        begin = end
    return torch.cat(out, dim=1)


@EVERY
def test_cached_decoding_is_one_full_pass(name):
    model, x = stack(name), tokens(3 * SEQ_LEN, batch=2)
    with torch.no_grad():
        full = model(x)
        for ends in ([*range(1, 97)], [20, 21, 50, 51, 96]):
            assert (decoded(model, x, ends) - full).abs().max() < 1e-10
        # Control: a cache of something else.
        assert (decoded(model, x.roll(1, 1), [20, 96]).roll(-1, 1) - full).abs().max() > 1e-3


@EVERY
def test_left_padding_changes_nothing_for_real_tokens(name):
    model, lengths, width = stack(name), [70, 41, 3], 70
    padding, x = left_padding(lengths, width), tokens(70, batch=3)
    with torch.no_grad():
        out = model(x, positions_of(padding), padding)
        for row, length in enumerate(lengths):
            alone = model(x[row, width - length :][None])
            assert (out[row, width - length :] - alone[0]).abs().max() < 1e-10
        # Control: padding that is seen.
        assert (model(x, positions_of(padding)) - out)[~padding].abs().max() > 1e-3


@EVERY
def test_neither_batch_nor_blocks_of_queries_change_a_row(name, monkeypatch):
    model, x = stack(name), tokens(70, batch=3)
    with torch.no_grad():
        out = model(x)
        assert (model(x[1:2]) - out[1:2]).abs().max() < 1e-11
        for size in (1, 7, 64):
            monkeypatch.setattr("alibi.model.score_bias.QUERIES_PER_BLOCK", size)
            assert (model(x) - out).abs().max() < 1e-11


@EVERY
def test_first_query_is_a_slice(name):
    model, x = stack(name), tokens(300, batch=2)
    with torch.no_grad():
        for first in (1, 256, 299):
            assert (model(x, first_query=first) - model(x)[:, first:]).abs().max() < 1e-11


@EVERY
def test_a_prefix_does_not_feel_how_long_the_text_is(name):
    """The first 100 rows of 400; and the same again after a long text, so no state is kept."""
    model, x = stack(name), tokens(400)
    with torch.no_grad():
        before, whole = model(x[:, :100]), model(x)
        assert (whole[:, :100] - before).abs().max() < 1e-11
        assert torch.equal(model(x[:, :100]), before)


def test_a_method_that_looks_at_the_length_is_noticed(monkeypatch):
    """Control of the test above: ALiBi's slopes scaled by the length of the text, as public code does."""
    model, x = stack("alibi"), tokens(400)
    plain, hooks = type(model.position).bias, {"length": 100}
    monkeypatch.setattr(
        model.position, "bias", lambda: replace(b := plain(model.position), slopes_H=b.slopes_H * 100 / hooks["length"])
    )
    with torch.no_grad():
        before = model(x[:, :100])
        hooks["length"] = 400
        assert (model(x)[:, :100] - before).abs().max() > 1e-3


@EVERY
@pytest.mark.parametrize(("length", "padded"), [(300, False), (45, True)])
def test_output_and_every_gradient_are_the_dense_reference(name, length, padded):
    model = stack(name)
    padding = left_padding([length, length // 2], length) if padded else None
    positions = positions_of(padding) if padded else None
    found = []
    for forward in (model, lambda *given: reference_hidden(model, *given)):
        model.zero_grad()
        x = tokens(length, batch=2).requires_grad_()
        out = forward(x, positions, padding)
        real = out if padding is None else out[~padding]
        projected(real).backward()
        found.append({"out": real.detach(), "x": x.grad, **{n: p.grad for n, p in model.named_parameters()}})
    for part, exact in found[1].items():
        assert exact is not None, f"{part} has no effect"
        assert (found[0][part] - exact).abs().max() < 1e-10 * exact.abs().max().clamp(min=1), part
    assert all(found[1][n].abs().max() > 0 for n, _ in model.named_parameters() if "key.bias" not in n)


@EVERY
@torch.no_grad()
def test_skipping_keys_is_visiting_all_of_them_even_if_a_far_key_matters(name):
    model, x = stack(name), tokens(1300)
    x[:, 3] *= 30
    for block in model.blocks:
        block.attention.query.weight.mul_(3)
        block.attention.key.weight.mul_(3)
    skipped = model(x)
    model.skip_far_keys = False
    assert (model(x) - skipped).abs().max() < 1e-10


@EVERY
def test_memory_is_linear_in_the_length(name):
    model = stack(name).float()

    def largest(length: int) -> int:
        x = tokens(length).float().requires_grad_()
        with LargestResult() as seen:
            model(x).sum().backward()
        return seen.elements

    assert largest(2048) < 2.6 * largest(1024)


@EVERY
def test_what_two_methods_share_starts_bit_identical(name):
    models = [LanguageModel(replace(config_of(one), num_layers=4), 50, seed=3) for one in (name, "none")]
    mine, plain = (dict(model.named_parameters()) for model in models)
    own = {id(parameter) for parameter in models[0].position_parameters()}
    assert plain.keys() <= mine.keys()
    assert all(torch.equal(mine[key], plain[key]) for key in plain)
    assert {key for key in mine.keys() - plain.keys() if id(mine[key]) not in own} == set()
    again = dict(LanguageModel(replace(config_of(name), num_layers=4), 50, seed=3).named_parameters())
    assert all(torch.equal(mine[key], again[key]) for key in mine)


def other_values(value: object, options: tuple) -> list[object]:
    """Other values that a setting may have, given the choices that its type names."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return [one for one in options if one != value]
    if value is None:
        scalings = (*ScaledRotarySettings.scalings, *LinearSettings.scalings)
        return [False, 1, 3.0, *({"name": name, "factor": 4.0, "length": 8} for name in scalings)]
    return [value * 2, value // 2 if isinstance(value, int) else value / 2, value + 4]


def choices_of(method: str) -> dict[str, tuple]:
    """The settings of a method that are one of several words."""
    return {
        one.name: one.type.__args__
        for one in fields(Position.registry[method].Settings)
        if one.type is not None and str(one.type).startswith("typing.Literal")
    }


SETTINGS = [
    (name, kind, setting, value)
    for name in CHOICES
    for kind, layer in dict(config_of(name).layers()).items()
    for setting, value in {
        **{one.name: one.default for one in fields(Position.registry[layer.position["name"]].Settings)},
        **layer.position,
        "window": layer.window,
    }.items()
    if setting != "name" and not (setting == "window" and value is None)
]


def nats(config: ModelConfig) -> torch.Tensor:
    """Of fixed ids three times as long as the training length, by a model at its initial values."""
    model = LanguageModel(config, 50, seed=1).double().eval()
    ids = torch.randint(50, (1, 3 * SEQ_LEN + 1), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in model.transformer.blocks:
            block.attention.query.weight.mul_(3)
            block.attention.key.weight.mul_(3)
        return model.nll(ids[:, :-1], ids[:, 1:])


@pytest.mark.parametrize(("name", "kind", "setting", "value"), SETTINGS)
def test_every_setting_changes_the_output(name, kind, setting, value):
    """Alone, or together with another choice that it belongs to; `shared` changes how many parameters there are."""
    config, changes = config_of(name), []
    words = choices_of(dict(config.layers())[kind].position["name"])
    beside = [{}, *({word: one} for word, options in words.items() for one in options if word != setting)]
    for others in beside:
        for other in other_values(value, words.get(setting, ())):
            try:
                pair = [with_settings(config, kind, others), with_settings(config, kind, {**others, setting: other})]
                changes.append(difference(*pair, counted=setting == "shared"))
            except ValueError:
                continue
    assert changes, f"no other value of {setting} was accepted"
    assert max(changes) > 1e-6


def difference(one: ModelConfig, other: ModelConfig, counted: bool) -> float:
    if counted:
        return abs(
            sum(p.numel() for p in Transformer(one).parameters())
            - sum(p.numel() for p in Transformer(other).parameters())
        )
    return (nats(one) - nats(other)).abs().max().item()


def with_settings(config: ModelConfig, kind: str | None, settings: dict) -> ModelConfig:
    plain = asdict(config)
    layer = plain if kind is None else plain["layer_types"][kind]
    for setting, value in settings.items():
        (layer if setting == "window" else layer["position"])[setting] = value
    return ModelConfig(**plain)


@EVERY
def test_a_method_states_whether_shifting_all_positions_changes_anything(name):
    model, x = stack(name), tokens(24)
    longest = min((one.longest for one in model.modules() if isinstance(one, Position) and one.longest), default=10**6)
    with torch.no_grad():
        plain = model(x)
        apart = max((model(x, torch.arange(24) + by) - plain).abs().max() for by in (7, longest - 24))
    if shift_invariant(config_of(name)):
        assert apart < 1e-8
    else:
        assert apart > 1e-6

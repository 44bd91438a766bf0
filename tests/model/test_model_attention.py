"""The whole stack against a dense float64 reference: outputs and gradients, every way it is used."""

import copy
import dataclasses

import pytest
import torch
from dense_reference import in_float64, random_model, reference_hidden, stack_of
from references import REFERENCES
from stack_inputs import METHODS, ONE_A_KIND, both_ways, settings_of

from alibi.model import LanguageModel, ModelConfig
from alibi.model.query_scale import QueryScaleConfig
from alibi.model.score_bias import QUERIES_PER_BLOCK
from alibi.positions import Position

LENGTHS = (1, 2, 255, 256, 257, 513)  # around the size of a block of queries, and two blocks and one
CASES = [(length, False) for length in LENGTHS] + [(length, True) for length in (1, 2, 257, 513)]
SOME_CASES = [(2, False), (257, True), (513, False)]


def inputs(stack, length: int, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, stack.d_model, dtype=torch.float64, generator=generator)


def padded_rows(length: int) -> torch.Tensor:
    """On the left; and on the right, where there is room in the middle as well."""
    padding = torch.zeros(2, length, dtype=torch.bool)
    padding[0, : length // 3] = True
    padding[1, length - length // 4 :] = True
    if length > 9:
        padding[1, [0, 3, 4, length // 2]] = True
    return padding


def outcome(forward, stack, x: torch.Tensor, seed: int = 1) -> dict[str, torch.Tensor]:
    """Hidden states, and the gradients of their projection on a random direction."""
    stack.zero_grad()
    x = x.detach().clone().requires_grad_()
    out = forward(x)
    direction = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    (out * direction.to(out.dtype)).sum().div(out.shape[1] ** 0.5).backward()
    gradients = {name: p.grad.clone() for name, p in stack.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "x": x.grad, **gradients}


def worst_error(ours: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> float:
    """Largest difference, counted in units of the largest value where that is above one."""
    assert ours.keys() == reference.keys()
    return max(
        ((ours[name] - value).abs().max() / value.abs().max().clamp(min=1)).item() for name, value in reference.items()
    )


def compare(stack, length: int, padded: bool, dtype=torch.float64, positions=None) -> float:
    padding = padded_rows(length) if padded else None
    exact = in_float64(stack)
    x = inputs(stack, length, batch=2 if padded else 1)
    reference = outcome(lambda x: reference_hidden(exact, x, positions, padding), exact, x)
    stack = stack.to(dtype)
    return worst_error(outcome(lambda x: stack(x, positions, padding), stack, x.to(dtype)), reference)


@pytest.mark.parametrize(("length", "padded"), CASES)
@both_ways(sorted(REFERENCES))
def test_float64_is_the_dense_reference(method, causal, length, padded):
    stack = stack_of(random_model(settings_of(method), num_heads=6, causal=causal))
    assert compare(stack, length, padded) < 1e-10


@pytest.mark.parametrize(("length", "padded"), SOME_CASES)
@both_ways([method for method in METHODS if method not in REFERENCES])
def test_float64_is_the_dense_reference_for_later_methods(method, causal, length, padded):
    stack = stack_of(random_model(settings_of(method), num_heads=6, causal=causal))
    assert compare(stack, length, padded) < 1e-10


@both_ways(ONE_A_KIND)
def test_float64_is_the_dense_reference_with_eight_heads(method, causal):
    stack = stack_of(random_model(settings_of(method), num_heads=8, causal=causal))
    assert compare(stack, 257, padded=False) < 1e-10
    assert compare(stack, 19, padded=True) < 1e-10


@pytest.mark.parametrize("num_heads", [6, 8])
@both_ways(ONE_A_KIND)
def test_float32_is_near_the_dense_reference(method, causal, num_heads):
    stack = stack_of(random_model(settings_of(method), num_heads=num_heads, causal=causal))
    assert compare(stack, 257, padded=num_heads == 6, dtype=torch.float32) < 1e-5


@both_ways(ONE_A_KIND)
def test_explicit_positions_are_the_dense_reference(method, causal):
    """With gaps, far away, and different in every row of the batch: the path without a band."""
    stack = stack_of(random_model(settings_of(method), causal=causal))
    gaps = torch.randint(1, 9, (2, 270), generator=torch.Generator().manual_seed(0)).cumsum(1)
    rows = gaps + torch.tensor([[5], [4000]])
    assert compare(stack, 270, padded=False, positions=gaps[0]) < 1e-10
    assert compare(stack, 270, padded=True, positions=rows) < 1e-10
    assert compare(stack, 12, padded=True, positions=gaps[0, :12]) < 1e-10


@torch.no_grad()
def change_a_little(stack, method: str, monkeypatch) -> None:
    if method in REFERENCES:
        REFERENCES[method].near_relative(stack.position, monkeypatch)
    elif method == "xpos":
        monkeypatch.setattr(stack.position.settings, "gamma", 0.4001)
    elif method == "hard_alibi":
        stack.position.windowed_heads += 1
    else:
        learned = [p for layer in range(2) for p in stack.method_of(layer).parameters()]
        assert learned
        for parameter in learned:
            parameter.sub_(1e-3)


@pytest.mark.parametrize("method", [method for method in ONE_A_KIND if method != "none"])
def test_comparison_notices_a_wrong_position_method(method, monkeypatch):
    """Every comparison above must be able to fail: the method is replaced by a near relative."""
    stack = stack_of(random_model(settings_of(method)))
    x = inputs(stack, 40, batch=1)
    exact = in_float64(stack)
    stack = stack.double()
    assert (stack(x) - reference_hidden(exact, x)).abs().max() < 1e-10
    change_a_little(stack, method, monkeypatch)
    assert (stack(x) - reference_hidden(exact, x)).abs().max() > 1e-7


def test_comparison_notices_a_mask_that_is_off_by_one():
    stack = stack_of(random_model("none")).double()
    padding = padded_rows(12)
    x = inputs(stack, 12, batch=2)
    assert (stack(x, padding_mask=padding.roll(1, 1)) - reference_hidden(stack, x, None, padding)).abs().max() > 1e-3


@both_ways(ONE_A_KIND)
def test_result_does_not_depend_on_the_size_of_query_blocks(method, causal, monkeypatch):
    stack = stack_of(random_model(settings_of(method), causal=causal)).double()
    x = inputs(stack, 50, batch=2)
    for padding in (None, padded_rows(50)):
        whole = stack(x, padding_mask=padding)
        for size in (1, 7, 50, 64):
            monkeypatch.setattr("alibi.model.score_bias.QUERIES_PER_BLOCK", size)
            assert (stack(x, padding_mask=padding) - whole).abs().max() < 1e-12
        monkeypatch.undo()


LAYERS = {
    "local": {"position": {"name": "alibi_learned"}, "window": 30, "sink_tokens": 2},
    "wide": {
        "position": {"name": "inkling", "extent": 9, "scale_length": 30, "rank": 2, "shared": True},
        "window": 400,
        "query_scale": {"name": "llama4", "length": 50},
    },
    "global": {"position": {"name": "rotary"}, "query_scale": {"name": "ssmax", "length": 100}},
}


def layers_that_differ():
    """Of the types local, global, local, wide, local."""
    types = copy.deepcopy(LAYERS)
    return stack_of(random_model({}, pattern=["local", "global", "local", "wide"], layer_types=types, num_layers=5))


@pytest.mark.parametrize(("length", "padded"), [(1, False), (37, True), (257, True), (600, False)])
def test_layers_that_differ_are_the_dense_reference(length, padded):
    assert compare(layers_that_differ(), length, padded) < 1e-10


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        (0, {"window": 29}),
        (1, {"window": 256}),
        (2, {"sink_tokens": 1}),
        (3, {"window": 256}),
        (3, {"query_scale": QueryScaleConfig("llama4", 51)}),
        (4, {"sink_tokens": None}),
    ],
)
def test_comparison_notices_a_wrong_layer(layer, values):
    stack = layers_that_differ().double()
    x = inputs(stack, 257, batch=1)
    before = stack(x)
    assert (before - reference_hidden(stack, x)).abs().max() < 1e-10
    block = stack.blocks[layer]
    block.layer = dataclasses.replace(block.layer, **values)
    assert (before - reference_hidden(stack, x)).abs().max() > 1e-5


def influence(stack, length: int, at: int, project: bool = True) -> torch.Tensor:
    """(length,): how much each input moves the output at one place."""
    x = inputs(stack, length, batch=1).requires_grad_()
    out = stack(x)[0, at]
    direction = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (out * direction if project else out).sum().backward()
    return x.grad[0].norm(dim=-1)


@pytest.mark.parametrize("at", [0, 100, QUERIES_PER_BLOCK - 1, QUERIES_PER_BLOCK, 299])
@pytest.mark.parametrize("method", METHODS)
def test_later_tokens_have_no_influence(method, at):
    felt = influence(stack_of(random_model(settings_of(method))).double(), 300, at)
    assert (felt[at + 1 :] == 0).all()
    assert (felt[: at + 1] > 0).all()


@pytest.mark.parametrize("method", [m for m in METHODS if not Position.registry[m].causal_only])
def test_an_encoder_fails_the_test_of_causality(method):
    felt = influence(stack_of(random_model(settings_of(method), causal=False)).double(), 300, 100)
    assert (felt > 0).all()


def test_a_plain_sum_after_the_norm_would_pass_for_every_model():
    """Why the output is projected: a LayerNorm's outputs sum to nothing that depends on its input."""
    encoder = stack_of(random_model("none", causal=False)).double()
    torch.nn.init.ones_(encoder.final_norm.weight)
    assert influence(encoder, 30, 10, project=False).max() < 1e-10
    assert influence(encoder, 30, 10).max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_autocast_to_bfloat16_stays_near_float32(method):
    stack = stack_of(random_model(settings_of(method)))
    x = inputs(stack, 300, batch=2).float()
    for padding in (None, padded_rows(300)):
        exact = stack(x, padding_mask=padding)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = stack(x, padding_mask=padding)
        assert (narrow - exact).abs().mean() < 2e-2
        assert narrow.isfinite().all()


def test_attention_dropout_draws_in_training_only():
    stack = stack_of(random_model("alibi", attention_dropout=0.5))
    x = inputs(stack, 20, batch=1).float()
    assert torch.equal(stack(x), stack(x))
    stack.train()
    assert not torch.equal(stack(x), stack(x))


@pytest.mark.parametrize("method", ["alibi", "t5", "rotary", "sinusoidal"])
def test_dropout_outside_attention_draws_alike_for_every_method(method: str, monkeypatch) -> None:
    """With attention dropout, and queries cut into other blocks, the masks of the residual are the same."""

    def masks(method: str, queries_per_block: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        monkeypatch.setattr("alibi.model.score_bias.QUERIES_PER_BLOCK", queries_per_block)
        torch.manual_seed(0)
        model = LanguageModel(
            ModelConfig({"name": method}, d_model=16, num_heads=2, num_layers=2, dropout=0.3, attention_dropout=0.2),
            vocab_size=7,
            seed=0,
        )
        seen = []
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.register_forward_hook(lambda m, given, out: seen.append((out == 0, given[0] != 0)))
        torch.manual_seed(1)
        model.train()(torch.zeros(1, 600, dtype=torch.long))
        return seen

    for (dropped, alive), (also_dropped, also_alive) in zip(masks("none", 256), masks(method, 100), strict=True):
        both = alive & also_alive  # what attention dropout made zero tells nothing
        assert both.float().mean() > 0.99
        assert torch.equal(dropped[both], also_dropped[both])

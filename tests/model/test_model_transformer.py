"""The stack in use: padding, a range of queries, explicit positions, and what it refuses."""

import pytest
import torch
from dense_reference import random_model, stack_of
from stack_inputs import (
    ABSOLUTE,
    METHODS,
    ONE_A_KIND,
    both_ways,
    left_padding,
    positions_of,
    settings_of,
    tokens,
)

from alibi.model import ModelConfig
from alibi.model.transformer import FeedForward

OF_DISTANCE = [method for method in METHODS if method not in ABSOLUTE]


@pytest.mark.parametrize("side", ["left", "right"])
@both_ways(ONE_A_KIND)
def test_padding_changes_nothing_for_real_tokens(method, causal, side):
    stack = stack_of(random_model(settings_of(method), causal=causal))
    lengths, width = [300, 7, 1], 300
    padding = left_padding(lengths, width) if side == "left" else left_padding(lengths, width).flip(1)
    x = tokens(stack, width)
    out = stack(x, positions_of(padding), padding)
    assert out.isfinite().all()
    other = torch.where(padding[..., None], 50 * tokens(stack, width, seed=1), x)
    assert torch.equal(stack(other, positions_of(padding), padding)[~padding], out[~padding])
    for row, length in enumerate(lengths):
        alone = stack(x[row][~padding[row]][None])
        assert (out[row][~padding[row]] - alone[0]).abs().max() < 1e-5, length
    if causal and side == "right":
        return  # there no token could see the padding anyway
    # Control: without the mask the padding is felt.
    unmasked = stack(other, positions_of(padding)) - stack(x, positions_of(padding))
    assert unmasked[~padding].abs().max() > 1e-2


@both_ways(OF_DISTANCE)
def test_methods_of_distance_need_no_positions_with_left_padding(method, causal):
    stack = stack_of(random_model(settings_of(method), causal=causal))
    padding = left_padding([20, 7, 1], 20)
    x = tokens(stack, 20)
    out = stack(x, padding_mask=padding)
    assert (out - stack(x, positions_of(padding), padding))[~padding].abs().max() < 1e-5


@both_ways(METHODS)
def test_nothing_but_padding_gives_numbers_and_gradients(method, causal):
    stack = stack_of(random_model(settings_of(method), causal=causal))
    x = tokens(stack, 9).requires_grad_()
    out = stack(x, padding_mask=torch.ones(3, 9, dtype=torch.bool))
    assert out.isfinite().all()
    (out**2).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in stack.parameters() if p.grad is not None)


@both_ways(METHODS)
def test_a_mask_without_padding_is_no_mask(method, causal):
    stack = stack_of(random_model(settings_of(method), causal=causal))
    x = tokens(stack, 20)
    assert (stack(x, padding_mask=torch.zeros(3, 20, dtype=torch.bool)) - stack(x)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(3, 20),
        torch.ones(3, 20, dtype=torch.long),
        torch.zeros(3, 19, dtype=torch.bool),
        torch.zeros(20, dtype=torch.bool),
        torch.zeros(1, 20, dtype=torch.bool),
        torch.zeros(3, 1, 20, 20, dtype=torch.bool),
    ],
    ids=["float", "integers", "short", "flat", "one row", "scores"],
)
def test_a_mask_of_another_kind_is_refused_with_the_rule(mask):
    stack = stack_of(random_model("alibi"))
    with pytest.raises(ValueError, match=r"must be bool \(3, 20\), True where a token is padding") as error:
        stack(tokens(stack, 20), padding_mask=mask)
    assert str(mask.dtype) in str(error.value)
    assert str(tuple(mask.shape)) in str(error.value)


@pytest.mark.parametrize("first_query", [1, 256, 299])
@both_ways(ONE_A_KIND)
def test_first_query_is_a_slice_of_the_full_result(method, causal, first_query):
    stack = stack_of(random_model(settings_of(method), causal=causal)).double()
    x = tokens(stack, 300).double()
    padding = left_padding([300, 200, 100], 300)
    rows = positions_of(padding)
    for values in ({}, {"padding_mask": padding}, {"positions": rows}, {"positions": rows[2], "padding_mask": padding}):
        full = stack(x, **values)
        assert full.shape == x.shape
        assert (stack(x, **values, first_query=first_query) - full[:, first_query:]).abs().max() < 1e-12


@both_ways(METHODS)
def test_consecutive_positions_said_aloud_change_nothing(method, causal):
    stack = stack_of(random_model(settings_of(method), causal=causal))
    x = tokens(stack, 40)
    out = stack(x)
    for positions in (torch.arange(40), torch.arange(40).expand(3, -1), torch.arange(40, dtype=torch.int32)):
        assert (stack(x, positions) - out).abs().max() < 1e-5


@pytest.mark.parametrize("method", OF_DISTANCE)
def test_methods_of_distance_do_not_feel_where_the_text_begins(method):
    stack = stack_of(random_model(settings_of(method))).double()
    x = tokens(stack, 40).double()
    assert (stack(x, torch.arange(40) + 20_000) - stack(x)).abs().max() < 1e-7


@pytest.mark.parametrize("method", sorted(ABSOLUTE))
def test_the_other_methods_feel_where_the_text_begins(method):
    stack = stack_of(random_model(settings_of(method))).double()
    x = tokens(stack, 40).double()
    assert (stack(x, torch.arange(40) + 20_000) - stack(x)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": torch.zeros(2, 5, 23)}, r"x has shape \(2, 5, 23\); it must be \(batch, seq, d_model\) with d_model 24"),
        ({"x": torch.zeros(5, 24)}, r"x has shape \(5, 24\)"),
        ({"x": torch.zeros(2, 0, 24)}, r"no tokens"),
        ({"first_query": 5}, r"first_query \(5\) must be at least 0 and below the 5 tokens"),
        ({"first_query": -1}, r"first_query \(-1\)"),
        ({"positions": torch.arange(6)}, r"positions have shape \(6,\); they must be \(5,\) or \(2, 5\)"),
        ({"positions": torch.zeros(3, 5, dtype=torch.long)}, r"positions have shape \(3, 5\)"),
        ({"positions": torch.arange(5.0)}, r"positions are torch\.float32; they must be integers\."),
    ],
)
def test_bad_input_is_refused_with_the_rule(values, message):
    stack = stack_of(random_model("alibi"))
    with pytest.raises(ValueError, match=message):
        stack(**{"x": torch.zeros(2, 5, 24), **values})


@pytest.mark.parametrize("method", METHODS)
def test_no_state_grows_and_no_mask_is_saved(method):
    stack = stack_of(random_model(settings_of(method)))
    before = set(stack.state_dict())
    stack(tokens(stack, 700))
    assert not list(stack.buffers())
    assert set(stack.state_dict()) == before == {name for name, _ in stack.named_parameters()}


def test_dropout_acts_on_the_residual_and_on_the_activation_in_training_only():
    for values in ({"dropout": 0.5}, {"activation_dropout": 0.5}):
        stack = stack_of(random_model("none", **values))
        x = tokens(stack, 5)
        assert torch.equal(stack(x), stack(x))
        stack.train()
        assert not torch.equal(stack(x), stack(x))


def test_final_norm_may_be_left_out():
    stack = stack_of(random_model("alibi", final_norm=False))
    assert not [name for name, _ in stack.named_parameters() if "final_norm" in name]
    assert stack(tokens(stack, 5)).std() > 1.2


@pytest.mark.parametrize("d_model", [128, 256, 768, 1024])
def test_swiglu_has_as_many_parameters_as_gelu(d_model):
    sizes = [
        sum(p.numel() for p in FeedForward(ModelConfig(d_model=d_model, activation=activation)).parameters())
        for activation in ("swiglu", "gelu")
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_swiglu_is_the_gated_product():
    layer = FeedForward(ModelConfig(d_model=24, num_heads=4, activation="swiglu")).double()
    x = torch.randn(7, layer.up.in_features, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gate, up = x @ layer.gate.weight.T, x @ layer.up.weight.T
    assert (layer(x) - (gate * gate.sigmoid() * up) @ layer.down.weight.T).abs().max() < 1e-12
    assert (layer(x) - (up * up.sigmoid() * gate) @ layer.down.weight.T).abs().max() > 1e-3

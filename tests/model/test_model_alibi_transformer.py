"""The stack for people with embeddings of their own: defaults, shapes, encoder, errors."""

import dataclasses

import pytest
import torch

from alibi import ALiBiConfig, ALiBiTransformer


def make(seed: int = 0, **values) -> ALiBiTransformer:
    torch.manual_seed(seed)
    return ALiBiTransformer(ALiBiConfig(**{"num_layers": 2, "d_model": 48, "num_heads": 6, **values})).eval()


def inputs(model: ALiBiTransformer, length: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, length, model.config.d_model, generator=torch.Generator().manual_seed(length))


def test_defaults():
    assert dataclasses.asdict(ALiBiConfig()) == {
        "num_layers": 6,
        "d_model": 256,
        "num_heads": 8,
        "max_len": 256,
        "dropout": 0.1,
        "causal": True,
        "expansion_factor": 1,
    }


@pytest.mark.parametrize("length", [1, 17, 256, 257, 700])
def test_shape_stays_also_past_max_len(length):
    model = ALiBiTransformer(ALiBiConfig())
    out = model(torch.randn(2, length, 256))
    assert out.shape == (2, length, 256)
    assert out.isfinite().all()


def test_default_has_six_blocks_with_a_feed_forward_as_wide_as_the_model():
    model = ALiBiTransformer(ALiBiConfig())
    assert len(model.transformer.blocks) == 6
    assert model.transformer.blocks[0].feed_forward.up.weight.shape == (256, 256)
    assert model.transformer.blocks[0].attention.num_heads == 8
    assert make(expansion_factor=4).transformer.blocks[0].feed_forward.up.weight.shape == (192, 48)


def test_max_len_changes_nothing():
    short, long = make(max_len=16), make(max_len=4096)
    x = inputs(short, 100)
    assert torch.equal(short(x), long(x))


def test_dropout_of_the_default_acts_in_training_only():
    model = make()
    x = inputs(model, 9)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))
    still = make(dropout=0.0).train()
    assert torch.equal(still(x), still(x))


def test_decoder_is_causal_and_encoder_is_not():
    decoder, encoder = make().double(), make(causal=False).double()
    x = inputs(decoder, 30).double()
    changed = torch.where(torch.arange(30)[:, None] < 20, x, x.flip(2))
    assert torch.equal(decoder(x)[:, :20], decoder(changed)[:, :20])
    assert (encoder(x) - encoder(changed))[:, :20].abs().amax((0, 2)).min() > 1e-6


@pytest.mark.parametrize("length", [2, 31, 300])
def test_encoder_has_no_direction(length):
    """A reversed input gives the reversed output, so the bias is symmetric; the decoder is the control."""
    encoder, decoder = make(causal=False).double(), make().double()
    x = inputs(encoder, length).double()
    assert (encoder(x.flip(1)) - encoder(x).flip(1)).abs().max() < 1e-12
    assert (decoder(x.flip(1)) - decoder(x).flip(1)).abs().max() > 1e-2


def test_encoder_still_feels_the_order():
    encoder = make(causal=False).double()
    x = inputs(encoder, 30).double()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert (encoder(x[:, order]) - encoder(x)[:, order]).abs().max() > 1e-3


@pytest.mark.parametrize("causal", [True, False])
def test_padding_mask_hides_tokens(causal):
    model = make(causal=causal)
    x = inputs(model, 12)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, :5] = True
    padding[1, 9:] = True
    out = model(x, padding_mask=padding)
    assert (out[0, 5:] - model(x[:1, 5:])[0]).abs().max() < 1e-5
    assert (out[1, :9] - model(x[1:, :9])[0]).abs().max() < 1e-5
    assert out.isfinite().all()
    with pytest.raises(ValueError, match="True where a token is padding"):
        model(x, padding_mask=(~padding).long())


def test_wrong_width_names_both():
    with pytest.raises(ValueError, match=r"128.*256"):
        ALiBiTransformer(ALiBiConfig())(torch.randn(2, 10, 128))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"num_heads \(7\) must divide d_model \(256\); use 8"):
        ALiBiTransformer(ALiBiConfig(num_heads=7))


@pytest.mark.parametrize("name", ["num_layers", "d_model", "num_heads", "max_len", "expansion_factor"])
def test_sizes_below_one_are_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"{name} \(0\) must be at least 1"):
        ALiBiTransformer(ALiBiConfig(**{name: 0}))


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_is_a_probability_below_one(dropout):
    with pytest.raises(ValueError, match=rf"dropout \({dropout}\) must be at least 0 and below 1"):
        ALiBiTransformer(ALiBiConfig(dropout=dropout))


def test_state_holds_parameters_and_nothing_else():
    model = make()
    before = set(model.state_dict())
    model(inputs(model, 500))
    assert set(model.state_dict()) == before == {name for name, _ in model.named_parameters()}
    assert not list(model.buffers())


def test_gradients_reach_every_parameter_and_the_input():
    model = make().train()
    x = inputs(model, 20).requires_grad_()
    (model(x) * torch.randn(2, 20, 48)).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_double_and_bfloat16_work():
    model, x = make(), inputs(make(), 40)
    exact = model(x)
    assert (model.double()(x.double()) - exact).abs().max() < 1e-5
    narrow = model.to(torch.bfloat16)(x.bfloat16())
    assert narrow.dtype == torch.bfloat16
    assert (narrow - exact).abs().mean() < 3e-2


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [7, 700])
def test_a_batch_may_have_no_rows(causal, length):
    model = make(causal=causal)
    assert model(torch.empty(0, length, 48)).shape == (0, length, 48)

"""What `to_mpt` takes and refuses; the parity of logits is in tests/model/test_model_parity_transformers.py."""

import sys

import pytest
import torch

from alibi.interop.mpt import to_mpt
from alibi.model import LanguageModel, ModelConfig
from alibi.positions import LinearBias, Position

VOCAB = 53


def ours(method="alibi", **values) -> LanguageModel:
    config = ModelConfig(position={"name": method}, **{"num_layers": 2, "d_model": 32, "num_heads": 4, **values})
    return LanguageModel(config, VOCAB, seed=0).eval().requires_grad_(False)


def ids(length: int) -> torch.Tensor:
    return torch.randint(VOCAB, (2, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("tied", [True, False])
def test_the_default_model_is_an_mpt(tied):
    model = ours(tie_embeddings=tied)
    mpt = to_mpt(model, 128)
    assert (mpt(ids(128)).logits - model(ids(128))).abs().max() < 1e-5
    assert (mpt(ids(40)).logits - model(ids(40))).abs().max() < 1e-5, "shorter text needs no other max_length"
    assert not mpt.training
    mpt.transformer.wte.weight.div_(model.config.d_model**0.5)  # control: our embedding as it is stored
    assert (mpt(ids(40)).logits - model(ids(40))).abs().max() > 0.1


def test_ours_is_left_alone():
    model = ours()
    before = model(ids(9))
    mpt = to_mpt(model, 16)
    for parameter in mpt.parameters():
        parameter.zero_()
    assert torch.equal(model(ids(9)), before)


def test_dtype_is_kept():
    mpt = to_mpt(ours().double(), 16)
    assert {p.dtype for p in mpt.parameters()} == {torch.float64}


@pytest.mark.parametrize("method", sorted(set(Position.registry) - {"alibi"}))
def test_another_method_is_refused(method):
    with pytest.raises(ValueError, match=rf"model.position.name \({method}\) is not what MPT does"):
        to_mpt(ours(method), 16)


def test_other_slopes_are_refused(monkeypatch):
    model = ours()
    slopes = model.transformer.position.distance_bias().slopes
    monkeypatch.setattr(model.transformer.position, "distance_bias", lambda: LinearBias(slopes[::-1]))
    with pytest.raises(ValueError, match=r"slopes of alibi .* are not MPT's"):
        to_mpt(model, 16)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bias": True}, r"model.bias \(True\) must be False"),
        ({"activation": "relu"}, r"model.activation \(relu\) must be gelu"),
        ({"final_norm": False}, r"model.final_norm \(False\) must be True"),
        ({"d_ff": 96}, r"model.d_ff \(96\) must be 128"),
    ],
)
def test_a_part_that_mpt_lacks_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        to_mpt(ours(**values), 16)


def test_max_length_is_at_least_one():
    with pytest.raises(ValueError, match=r"max_length \(0\)"):
        to_mpt(ours(), 0)


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"to_mpt needs transformers .*pip install transformers"):
        to_mpt(ours(), 16)

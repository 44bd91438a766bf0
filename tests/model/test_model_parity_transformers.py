"""Whole-model logits against transformers' MPT, an implementation of ALiBi by other hands, with the same weights.

MPT's bias is m * (j - n), the same in every row, which in float32 loses digits as n grows, so at 2,048
tokens float64 says who is how far off. Measured there, worst logit of unit size: ours 2e-6, MPT 2e-5
with 8 heads and 5e-5 with 12. Its slopes for heads that are not a power of two are those of the paper's
authors, in their order.
"""

import pytest
import torch
from dense_reference import in_float64
from transformers import MptForCausalLM

from alibi.interop.export import to_mpt
from alibi.model import LanguageModel, ModelConfig
from alibi.positions import LinearBias

TRAINED = 64
VOCAB = 53


def make_ours(num_heads: int, num_layers: int = 2) -> LanguageModel:
    config = ModelConfig(
        position={"name": "alibi"},
        num_layers=num_layers,
        d_model=8 * num_heads,
        num_heads=num_heads,
        bias=False,
        activation="gelu",
        tie_embeddings=False,
    )
    model = LanguageModel(config, VOCAB, seed=num_heads).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.requires_grad_(False)


def make_mpt(ours: LanguageModel) -> MptForCausalLM:
    return to_mpt(ours, TRAINED)


def mpt_logits(mpt: MptForCausalLM, input_ids: torch.Tensor) -> torch.Tensor:
    # MPT's bias has the width of max_seq_len, which must be raised by hand for longer text.
    mpt.config.max_seq_len = max(TRAINED, input_ids.shape[1])
    return mpt(input_ids).logits


def ids(length: int) -> torch.Tensor:
    return torch.randint(VOCAB, (1, length), generator=torch.Generator().manual_seed(length))


def worst(difference: torch.Tensor) -> float:
    return difference.abs().max().item()


@pytest.mark.parametrize("num_heads", [8, 12, 6])
def test_logits_are_those_of_mpt_at_twice_the_training_length(num_heads):
    ours = make_ours(num_heads)
    theirs = mpt_logits(make_mpt(ours), ids(128))
    assert theirs.std() > 0.5
    assert worst(ours(ids(128)) - theirs) < 1e-5


@pytest.mark.parametrize("num_heads", [8, 12])
def test_logits_at_2048_are_nearer_to_float64_than_those_of_mpt(num_heads):
    ours, x = make_ours(num_heads, num_layers=1), ids(2048)
    theirs, exact = mpt_logits(make_mpt(ours), x), in_float64(ours)(x)
    assert worst(ours(x) - theirs) < 1e-4
    assert worst(ours(x) - exact) < 1e-5
    assert worst(theirs - exact) > 2 * worst(ours(x) - exact)


def test_mpt_needs_its_length_raised_by_hand():
    """Why `mpt_logits` does so; ours has no length to raise."""
    mpt = make_mpt(make_ours(8))
    with pytest.raises(RuntimeError, match="size of tensor"):
        mpt(ids(2 * TRAINED))


@pytest.mark.parametrize("num_heads", [8, 12])
def test_comparison_with_mpt_notices_one_wrong_slope(num_heads, monkeypatch):
    ours = make_ours(num_heads)
    theirs = mpt_logits(make_mpt(ours), ids(128))
    slopes_H = ours.transformer.position.bias().slopes_H.clone()
    slopes_H[3] *= 1.1
    monkeypatch.setattr(ours.transformer.position, "bias", lambda: LinearBias(slopes_H))
    assert worst(ours(ids(128)) - theirs) > 1e-3
    # Each head has its own: the same slopes in another order are wrong as well.
    slopes_H[3] /= 1.1
    monkeypatch.setattr(ours.transformer.position, "bias", lambda: LinearBias(slopes_H.flip(0)))
    assert worst(ours(ids(128)) - theirs) > 1e-2


def test_comparison_with_mpt_notices_a_missing_bias(monkeypatch):
    ours = make_ours(8)
    theirs = mpt_logits(make_mpt(ours), ids(128))
    monkeypatch.setattr(ours.transformer.position, "bias", lambda: None)
    assert worst(ours(ids(128)) - theirs) > 0.1

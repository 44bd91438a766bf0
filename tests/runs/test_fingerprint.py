"""What a model computes, as numbers: alike for whatever computes the same, and different after an edit."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from checkpoint_content import edit_manifest

from alibi.model import LanguageModel, ModelConfig
from alibi.positions import Position
from alibi.runs import ChangedModel, Checkpoint
from alibi.runs.fingerprint import TOLERANCE, difference, fingerprint, fixed_nats, source_sha256

SEQ_LEN = 64


def model_of(method: str, **settings) -> LanguageModel:
    config = ModelConfig(position={"name": method}, num_layers=2, d_model=32, num_heads=4, **settings)
    return LanguageModel(config, 97, seed=0).eval()


def moved(model: LanguageModel) -> LanguageModel:
    """With the parameters of its method away from where they start, which for some is ALiBi."""
    for parameter in model.position_parameters():
        parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return model


@pytest.mark.parametrize("method", sorted(Position.registry))
def test_other_kernels_and_precisions_are_no_edit(method):
    model = moved(model_of(method))
    stored = fingerprint(fixed_nats(model, SEQ_LEN), None)
    wide = fixed_nats(copy.deepcopy(model).double(), SEQ_LEN)
    assert difference(stored, wide) is None
    assert max(abs(a - b) for a, b in zip(stored["nats"], wide, strict=True)) < 0.1 * TOLERANCE
    model.transformer.skip_far_keys = False
    assert difference(stored, fixed_nats(model, SEQ_LEN)) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert difference(stored, fixed_nats(model, SEQ_LEN)) is None
    for name in set(Position.registry) - {method}:
        other = moved(model_of(name))
        other.load_state_dict(model.state_dict(), strict=False)
        assert difference(stored, fixed_nats(other, SEQ_LEN)), f"control: {name} computes the same"


def test_adaptive_bands_are_seen_too():
    model = model_of("alibi", adaptive_cutoffs=[20, 50])
    stored = fingerprint(fixed_nats(model, SEQ_LEN), None)
    for name, parameter in model.named_parameters():
        before = parameter.detach().clone()
        parameter.data.mul_(1.1)
        assert difference(stored, fixed_nats(model, SEQ_LEN)), name
        parameter.data.copy_(before)


@pytest.mark.parametrize("scale_base", [1.0, 1.5, 3.0])
def test_a_method_with_a_longest_text_is_asked_for_no_longer_one(scale_base):
    config = ModelConfig({"name": "xpos", "scale_base": scale_base}, num_layers=1, d_model=32, num_heads=2)
    nats = fixed_nats(LanguageModel(config, 97, seed=0).eval(), 64)
    assert len(nats) == 128
    assert all(0 < value < 20 for value in nats)


def test_it_draws_nothing():
    model, before = model_of("alibi"), torch.get_rng_state()
    assert fixed_nats(model, SEQ_LEN) == fixed_nats(model, SEQ_LEN)
    assert torch.equal(torch.get_rng_state(), before)


def test_nan_is_another_result():
    stored = fingerprint(fixed_nats(model_of("none"), SEQ_LEN), None)
    assert difference(stored, [float("nan")] * len(stored["nats"]))


def save_fingerprint(saved: Path, model: LanguageModel, **changes) -> None:
    edit_manifest(saved, fingerprint=fingerprint(fixed_nats(model, 8), source_sha256(model)) | changes)


def test_a_checkpoint_with_other_nats_is_refused_by_whoever_opens_it(saved, tiny_model):
    save_fingerprint(saved, tiny_model)
    assert not Checkpoint(saved).source_changed(Checkpoint(saved).load_model())
    other = LanguageModel(tiny_model.config, tiny_model.vocab_size, seed=2).eval()
    save_fingerprint(saved, other)
    with pytest.raises(ChangedModel, match=r"128 of 128 fixed tokens.*as it was, so other code.*run_dir=.*-2"):
        Checkpoint(saved).load_model()
    save_fingerprint(saved, other, source_sha256="0" * 64)
    with pytest.raises(ChangedModel, match="source of the position method was edited"):
        Checkpoint(saved).load_model()


def test_checkpoints_that_cannot_be_compared_are_read_as_before(saved, tiny_model):
    other = LanguageModel(tiny_model.config, tiny_model.vocab_size, seed=2).eval()
    assert "fingerprint" not in json.loads((saved / "manifest.json").read_text())
    assert not Checkpoint(saved).source_changed(Checkpoint(saved).load_model())
    save_fingerprint(saved, other, version=2)
    Checkpoint(saved).load_model()


def test_the_source_is_that_of_the_method(tmp_path, monkeypatch):
    alibi = source_sha256(model_of("alibi"))
    assert alibi == source_sha256(model_of("alibi"))
    assert alibi != source_sha256(model_of("rotary"))
    mine = tmp_path / "mine.py"
    shutil.copy(Path(__file__), mine)
    monkeypatch.setattr("inspect.getsourcefile", lambda _: str(mine))
    before = source_sha256(model_of("alibi"))
    mine.write_text("# edited")
    assert source_sha256(model_of("alibi")) != before
    mine.unlink()
    assert source_sha256(model_of("alibi")) is None, "as a class in a notebook has none"

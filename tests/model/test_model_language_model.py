"""The language model as a whole: nats of a tail, cached logits, counts, scale, types."""

import math

import pytest
import torch
from dense_reference import in_float64, random_model, reference_hidden
from stack_inputs import METHODS, settings_of

from alibi.model import KeyValueCache, LanguageModel, ModelConfig, ParameterCount
from alibi.model.language_model import mean_keys


def ids(length: int, vocab_size: int = 50, batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randint(vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_nats_are_minus_the_log_of_the_softmax_of_the_reference(method, tied):
    model = random_model(settings_of(method), tie_embeddings=tied)
    exact = in_float64(model)
    x, targets = ids(70), ids(70, seed=1)
    hidden = reference_hidden(exact.transformer, exact.embedding.weight[x] * 24**0.5)
    logits = hidden @ exact.output.weight.T
    reference = -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    assert (exact(x) - logits).abs().max() < 1e-10
    assert (exact.nll(x, targets) - reference).abs().max() < 1e-10
    assert (model.nll(x, targets) - reference).abs().max() < 1e-5
    assert model.nll(x, targets).shape == targets.shape
    assert (exact.nll(x, targets.roll(1, 1)) - reference).abs().max() > 0.1


@pytest.mark.parametrize("first_scored", [0, 1, 255, 256, 299])
@pytest.mark.parametrize("method", METHODS)
def test_nats_of_a_tail_are_the_tail_of_the_nats(method, first_scored):
    model = random_model(settings_of(method))
    x, targets = ids(300), ids(300, seed=1)
    full = model.nll(x, targets)
    tail = model.nll(x, targets[:, first_scored:], first_scored)
    assert (tail - full[:, first_scored:]).abs().max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_only_scored_positions_go_through_the_last_block(method):
    """As queries, in the feed-forward layer and in the output layer; the block before computes all 300."""
    model, seen = random_model(settings_of(method)), {}
    last, before = model.transformer.blocks[-1], model.transformer.blocks[-2]
    for name, module in (
        ("query", last.attention.query),
        ("feed-forward", last.feed_forward),
        ("final norm", model.transformer.final_norm),
        ("block before", before.feed_forward),
        ("keys", last.attention.key),
    ):
        module.register_forward_hook(lambda module, given, out, name=name: seen.update({name: out.shape[1]}))
    model.nll(ids(300), ids(300)[:, 280:], 280)
    assert seen == {"query": 20, "feed-forward": 20, "final norm": 20, "block before": 300, "keys": 300}


@pytest.mark.parametrize("method", METHODS)
def test_cached_logits_are_those_of_the_full_pass(method):
    """Several times past any nominal length, each position compared."""
    model, x, cache = random_model(settings_of(method)), ids(90), KeyValueCache()
    with torch.no_grad():
        full = model(x)
        decoded = [model(x[:, :16], cache=cache)] + [model(x[:, at : at + 1], cache=cache) for at in range(16, 90)]
    assert (torch.cat(decoded, dim=1) - full).abs().amax((0, 2)).max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_without_information_every_target_costs_log_v(method):
    model = random_model(settings_of(method), vocab_size=97)
    torch.nn.init.zeros_(model.output.weight)
    x, targets = ids(30, 97), ids(30, 97, seed=1)
    assert torch.equal(model.nll(x, targets), torch.full((2, 30), math.log(97)))
    assert (in_float64(model).nll(x, targets) - math.log(97)).abs().max() < 1e-14


def test_uniform_output_without_tied_embeddings_costs_log_v():
    model = random_model("alibi", vocab_size=97, tie_embeddings=False)
    x, targets = ids(30, 97), ids(30, 97, seed=1)
    assert not torch.equal(model.nll(x, targets), torch.full((2, 30), math.log(97)))
    torch.nn.init.zeros_(model.output.weight)
    assert torch.equal(model.nll(x, targets), torch.full((2, 30), math.log(97)))


def small(method: str, **values) -> ModelConfig:
    return ModelConfig(
        position={"name": method}, **{"num_layers": 6, "d_model": 256, "num_heads": 8, "d_ff": 1024, **values}
    )


@pytest.mark.parametrize(
    ("method", "position"),
    [
        *(("alibi", 0), ("none", 0), ("rotary", 0), ("sinusoidal", 0), ("t5", 32 * 8), ("hard_alibi", 0)),
        *(("alibi_learned", 6 * 8), ("kerple_log", 6 * 2 * 8), ("pope", 6 * 256), ("fox", 6 * 8 * 257)),
    ],
)
def test_parameters_of_the_small_model(method, position):
    count = LanguageModel(small(method), 8192, seed=0).count_parameters()
    assert count == ParameterCount(position=position, embedding=2_097_152, rest=4_721_920)
    assert count.total == 6_819_072 + position


def test_untied_output_is_counted_as_embedding():
    model = LanguageModel(small("alibi", tie_embeddings=False, num_layers=1), 8192, seed=0)
    count = model.count_parameters()
    assert count.embedding == 2 * 8192 * 256
    assert count.total == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("length", "window"), [(1, None), (9, None), (9, 1), (9, 4), (9, 9), (9, 100), (300, 17)])
def test_mean_keys_are_those_of_a_causal_window(length, window):
    distance = torch.arange(length)[:, None] - torch.arange(length)
    seen = (distance >= 0) & (distance < (window or length))
    assert mean_keys(length, window) == pytest.approx(seen.sum().item() / length)


def test_windows_of_layers_save_operations():
    """Four a key and width, for its score and its value."""
    types = {"near": {"position": "none", "window": 8}, "far": {"position": "none"}}
    shape = {"d_model": 16, "num_heads": 2, "num_layers": 3}
    model = LanguageModel(ModelConfig(pattern=["near", "near", "far"], layer_types=types, **shape), 50, seed=0)
    plain = LanguageModel(ModelConfig("none", **shape), 50, seed=0)
    saved = plain.flops_per_token(100) - model.flops_per_token(100)
    assert saved == pytest.approx(2 * 4 * 16 * (mean_keys(100) - mean_keys(100, 8)))
    assert model.flops_per_token(8) == plain.flops_per_token(8)


@pytest.mark.parametrize("d_model", [64, 256, 1024])
@pytest.mark.parametrize("method", METHODS)
def test_embeddings_have_unit_size_at_every_width(method, d_model):
    """And so have the logits; a tied output adds to this only that a token's own logit is large."""
    config = ModelConfig(
        position={"name": method}, num_layers=1, d_model=d_model, d_ff=8, tie_embeddings=False, num_heads=8
    )
    model, x = LanguageModel(config, 512, seed=0), ids(64, 512)
    assert model.embedding(x).std().item() == pytest.approx(1, abs=0.05)
    assert model(x).std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("d_model", [64, 256])
@pytest.mark.parametrize("method", METHODS)
def test_the_first_loss_is_that_of_a_uniform_guess_where_embeddings_start_small(method, d_model):
    """With the paper's spread a tied model begins by predicting its own input, the more the wider it is."""
    shape = {"position": {"name": method}, "num_layers": 2, "d_model": d_model, "num_heads": 8}
    x, targets = ids(200, 512), ids(200, 512, seed=1)
    landed, small_std = (
        LanguageModel(ModelConfig(**shape, embedding_std=std), 512, seed=0) for std in (None, 1 / d_model)
    )
    assert small_std.nll(x, targets).mean().item() == pytest.approx(math.log(512), abs=0.1)
    assert landed.nll(x, targets).mean().item() > math.log(512) + 0.4
    assert small_std.embedding(x).std().item() == pytest.approx(1, abs=0.05)


def test_the_default_spread_is_the_width_to_the_minus_one_half():
    x = ids(20)
    shape = {"num_layers": 1, "d_model": 64, "num_heads": 4}
    default, same, other = (
        LanguageModel(ModelConfig(**shape, embedding_std=std), 50, seed=0) for std in (None, 64**-0.5, 0.02)
    )
    assert torch.equal(default(x), same(x))
    assert not torch.allclose(default(x), other(x))
    assert torch.allclose(other.embedding.weight / 0.02, same.embedding.weight * 8)


@pytest.mark.parametrize("d_model", [64, 1024])
def test_sinusoids_neither_drown_nor_vanish(d_model):
    config = ModelConfig(position={"name": "sinusoidal"}, num_layers=1, d_model=d_model, d_ff=8)
    model, x = LanguageModel(config, 512, seed=0), ids(64, 512)
    embedded = model.embedding(x)
    added = model.transformer.position.embed(embedded, torch.arange(64)) - embedded
    assert 0.5 < (added.square().mean() / embedded.square().mean()).sqrt() < 1


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_model_stays_near_float32(method):
    model = random_model(settings_of(method), num_heads=12)
    x, targets = ids(300), ids(300, seed=1)
    with torch.no_grad():
        exact = model.nll(x, targets)
        narrow = model.to(torch.bfloat16).nll(x, targets)
    assert narrow.dtype == torch.float32
    assert (narrow - exact).abs().mean() < 0.1
    assert abs(narrow.mean() - exact.mean()) < 0.02  # what a perplexity would be off by: 2 %


def test_bias_of_a_bfloat16_model_is_that_of_float32():
    model, distance = random_model("alibi", num_heads=12), torch.arange(3000)
    before = model.transformer.position.bias().at(distance)
    after = model.to(torch.bfloat16).transformer.position.bias().at(distance)
    assert torch.equal(before, after)
    assert after.dtype == torch.float64


@pytest.mark.parametrize("method", METHODS)
def test_state_of_one_model_makes_another(method):
    model, other = random_model(settings_of(method), seed=0), random_model(settings_of(method), seed=1)
    x = ids(20)
    assert not torch.equal(model(x), other(x))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("vocab_size", [0, -5])
def test_a_vocabulary_needs_tokens(vocab_size):
    with pytest.raises(ValueError, match=rf"vocab_size \({vocab_size}\) must be at least 1"):
        LanguageModel(ModelConfig(), vocab_size)


def test_a_language_model_is_no_encoder():
    with pytest.raises(ValueError, match=r"causal is false.*set it to true"):
        LanguageModel(ModelConfig(causal=False), 10)


def test_length_one_and_vocabulary_of_one_work():
    model = LanguageModel(ModelConfig(num_layers=1, d_model=16, num_heads=2), 1, seed=0)
    assert model.nll(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long)).item() == 0

"""Adaptive input and softmax against every probability written out; and that they compute no more than targets need."""

import math

import pytest
import torch
from largest_result import LargestResult
from torch.utils.flop_counter import FlopCounterMode

from alibi.model import LanguageModel, ModelConfig, output
from alibi.model.adaptive import AdaptiveEmbedding, AdaptiveSoftmax
from alibi.model.initialise import initialise
from alibi.model.output import summed_nats

V, D, CUTOFFS, FACTOR = 60, 16, [10, 30], 2
BANDS = [(0, 10), (10, 30), (30, 60)]


def layers(dtype=torch.float64, dropout=0.0) -> tuple[AdaptiveEmbedding, AdaptiveSoftmax]:
    embedding = AdaptiveEmbedding(V, D, CUTOFFS, FACTOR)
    softmax = AdaptiveSoftmax(embedding, dropout)
    initialise(torch.nn.ModuleList([embedding, softmax]), 0, 1)
    return embedding.to(dtype), softmax.to(dtype)


def batch(targets=None, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 20, D, dtype=torch.float64, generator=generator).to(dtype)
    return hidden, torch.arange(60).view(3, 20) if targets is None else targets


def probabilities(hidden, softmax, wrong_class=False) -> torch.Tensor:
    """Of every word, (..., V), by the definition: words of the head and classes share one softmax."""
    words, projections = softmax.tied.words, softmax.tied.projections
    scores = torch.cat([hidden @ words[0].weight.T, hidden @ softmax.classes.weight.T], dim=-1).exp()
    head = scores / scores.sum(-1, keepdim=True)
    parts = [head[..., : CUTOFFS[0]]]
    for tail in (1, 2):
        scores = ((hidden @ projections[tail].weight) @ words[tail].weight.T).exp()
        of_class = head[..., CUTOFFS[0] + (2 - tail if wrong_class else tail - 1), None]
        parts.append(of_class * scores / scores.sum(-1, keepdim=True))
    return torch.cat(parts, dim=-1)


def reference(hidden, targets, softmax, **wrong) -> torch.Tensor:
    return -probabilities(hidden, softmax, **wrong).gather(-1, targets[..., None])[..., 0].log()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_nats_are_those_of_a_full_softmax(dtype, tolerance):
    _, softmax = layers(dtype)
    hidden, targets = batch(dtype=dtype)
    wanted = reference(hidden.double(), targets, softmax.double())
    softmax.to(dtype)
    assert ((softmax.nll(hidden, targets) / wanted - 1).abs() < tolerance).all()
    assert (softmax.total_nats(hidden, targets) / wanted.sum() - 1).abs() < tolerance
    logits = softmax.logits(hidden)
    assert ((logits.gather(-1, targets[..., None])[..., 0] / -wanted - 1).abs() < tolerance).all()
    assert logits.exp().sum(-1).sub(1).abs().max() < 10 * tolerance
    wrong = reference(hidden.double(), targets, softmax.double(), wrong_class=True)
    assert ((wrong / wanted - 1).abs() > 1e-3).any(), "control: the two classes interchanged"


def test_gradients_are_those_of_a_full_softmax():
    embedding, softmax = layers()
    hidden, targets = batch()
    hidden.requires_grad_()
    weights = [hidden, *(p for p in softmax.parameters() if p is not embedding.projections[0].weight)]
    wanted = torch.autograd.grad(reference(hidden, targets, softmax).sum(), weights)
    for nats in (softmax.total_nats(hidden, targets), softmax.nll(hidden, targets).sum()):
        for mine, theirs in zip(torch.autograd.grad(nats, weights), wanted, strict=True):
            assert (mine - theirs).abs().max() < 1e-11
    assert all(gradient.abs().max() > 1e-3 for gradient in wanted), "control: none is zero"


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_change_nothing(monkeypatch, chunk):
    _, softmax = layers()
    hidden, targets = batch()
    monkeypatch.setitem(output.LOGITS_PER_CHUNK, "cpu", chunk * 12)
    with torch.no_grad():
        wanted = reference(hidden, targets, softmax)
        assert (softmax.nll(hidden, targets) - wanted).abs().max() < 1e-12
    assert (softmax.total_nats(hidden, targets) - wanted.sum()).abs() < 1e-10


def test_input_is_the_word_through_its_projection():
    embedding, _ = layers()
    table = torch.cat([p(w.weight) for w, p in zip(embedding.words, embedding.projections, strict=True)])
    ids = torch.randint(V, (4, 9), generator=torch.Generator().manual_seed(2))
    x = embedding(ids)
    assert (x - table[ids] * math.sqrt(D)).abs().max() < 1e-12
    assert (x - table[(ids + 1) % V] * math.sqrt(D)).abs().max() > 0.1  # control
    ours = torch.autograd.grad((x * x.detach().cos()).sum(), list(embedding.parameters()))
    full = table[ids] * math.sqrt(D)
    theirs = torch.autograd.grad((full * full.detach().cos()).sum(), list(embedding.parameters()))
    assert all((a - b).abs().max() < 1e-11 for a, b in zip(ours, theirs, strict=True))


def flops(work) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_evaluation_computes_the_bands_that_targets_need_and_no_other():
    _, softmax = layers(torch.float32)
    hidden, frequent = batch(torch.arange(60).view(3, 20) % 10, torch.float32)
    tokens, head = 60, D * (CUTOFFS[0] + 2)
    for in_tails in ([0, 0], [7, 0], [0, 5], [3, 4]):
        targets = frequent.clone().flatten()
        targets[: in_tails[0]], targets[in_tails[0] : sum(in_tails)] = 12, 41
        needed = tokens * head + sum(
            n * (D * E + E * W) for n, E, W in zip(in_tails, (D // 2, D // 4), (20, 30), strict=True)
        )
        with torch.no_grad():
            assert flops(lambda t=targets: softmax.nll(hidden, t.view(3, 20))) == 2 * needed


def test_training_computes_the_bands_that_targets_need_and_no_other():
    _, softmax = layers(torch.float32)
    hidden, targets = batch(torch.arange(60).view(3, 20) % 10, torch.float32)
    hidden.requires_grad_()
    weight = torch.randn(CUTOFFS[0] + 2, D, requires_grad=True)

    def head_alone():
        summed_nats(hidden.flatten(0, 1), targets.flatten(), weight).backward()

    alone = flops(head_alone)
    assert flops(lambda: softmax.total_nats(hidden, targets).backward()) == alone
    assert flops(lambda: softmax.total_nats(hidden, batch()[1]).backward()) > alone  # control


def test_logits_never_exist_whole(monkeypatch):
    monkeypatch.setitem(output.LOGITS_PER_CHUNK, "cpu", 120)
    _, softmax = layers(torch.float32)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, 600, D, generator=generator, requires_grad=True)
    targets = torch.randint(V, (1, 600), generator=generator)
    elements = {}
    for name, work in (("total", softmax.total_nats), ("logits", lambda h, t: softmax.logits(h).sum())):
        with LargestResult() as largest:
            work(hidden, targets).backward()
        elements[name] = largest.elements
    assert elements == {"total": 600 * D, "logits": 600 * V}, "hidden states are the largest; control"


def test_every_parameter_has_a_gradient_whatever_the_words():
    """Processes that share gradients wait for all of them."""
    config = ModelConfig(num_layers=1, d_model=D, num_heads=2, adaptive_cutoffs=CUTOFFS, adaptive_factor=FACTOR)
    model = LanguageModel(config, V, seed=0)
    model.total_nats(torch.full((2, 5), 3), torch.full((2, 5), 4)).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_dropout_is_on_the_input_and_in_the_tails_while_training():
    _, softmax = layers(dropout=0.5)
    hidden, targets = batch()
    torch.manual_seed(3)
    dropped = softmax.train().nll(hidden, targets)
    torch.manual_seed(3)
    x_TD = torch.nn.functional.dropout(hidden.flatten(0, 1), 0.5)
    scores = torch.cat([x_TD @ softmax.tied.words[0].weight.T, x_TD @ softmax.classes.weight.T], dim=-1)
    nats = -scores.log_softmax(-1)
    for tail, (start, stop) in enumerate(BANDS[1:]):
        narrow = torch.nn.functional.dropout(x_TD[start:stop] @ softmax.tied.projections[tail + 1].weight, 0.5)
        inside = -(narrow @ softmax.tied.words[tail + 1].weight.T).log_softmax(-1).diagonal()
        assert (dropped.flatten()[start:stop] - nats[start:stop, CUTOFFS[0] + tail] - inside).abs().max() < 1e-12
    assert (softmax.eval().nll(hidden, targets) - reference(hidden, targets, softmax)).abs().max() < 1e-12
    assert (dropped - reference(hidden, targets, softmax)).abs().max() > 0.1


def test_words_and_projections_are_stored_once():
    config = ModelConfig(num_layers=1, d_model=D, num_heads=2, adaptive_cutoffs=CUTOFFS, adaptive_factor=FACTOR)
    names = [name for name, _ in LanguageModel(config, V, seed=0).named_parameters() if "transformer" not in name]
    bands = range(3)
    assert names == [
        *(f"embedding.words.{band}.weight" for band in bands),
        *(f"embedding.projections.{band}.weight" for band in bands),
        "output.classes.weight",
    ]


def test_both_ends_begin_at_about_unit_size():
    embedding = AdaptiveEmbedding(6000, 256, [1000, 3000], 4)
    initialise(torch.nn.ModuleList([embedding]), 0, 1)
    hidden = torch.randn(500, 256, generator=torch.Generator().manual_seed(0))
    for (start, stop), words, project in zip(embedding.bands, embedding.words, embedding.projections, strict=True):
        assert 0.9 < embedding(torch.arange(start, stop)[None]).std() < 1.5
        if start:
            assert 0.9 < (hidden @ project.weight @ words.weight.T).std() < 1.5


def test_bfloat16_is_summed_in_float32():
    _, softmax = layers(torch.float32)
    hidden, targets = batch(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        total, nats = softmax.total_nats(hidden, targets), softmax.nll(hidden, targets)
    assert total.dtype == nats.dtype == torch.float32
    assert total.item() == pytest.approx(nats.double().sum().item(), rel=1e-5)


def test_targets_of_another_length_are_refused():
    _, softmax = layers()
    hidden, targets = batch()
    for method in (softmax.nll, softmax.total_nats):
        with pytest.raises(ValueError, match=r"target_ids have shape \(3, 19\); they must be \(3, 20\)"):
            method(hidden, targets[:, 1:])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adaptive_cutoffs": []}, r"model.adaptive_cutoffs \(\[\]\)"),
        ({"adaptive_cutoffs": [0, 5]}, r"model.adaptive_cutoffs \(\[0, 5\]\)"),
        ({"adaptive_cutoffs": [9, 5]}, r"model.adaptive_cutoffs \(\[9, 5\]\) must be ids that rise"),
        ({"adaptive_cutoffs": [5], "tie_embeddings": False}, "needs model.tie_embeddings=true"),
        ({"adaptive_cutoffs": [5], "adaptive_factor": 0}, r"model.adaptive_factor \(0\)"),
        ({"adaptive_cutoffs": [5], "adaptive_dropout": 1.0}, r"model.adaptive_dropout \(1.0\)"),
        ({"adaptive_factor": 4}, r"model.adaptive_factor \(4\) would be ignored without model.adaptive_cutoffs"),
        ({"adaptive_dropout": 0.0}, r"model.adaptive_dropout \(0.0\) would be ignored"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**values)


def test_a_vocabulary_that_does_not_reach_the_cutoffs_is_refused():
    with pytest.raises(ValueError, match=r"model.adaptive_cutoffs \(\[10, 30\]\) must be below the vocabulary of 30"):
        AdaptiveEmbedding(30, D, CUTOFFS, FACTOR)
    with pytest.raises(ValueError, match=r"model.adaptive_factor \(8\) leaves nothing of d_model \(16\)"):
        AdaptiveEmbedding(V, D, CUTOFFS, 8)

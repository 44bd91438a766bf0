"""Decoding: with and without the cache, padded and alone, past the training length; and the script that does it."""

import math
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from alibi.generation import Sampling, generate
from alibi.model import KeyValueCache, LanguageModel, ModelConfig
from alibi.positions import Position
from alibi.training import train

METHODS = sorted(Position.registry)
VOCAB = 50
TRAINED = 16  # what the tests call the training length; no model knows it


def model(method: str = "alibi", **values) -> LanguageModel:
    # Untied: an untrained tied model repeats its input for ever.
    shape = {"num_layers": 2, "d_model": 32, "num_heads": 4, "tie_embeddings": False}
    config = ModelConfig(position={"name": method}, **shape, **values)
    made = LanguageModel(config, VOCAB, seed=0).eval().requires_grad_(False)
    for block in made.transformer.blocks:  # attention far from uniform, and of weight beside the last token
        block.attention.query.weight.mul_(3)
        block.attention.output.weight.mul_(3)
    return made


def ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("method", METHODS)
def test_cached_greedy_decoding_gives_the_ids_of_uncached(method):
    """To five times the training length, and each token is the likeliest of a full pass."""
    lm, prompt = model(method), ids(2, TRAINED)
    out = generate(lm, prompt, 4 * TRAINED, temperature=0)
    assert out.shape == (2, 5 * TRAINED)
    assert torch.equal(out[:, :TRAINED], prompt)
    assert torch.equal(out, generate(lm, prompt, 4 * TRAINED, temperature=0, use_cache=False))
    assert torch.equal(lm(out)[:, TRAINED - 1 : -1].argmax(-1), out[:, TRAINED:])
    assert len(out[:, TRAINED:].unique()) > 3, "not one token for ever, which any cache would give"


@pytest.mark.parametrize("method", METHODS)
def test_logits_through_the_cache_are_those_of_the_full_pass(method):
    """At every position to six times the training length, on text of its own (greedy text may run in circles)."""
    lm, text = model(method), ids(2, 6 * TRAINED)
    full, cache = lm(text), KeyValueCache()
    pieces = [lm(text[:, :TRAINED], cache=cache)]
    pieces += [lm(text[:, at : at + 1], cache=cache) for at in range(TRAINED, 6 * TRAINED)]
    assert (torch.cat(pieces, dim=1) - full).abs().max() < 1e-5


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_padded_row_gives_what_it_gives_alone(method, use_cache):
    lm, lengths = model(method), [TRAINED, 5, 1]
    padding = torch.arange(TRAINED) < TRAINED - torch.tensor(lengths)[:, None]
    prompt = ids(3, TRAINED)
    out = generate(lm, prompt, 3 * TRAINED, padding, temperature=0, use_cache=use_cache)
    for row, length in enumerate(lengths):
        alone = generate(lm, prompt[row : row + 1, TRAINED - length :], 3 * TRAINED, temperature=0)
        assert torch.equal(out[row : row + 1, TRAINED - length :], alone)
    junk = torch.where(padding, (prompt + 7) % VOCAB, prompt)
    again = generate(lm, junk, 3 * TRAINED, padding, temperature=0, use_cache=use_cache)
    assert torch.equal(again[:, TRAINED:], out[:, TRAINED:]), "what stands in the padding is not seen"
    unmasked = generate(lm, junk, 3 * TRAINED, temperature=0, use_cache=use_cache)
    assert not torch.equal(unmasked[1:, TRAINED:], out[1:, TRAINED:]), "control: without the mask it is"


def test_padding_is_counted_from_the_first_real_token(monkeypatch):
    """Control: with positions counted from the padding on, absolute positions give other logits."""
    lm, prompt = model("sinusoidal"), ids(1, 12)
    padding = torch.arange(12)[None] < 7
    alone = lm(prompt[:, 7:])[:, -1]
    seen = []
    draw = Sampling.draw
    monkeypatch.setattr(Sampling, "draw", lambda self, logits: seen.append(logits) or draw(self, logits))
    generate(lm, prompt, 1, padding, temperature=0)
    assert (seen[0] - alone).abs().max() < 1e-5
    assert (lm(prompt, padding_mask=padding)[:, -1] - alone).abs().max() > 1e-3


def test_the_same_seed_draws_the_same_with_and_without_the_cache():
    lm, prompt = model(), ids(2, 4)
    out = generate(lm, prompt, 40, top_k=20, top_p=0.95, temperature=0.8, generator=seeded(3))
    settings = {"top_k": 20, "top_p": 0.95, "temperature": 0.8, "use_cache": False}
    assert torch.equal(out, generate(lm, prompt, 40, generator=seeded(3), **settings))
    assert not torch.equal(out, generate(lm, prompt, 40, generator=seeded(4), **settings))
    torch.manual_seed(5)
    first = generate(lm, prompt, 10)
    torch.manual_seed(5)
    assert torch.equal(first, generate(lm, prompt, 10)), "without a generator torch.manual_seed rules"


def test_probabilities_in_closed_form():
    logits = torch.tensor([[0.5, 0.1, 0.25, 0.15]]).log()

    def drawn_from(**values) -> list[float]:
        return Sampling(**values).probabilities(logits)[0].tolist()

    assert drawn_from() == pytest.approx([0.5, 0.1, 0.25, 0.15])
    squares = [0.25, 0.01, 0.0625, 0.0225]
    assert drawn_from(temperature=0.5) == pytest.approx([s / sum(squares) for s in squares])
    assert drawn_from(top_k=2) == pytest.approx([2 / 3, 0, 1 / 3, 0])
    assert drawn_from(top_p=0.74) == pytest.approx([2 / 3, 0, 1 / 3, 0])
    assert drawn_from(top_p=0.76) == pytest.approx([0.5 / 0.9, 0, 0.25 / 0.9, 0.15 / 0.9])
    assert drawn_from(top_p=1e-9) == [1, 0, 0, 0]
    # top_p is of what top_k left: 2/3 alone reaches 0.6.
    assert drawn_from(top_k=2, top_p=0.6) == [1, 0, 0, 0]
    assert drawn_from(temperature=1e-300) == [1, 0, 0, 0]
    assert Sampling(top_k=3).probabilities(torch.zeros(1, 5))[0].tolist() == pytest.approx([1 / 3] * 3 + [0, 0])


def test_draws_follow_the_probabilities():
    logits = torch.tensor([0.5, 0.1, 0.25, 0.15]).log().expand(20_000, -1)
    drawn = Sampling(generator=seeded(0)).draw(logits).bincount(minlength=4) / 20_000
    assert (drawn - torch.tensor([0.5, 0.1, 0.25, 0.15])).abs().max() < 0.015
    assert set(Sampling(top_k=2, generator=seeded(0)).draw(logits).tolist()) == {0, 2}


def test_stop_id_ends_a_row_and_leaves_the_others():
    lm, prompt = model(), ids(3, 6)
    free = generate(lm, prompt, 30, temperature=0)
    stop = free[0, 10].item()
    out = generate(lm, prompt, 30, temperature=0, stop_id=stop)
    for row in range(3):
        drawn = free[row, 6:].tolist()
        kept = drawn.index(stop) + 1 if stop in drawn else 30
        assert out[row, 6:].tolist() == drawn[:kept] + [stop] * (30 - kept)
    assert generate(lm, prompt[:1], 30, temperature=0, stop_id=stop).shape == (1, 36), "also where all have ended"
    assert stop in generate(lm, torch.full((1, 3), stop), 5, temperature=0, stop_id=stop), (
        "a stop in the prompt is text"
    )


def test_dropout_is_left_out_and_the_mode_kept():
    lm = model(dropout=0.5, attention_dropout=0.5)
    expected = generate(lm, ids(1, 5), 20, temperature=0)
    lm.train()
    lm.transformer.blocks[0].eval()
    assert torch.equal(generate(lm, ids(1, 5), 20, temperature=0), expected)
    assert lm.training
    assert not lm.transformer.blocks[0].training
    assert lm.transformer.blocks[1].training


def test_what_comes_out_may_be_trained_on():
    lm = model()
    out = generate(lm, ids(2, 5), 8, generator=seeded(0))
    lm.requires_grad_(True).nll(out[:, :-1], out[:, 1:]).mean().backward()
    assert lm.embedding.weight.grad is not None


def test_no_token_more_is_the_prompt():
    assert torch.equal(generate(model(), ids(2, 5), 0), ids(2, 5))


LEFT = torch.tensor([[True, False, False]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt_ids": torch.zeros(1, 0, dtype=torch.long)}, r"\(1, 0\); .* at least one token"),
        ({"prompt_ids": torch.zeros(3, dtype=torch.long)}, r"torch.int64 \(3,\); they must be integers"),
        ({"prompt_ids": torch.zeros(1, 3)}, "torch.float32 .* must be integers"),
        ({"prompt_ids": torch.tensor([[1, 50, 2]])}, "hold 50; ids must be at least 0 and below 50"),
        ({"prompt_ids": torch.tensor([[1, -1, 2]])}, "hold -1"),
        ({"num_tokens": -1}, r"num_tokens \(-1\)"),
        ({"padding_mask": ~LEFT}, "pad on the left"),
        ({"padding_mask": torch.tensor([[False, True, False]])}, "pad on the left"),
        ({"padding_mask": torch.ones(1, 3, dtype=torch.bool)}, "a row of padding alone"),
        ({"padding_mask": LEFT.long()}, "padding_mask is torch.int64"),
        ({"padding_mask": LEFT[:, :2]}, r"it must be bool \(1, 3\)"),
        ({"temperature": -0.1}, r"temperature \(-0.1\) must be finite and at least 0"),
        ({"temperature": math.nan}, r"temperature \(nan\)"),
        ({"top_k": 0}, r"top_k \(0\) must be at least 1"),
        ({"top_k": 51}, r"top_k \(51\) must be at most the 50 ids"),
        ({"top_p": 0.0}, r"top_p \(0.0\) must be above 0"),
        ({"top_p": 1.5}, r"top_p \(1.5\) must be above 0 and at most 1"),
        ({"temperature": 0, "top_k": 5}, "top_k would be ignored: temperature is 0"),
        ({"temperature": 0, "top_p": 0.5}, "top_p would be ignored"),
        ({"temperature": 0, "generator": seeded(0)}, "generator would be ignored"),
        ({"stop_id": 50}, r"stop_id \(50\)"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        generate(model(), **{"prompt_ids": ids(1, 3), "num_tokens": 2, **values})


def test_logits_that_are_not_finite_are_refused():
    broken = model()
    broken.output.weight[3] = math.nan
    with pytest.raises(ValueError, match="logits are not finite"):
        generate(broken, ids(1, 3), 2, temperature=0)


@pytest.fixture
def script(run_script):
    return partial(run_script, "generate")


@pytest.fixture
def run_folder(small_run, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    train(small_run(max_steps=2), tmp_path / "run")
    return tmp_path / "run"


def test_the_script_continues_a_prompt(script, run_folder, monkeypatch, tmp_path):
    words = ("--prompt", "In 1921 the Köln", "--tokens", 30, "--top-k", 50, "--temperature", 0.8)
    code, out, err = script(run_folder, *words, "--seed", 0)
    assert code == 0, err
    assert out.startswith("In 1921 the Köln")
    assert "Traceback" not in err
    assert "past the training length (16)" in err
    assert script(run_folder / "checkpoints" / "last", *words, "--seed", 0)[1] == out
    assert script(run_folder, *words, "--seed", 1)[1] != out
    code, out, err = script(run_folder, "--tokens", 5, "--temperature", 0)
    assert (code, err) == (0, ""), "nothing past the training length, nothing to say"
    reads = tmp_path / "prompt.txt"
    reads.write_text("two\nlines", encoding="utf-8")
    with reads.open(encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        code, out, _ = script(run_folder, "--prompt", "-", "--tokens", 3, "--seed", 0)
    assert code == 0
    assert out.startswith("two\nlines")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "gone does not exist"),
        (["."], "neither a run folder nor a checkpoint folder"),
        (["run", "--tokens", "-1"], "num_tokens (-1)"),
        (["run", "--top-k", "999"], "top_k (999) must be at most the 257 ids"),
        (["run", "--temperature", "-1"], "temperature (-1.0)"),
        (["run", "--temperature", "0", "--seed", "1"], "--seed would be ignored"),
        (["run", "--seed", "9007199254740992"], "--seed (9007199254740992) must be at least 0 and below 2**53"),
    ],
)
def test_the_script_says_what_is_wrong_in_one_line(script, run_folder, words, message):
    code, out, err = script(*words)
    assert code == 1
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_the_script_refuses_a_damaged_checkpoint(script, run_folder):
    weights = next((run_folder / "checkpoints").glob("step-*")) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, _, err = script(run_folder)
    assert code == 1
    assert "cut short or altered" in err

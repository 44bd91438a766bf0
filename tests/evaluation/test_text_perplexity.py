"""The library's perplexity is evaluate.py's: the same windows, the same first input, every token once."""

import math

import pytest
import torch

from alibi import load_model, load_tokenizer, perplexity
from alibi.data import DataConfig, open_text
from alibi.evaluation import EvaluationSettings, evaluate_checkpoint, open_evaluation_text
from alibi.results import load_results
from alibi.runs import Checkpoint, checkpoint_of
from alibi.training import train


@pytest.fixture
def run(small_run, tmp_path):
    train(small_run(max_steps=2), tmp_path / "run")
    return tmp_path / "run"


def test_it_is_the_number_of_the_result_file(run, corpus, cache):
    checkpoint, settings = Checkpoint(checkpoint_of(run)), EvaluationSettings(lengths=[16, 64], stride=[None, 4])
    text = open_evaluation_text(checkpoint, checkpoint.data_config, settings, cache)
    results = load_results(file.path for file in evaluate_checkpoint(checkpoint, text, settings, "fp32"))
    model, tokenizer = load_model(run), load_tokenizer(run)
    words = "".join(line for line, _ in open_text(DataConfig("wikitext2", str(corpus)), "validation", False).lines())
    for result, stride in zip(results, (None, 4), strict=True):
        for length, row in result.scored.items():
            assert perplexity(model, tokenizer, words, length, stride) == pytest.approx(row["perplexity"], rel=1e-9)
            assert perplexity(model, tokenizer, words[1:], length, stride) != pytest.approx(row["perplexity"], rel=1e-9)


def test_it_is_the_exponential_of_the_mean_of_the_models_own_nats(run):
    model, tokenizer = load_model(run).train(), load_tokenizer(run)
    ids = tokenizer.encode_prompt("a few words")
    stream = torch.tensor([[tokenizer.first_input, *ids]])
    with torch.no_grad():
        mean = model.eval().nll(stream[:, :-1], stream[:, 1:]).mean().item()
    assert perplexity(model.train(), tokenizer, "a few words", 64) == pytest.approx(math.exp(mean), rel=1e-6)
    assert model.training, "its mode is as it was"


@pytest.mark.parametrize(
    ("text", "length", "stride", "message"),
    [
        ("", 8, None, "text is empty"),
        ("x", 0, None, r"length \(0\) must be at least 1"),
        ("x", 8, 9, r"stride \(9\).*length \(8\)"),
        ("x", 8, 0, r"stride \(0\).*length \(8\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(text, length, stride, message, run):
    with pytest.raises(ValueError, match=message):
        perplexity(load_model(run), load_tokenizer(run), text, length, stride)

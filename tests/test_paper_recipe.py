"""experiment=paper is the paper's recipe: composed from the YAML files, counted, and run in small."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from hydra import compose, initialize_config_dir

from alibi.config import CONFIGS, register, run_from
from alibi.data import DataConfig, open_text
from alibi.model import LanguageModel
from alibi.positions import Position
from alibi.runs import differences, weight_settings
from alibi.training import train
from alibi.training.schedule import check_schedule

IDS = 267_744
METHODS = sorted(Position.registry)


def composed(*overrides):
    register()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return run_from(compose("train", ["device=cpu", "precision=fp32", *overrides]))[0]


def shapes(config, vocab_size) -> LanguageModel:
    """The model without its numbers."""
    with torch.device("meta"):
        return LanguageModel(config.model, vocab_size, seed=0)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_length_composes(method):
    config = composed("experiment=paper", f"model={method}", "train.seq_len=64")
    for length in (64, 128, 256, 512, 1024, 1536, 2048, 3072):
        replace(config.train, seq_len=length)  # which checks that it divides the batch
    with pytest.raises(ValueError, match=r"must be a multiple of train\.seq_len"):
        replace(config.train, seq_len=3000)
    assert config.train.batch_tokens == 73_728
    assert config.train.batch_tokens * config.train.max_steps // 103_227_021 == 204  # epochs
    check_schedule(config.optimizer, config.train.max_steps)


@pytest.mark.parametrize("method", METHODS)
def test_parameters_are_the_papers(method):
    """Press et al.: 247M for every method. The bias table of T5 is all that any has beside."""
    model = shapes(composed("experiment=paper", f"model={method}"), IDS)
    count = model.count_parameters()
    assert count.total - count.position == 246_933_504
    assert count.position == sum(p.numel() for p in model.position_parameters())
    assert not model.transformer.position or count.position <= 256  # T5's table, of 8 buckets a head
    assert count.embedding == 20_000 * 1024 + 40_000 * 256 + 207_744 * 64 + (1024 + 256 + 64) * 1024 + 2 * 1024
    assert {p.device.type for p in model.parameters()} == {"meta"}


@pytest.mark.parametrize("change", ["model.bias=false", "model.final_norm=true", "model.adaptive_cutoffs=[20000]"])
def test_another_recipe_has_other_parameters(change):
    """Control."""
    assert shapes(composed("experiment=paper", change), IDS).count_parameters().total != 246_933_504


def test_the_large_model_is_the_papers():
    config = composed("experiment=paper_1b3", "data.path=texts")
    count = shapes(config, config.tokenizer.vocab_size).count_parameters()
    assert 1.3e9 < count.total < 1.4e9
    assert (config.train.seq_len, config.train.eval_lengths, config.train.max_steps) == (1024, [2048], 50_000)


def test_wikitext2_has_33280_ids(wikitext):
    config = composed("experiment=paper_small").tokenizer
    text = open_text(DataConfig("wikitext2", str(wikitext)), "train", True)
    tokenizer = config.train(line for line, _ in text.lines())
    assert tokenizer.vocab_size == 33_280
    assert tokenizer.words[-1] != "madeupword0000", "a multiple of 8 as it is"


@pytest.mark.parametrize("method", METHODS)
def test_the_recipe_trains_in_small(method, corpus, cache, tmp_path):
    config = composed("experiment=paper_small", f"model={method}", f"data.path={corpus}", "tracking.wandb=disabled")
    config.model = replace(config.model, num_layers=2, d_ff=64, adaptive_cutoffs=[8, 16])
    config.paths.cache, config.paths.outputs = str(cache), str(tmp_path)
    config.train = replace(config.train, seq_len=16, batch_tokens=256, max_steps=30, eval_every=30, eval_lengths=[32])
    config.optimizer = replace(config.optimizer, warmup_steps=3, cosine_steps=27)
    train(config, tmp_path / method)
    lines = [json.loads(line) for line in (tmp_path / method / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["train/lr"] == 1e-7
    assert lines[3]["train/lr"] == 1.0
    assert lines[-1]["train/loss"] < lines[0]["train/loss"] - 0.3
    assert lines[-1]["val/ppl_32"] < 80, "of 104 words"


def test_settings_of_later_date_change_no_name():
    config = asdict(composed())
    settings = weight_settings(config)
    assert not {"optimizer.momentum", "model.adaptive_cutoffs", "tokenizer.pad_to_multiple_of"} & settings.keys()
    before = {**config, "tokenizer": {"name": "bpe", "vocab_size": 8192}}
    assert differences(before, config) == []
    padded = composed("tokenizer=word", "tokenizer.pad_to_multiple_of=8")
    assert differences(asdict(composed("tokenizer=word")), asdict(padded)) == [
        "tokenizer.pad_to_multiple_of is not set there and 8 now"
    ]

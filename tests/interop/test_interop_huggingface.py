import json

import pytest
from guests import CONFIGS, direct_nats, make_tokenizer, save_guest

from alibi.commands import EvaluateCommand, OtherText, evaluate
from alibi.evaluation import EvaluationSettings
from alibi.tracking import TrackingConfig
from alibi.training.settings import PathsConfig

LENGTHS = [16, 40, 96]


@pytest.fixture(scope="session")
def tokenizer(raw_lines):
    return make_tokenizer(raw_lines["train"])


@pytest.fixture
def evaluated(tmp_path, corpus, cache):
    """Evaluates what `runs` names, and returns the result files' contents, by the model's name."""

    def call(runs, data="wikitext2", path=None, precision="fp32", **settings):
        asked = EvaluationSettings(**({"lengths": LENGTHS, "max_tokens": 800} | settings))
        text = OtherText(data, str(path or corpus) if data else None)
        paths = PathsConfig(str(tmp_path / "outputs"), str(cache))
        evaluate(
            EvaluateCommand(runs, asked, text, TrackingConfig("disabled"), paths, device="cpu", precision=precision)
        )
        files = sorted((tmp_path / "outputs").glob("*/evaluation/*.json"))
        return {content["checkpoint"]["model"]: content for content in map(json.loads, map(read, files))}

    return call


def read(path):
    return path.read_text()


def scored_lines(lines, result, tokenizer):
    """The lines that were scored: as many as hold the result's tokens."""
    kept, tokens = [], 0
    for line in lines:
        if tokens == result["data"]["tokens"]:
            break
        kept.append(line)
        tokens += len(tokenizer(line)["input_ids"])
    assert tokens == result["data"]["tokens"]
    return kept


@pytest.mark.parametrize("name", CONFIGS)
def test_nats_are_those_of_transformers(name, evaluated, tmp_path, tokenizer, raw_lines):
    folder = save_guest(tmp_path / name, CONFIGS[name], tokenizer)
    [result] = evaluated(f"hf:{folder}").values()
    lines = scored_lines(raw_lines["valid"], result, tokenizer)
    assert result["checkpoint"]["model"] == CONFIGS[name].model_type
    for row in result["rows"]:
        if "error" in row:
            assert (name, row["length"]) == ("gpt2", 96)
            continue
        wide = row["length"] if name.startswith("mpt") else None
        assert row["nll_nats"] == pytest.approx(direct_nats(folder, lines, row["length"], wide), rel=1e-6)

"""Precisions against float64: that float64 is float64 throughout, what the rows say, and the bias far out."""

import copy
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from measuring.precisions import compare_precisions, precision_table, precisions_of, sample_of
from torch.utils._python_dispatch import TorchDispatchMode

from alibi.evaluation import model_scorer
from alibi.model import KeyValueCache, LanguageModel, ModelConfig
from alibi.model.mask import Mask, Pass
from alibi.model.score_bias import ScoreBias
from alibi.positions import Position, build_position
from alibi.training import train

METHODS = sorted(Position.registry)
CPU = torch.device("cpu")


def model(method: str = "alibi", **values) -> LanguageModel:
    config = ModelConfig(position={"name": method}, num_layers=2, d_model=32, num_heads=4, **values)
    return LanguageModel(config, 50, seed=0).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def stream(make_stream):
    return make_stream(np.random.default_rng(0).integers(1, 50, 700), end_of_text=0)


class FloatingTypes(TorchDispatchMode):
    """Which floating types the results of operations have."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.numel():
                self.seen.add(tensor.dtype)
        return result


def types_of_a_pass(lm: LanguageModel, **values) -> set[torch.dtype]:
    ids = torch.arange(2 * 300).reshape(2, 300) % 50
    with FloatingTypes() as types:
        model_scorer(lm)(ids, ids, 0)
        lm(ids, **values)
    return types.seen


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("use", ["plain", "padded", "positions", "cached"])
def test_a_double_model_computes_in_float64_throughout(method, use):
    """No operation, the fused ones' own insides apart, returns a narrower number."""
    values = {
        "padded": {"padding_mask": torch.arange(300)[None].expand(2, -1) < 4},
        "positions": {"positions": 2 * torch.arange(300)},
        "cached": {"cache": KeyValueCache()},
    }.get(use, {})
    assert types_of_a_pass(model(method).double(), **values) == {torch.float64}


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_left_in_float32_would_be_noticed(method):
    lm = model(method).double()
    lm.transformer.blocks[1].feed_forward_norm.register_forward_hook(lambda module, given, out: out.float().double())
    assert torch.float32 in types_of_a_pass(lm)


@pytest.mark.parametrize("consecutive", [True, False])
@pytest.mark.parametrize("num_heads", [8, 12])
def test_the_bias_is_right_at_65536_in_float32(num_heads, consecutive):
    """To 1e-6 relative of float64, as attention gets it: by blocks and in full, first keys and last."""
    length, queries = 65_536, 3
    position = build_position({"name": "alibi"}, 8 * num_heads, num_heads, True)
    keys = torch.arange(length)
    scores = ScoreBias(position.bias(), Mask(Pass(keys[-queries:], keys, length - queries, True, consecutive)))
    slopes = position.bias().slopes_H
    distance = keys[-queries:, None] - keys
    exact = -slopes[:, None, None] * distance

    def worst(bias: torch.Tensor) -> float:
        return ((bias.double() - exact)[:, distance > 0] / exact[:, distance > 0]).abs().max().item()

    bias = scores.block(0, queries, torch.float32)[0].flip(1)  # blocks begin with the last query
    assert bias.dtype == torch.float32
    assert torch.equal(bias.isinf(), (distance < 0).expand(num_heads, -1, -1))
    assert worst(bias) < 1e-6
    # Controls: bf16, and the form with equal rows, m * j, which the softmax turns into -m * (i - j).
    assert worst(scores.block(0, queries, torch.bfloat16)[0].flip(1)) > 1e-3
    row = slopes.float()[:, None] * keys
    equal_rows = row[:, None, :] - row[:, -queries:, None]
    assert num_heads == 8 or worst(equal_rows) > 1e-4  # powers of two lose nothing by themselves


@pytest.mark.parametrize("method", METHODS)
def test_rows_say_what_one_finds_by_hand(stream, method):
    lm, sample = model(method), sample_of(stream, 192, [32, 96])
    rows = compare_precisions(lm, sample, [96, 32], ("fp32", "bf16"), CPU)
    assert [(row["length"], row["precision"]) for row in rows] == [
        (length, name) for length in (32, 96) for name in ("float64", "fp32", "bf16")
    ]
    double = copy.deepcopy(lm).double()
    for length in (32, 96):
        exact, fp32, bf16 = (row for row in rows if row["length"] == length)
        nats = {}
        for name, scorer in (("float64", model_scorer(double)), ("bf16", model_scorer(lm, "bf16"))):
            parts = [(stream.inputs(at, at + length), stream.targets(at, at + length)) for at in range(0, 192, length)]
            pairs = [[torch.from_numpy(ids)[None] for ids in pair] for pair in parts]
            nats[name] = torch.cat([scorer(*pair, 0).flatten().double() for pair in pairs])
        assert exact["perplexity"] == pytest.approx(math.exp(nats["float64"].mean()), rel=1e-12)
        difference = (nats["bf16"] - nats["float64"]).abs()
        assert bf16["max_difference_nats"] == pytest.approx(difference.max().item(), rel=0.2)
        assert bf16["mean_difference_nats"] == pytest.approx(difference.mean().item(), rel=0.2)
        assert 0 < fp32["mean_difference_nats"] <= fp32["max_difference_nats"] < 1e-5
        assert bf16["mean_difference_nats"] > 100 * fp32["mean_difference_nats"]
        assert {row["tokens"] for row in (exact, fp32, bf16)} == {192}
    assert lm.embedding.weight.dtype == torch.float32


def test_fp16_is_computed_in_fp16(stream):
    """On a CPU only by hand; precisions_of leaves it to CUDA."""
    assert precisions_of(CPU) == ("fp32", "bf16")
    assert "fp16" in precisions_of(torch.device("cuda"))
    _, fp32, fp16, bf16 = compare_precisions(model(), sample_of(stream, 64, [64]), [64], ("fp32", "fp16", "bf16"), CPU)
    differences = [row["mean_difference_nats"] for row in (fp32, fp16, bf16)]
    assert 10 * differences[0] < differences[1] < differences[2] / 2, "11 bits of fraction, 8 in bf16"


def test_a_less_exact_bias_shows_in_the_rows(stream, monkeypatch):
    """Control: attention in fp32 with a bias that went through bf16."""
    lm, sample = model(), sample_of(stream, 600, [600])
    _, fp32 = compare_precisions(lm, sample, [600], ("fp32",), CPU)
    block = ScoreBias.block

    def coarse(self, start, stop, dtype, *which):
        return block(self, start, stop, torch.bfloat16 if dtype == torch.float32 else dtype, *which).to(dtype)

    monkeypatch.setattr(ScoreBias, "block", coarse)
    _, worse = compare_precisions(lm, sample, [600], ("fp32",), CPU)
    assert worse["max_difference_nats"] > 20 * fp32["max_difference_nats"]


def test_nats_that_are_not_finite_are_an_error_in_the_row(stream):
    broken = model(tie_embeddings=False)
    broken.output.weight[3] = math.nan
    rows = compare_precisions(broken, sample_of(stream, 64, [64]), [64], ("fp32",), CPU)
    assert all(row["error"] == "64 of 64 tokens have nats that are not finite" for row in rows)
    json.dumps(rows, allow_nan=False)
    assert "64 of 64" in precision_table(rows)


@pytest.mark.parametrize(
    ("num_tokens", "lengths", "message"),
    [
        (100, [32, 48], "32 does not divide it; use a multiple of 96"),
        (701, [1], r"tokens \(701\) is above the 700 of the text"),
        (0, [1], r"tokens \(0\)"),
        (64, [0], r"lengths \[0\]"),
        (64, [], r"lengths \[\]"),
    ],
)
def test_a_sample_that_cannot_be_is_refused(stream, num_tokens, lengths, message):
    with pytest.raises(ValueError, match=message):
        sample_of(stream, num_tokens, lengths)


@pytest.fixture
def script(run_script, monkeypatch, tmp_path, cache, small_run):
    """scripts/precision.py beside a trained run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIBI_CACHE", str(cache))
    train(small_run(max_steps=2), tmp_path / "run")

    return partial(run_script, "precision")


def test_the_script_prints_and_writes_what_it_found(script, tmp_path):
    out = tmp_path / "new" / "precision.json"
    code, printed, err = script("run", "--lengths", 64, 16, "--tokens", 256, "--device", "cpu", "--out", out)
    assert code == 0, err
    sample, _, *lines = printed.splitlines()
    assert sample == "256 tokens of wikitext2 validation, from its beginning"
    assert lines[0].split()[:3] == ["length", "precision", "perplexity"]
    assert [line.split()[:2] for line in lines[1:]] == [
        [length, name] for length in ("16", "64") for name in ("float64", "fp32", "bf16")
    ]
    report = json.loads(out.read_text())
    assert report["kind"] == "precision"
    assert report["data"] == {"name": "wikitext2", "split": "validation", "tokens": 256}
    assert report["checkpoint"]["path"] == "run/checkpoints/step-00000002"
    assert f"{report['rows'][0]['perplexity']:.6f}" == lines[1].split()[2]
    for words, message in (
        (["run", "--lengths", 48, "--tokens", 100], "48 does not divide it"),
        (["run", "--tokens", 10**6, "--lengths", 16], "tokens (1000000) is above the"),
        (["gone"], "gone does not exist"),
    ):
        code, printed, err = script(*words)
        assert (code, printed) == (1, "")
        assert message in err
        assert "Traceback" not in err

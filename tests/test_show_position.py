"""scripts/show_position.py: its numbers against closed forms and against the model's own attention; its files."""

import math
import shutil
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_bias import bias_of
from show_position import show
from showing.attention import AttentionByDistance, AttentionPass
from showing.layer import Layer
from showing.subject import initial, trained

from alibi.config import run_of
from alibi.model import LanguageModel, ModelConfig
from alibi.runs import load_model
from alibi.training import train

MODELS = sorted(path.stem for path in Path(__file__).parents[1].joinpath("configs", "model").glob("*.yaml"))
BY_CONTENT = {"fox", "cable", "inkling"}
TINY = ["size=tiny", "train.seq_len=64", "device=cpu"]  # 2 layers, 4 heads of 32
HEADS, N = 4, 24
DISTANCE = torch.arange(N)[:, None] - torch.arange(N)
CAUSAL = torch.zeros(N, N, dtype=torch.float64).masked_fill(DISTANCE < 0, -math.inf)
SSMAX = {"name": "ssmax", "length": 9}
SLOPES = torch.tensor([2**-2, 2**-4, 2**-6, 2**-8], dtype=torch.float64)


@pytest.fixture
def script(run_script, monkeypatch, tmp_path, cache):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIBI_CACHE", str(cache))
    return partial(run_script, "show_position")


@pytest.fixture
def shown(script, tmp_path):
    """What the script printed of a model at its initial values, and its arrays."""

    def run(*words, length=N):
        code, out, err = script(*words, *TINY, "--length", length, "--out", "out")
        assert code == 0, err
        return out, dict(np.load(tmp_path / "out" / "position.npz"))

    return run


def close(actual, expected) -> None:
    torch.testing.assert_close(torch.as_tensor(actual), torch.as_tensor(expected), rtol=0, atol=1e-10)


def test_a_bias_is_the_formula_and_the_files_are_named(shown, tmp_path):
    out, arrays = shown("model=alibi")
    assert arrays.keys() == {"bias", "distance", "bias_by_distance"}
    assert {values.dtype.name for values in arrays.values()} == {"float64", "int64"}
    assert (arrays["bias"] == (-SLOPES[:, None, None] * DISTANCE + CAUSAL).numpy()).all()
    assert (arrays["bias_by_distance"] == (-SLOPES[:, None] * torch.arange(N)).numpy()).all(), "exact"
    assert (arrays["distance"] == np.arange(N)).all()
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["bias.png", "bias.svg", "position.npz"]
    assert out.splitlines()[-3:] == ["out/bias.png", "out/bias.svg", "out/position.npz"]
    assert "layer      0 of 0–1, length 24" in out
    assert "depends on the distance" in out
    assert "head 3    -0.003906      -0.08984" in out


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["model=window", "model.window=5"], DISTANCE < 5),
        (
            ["model=window", "model.window=5", "model.sink_tokens=2"],
            (DISTANCE < 5) | (torch.arange(N) < 2).expand(N, N),
        ),
        (["model=hard_alibi"], torch.stack([DISTANCE < 1, DISTANCE < 2, DISTANCE < N, DISTANCE < N])),
    ],
)
def test_what_is_hidden_is_minus_infinity(shown, words, seen):
    arrays = shown(*words)[1]
    expected = CAUSAL.masked_fill(~seen, -math.inf).expand(HEADS, N, N)
    assert (arrays["bias"] == expected.numpy()).all()
    far = arrays["bias_by_distance"][0, N - 1]  # only the first key is so far away
    assert far == (0 if seen.expand(HEADS, N, N)[0, -1, 0] else -math.inf)


@pytest.mark.parametrize("name", ["none", "sinusoidal"])
def test_a_method_that_does_nothing_in_attention_says_so(shown, tmp_path, name):
    out, arrays = shown(f"model={name}")
    assert (arrays["bias"] == CAUSAL.numpy()).all()
    assert (arrays["bias_by_distance"] == 0).all()
    assert "adds nothing to the scores and turns nothing: attention has the causal mask alone" in out
    assert ("adds to the token embeddings" in out) == (name == "sinusoidal")
    assert (tmp_path / "out" / "bias.png").exists()


def test_a_turn_is_the_mean_of_cosines(shown, tmp_path):
    out, arrays = shown("model=rotary", "model.position.theta=500")
    assert "turns queries and keys by their positions" in out
    assert (arrays["bias"] == CAUSAL.numpy()).all()

    def cosines(theta):
        frequencies = theta ** (-torch.arange(0, 32, 2, dtype=torch.float64) / 32)
        return (torch.arange(N)[:, None] * frequencies).cos().mean(1)

    close(arrays["turn_by_distance"], cosines(500.0))
    assert np.abs(arrays["turn_by_distance"] - cosines(10000.0).numpy()).max() > 0.1, "control: another theta"
    assert not (tmp_path / "out" / "bias.png").exists(), "there is nothing to see"


def test_a_decaying_turn_and_one_that_widens(shown):
    distance = torch.arange(N, dtype=torch.float64)[:, None]
    pairs = torch.arange(0, 32, 2, dtype=torch.float64) / 32
    decay = ((pairs + 0.4) / 1.4) ** (distance / 512)
    close(
        shown("model=xpos", "model.position.scale_base=512")[1]["turn_by_distance"],
        (decay * (distance * 10000**-pairs).cos()).mean(1),
    )
    pairs = torch.arange(32, dtype=torch.float64) / 32
    close(shown("model=pope")[1]["turn_by_distance"], (distance * 10000**-pairs).cos().mean(1))


def test_parameters_are_those_that_training_starts_with(shown):
    arrays = shown("model=kerple_log", "seed=3", "model.query_scale.name=ssmax", "--layer", 1)[1]
    raw_p, raw_a = (torch.tensor(arrays[f"parameters/raw_{name}_H"])[:, None] for name in "pa")
    softplus = torch.nn.functional.softplus
    close(arrays["bias_by_distance"], -softplus(raw_p) * (1 + softplus(raw_a) * torch.arange(N)).log())
    config = run_of(["model=kerple_log", *TINY])
    blocks = LanguageModel(config.model, vocab_size=300, seed=3).transformer.blocks
    assert (arrays["parameters/raw_p_H"] == blocks[1].position.raw_p_H.double().detach().numpy()).all()
    assert (arrays["parameters/raw_p_H"] != blocks[0].position.raw_p_H.detach().numpy()).all(), "control"
    close(arrays["parameters/query_scale.s_H"], np.full(HEADS, np.float32(1 / math.log(64)), np.float64))


def test_layers_of_a_pattern_differ(shown):
    local, arrays = shown("model=rnope_swa", "model.num_layers=4")
    assert "layer      0 of 0–3 (local: rotary), length 24" in local
    assert "note       a window of 32 hides nothing of 24 tokens" in local
    assert "turn_by_distance" in arrays
    everything, arrays = shown("model=rnope_swa", "model.num_layers=4", "--layer", 3)
    assert "layer      3 of 0–3 (global: none), length 24" in everything
    assert "turn_by_distance" not in arrays


@pytest.mark.parametrize("name", MODELS)
def test_every_bias_is_the_one_that_the_interface_says(name):
    subject = initial([f"model={name}", *TINY, "model.num_layers=4"])
    options = Namespace(settings=[f"model={name}"], length=80)
    for number in (0, 3):
        layer = Layer.of(subject.model, number)
        if name in BY_CONTENT:
            with pytest.raises(
                ValueError, match=rf"depends on the content.*python train.py model={name}, and give runs="
            ):
                show(subject, layer, options)
            continue
        with torch.no_grad():
            found = show(subject, layer, options)
            expected = bias_of(layer.method, torch.zeros(1, 80, 128))[0]
        distance = torch.arange(80)[:, None] - torch.arange(80)
        expected = expected.masked_fill(distance >= (layer.block.layer.window or 80), -math.inf)
        close(found.bias_HLM, expected.expand(HEADS, -1, -1))
        for distance in (0, 7, 79):
            diagonals = found.bias_HLM.diagonal(-distance, 1, 2)
            close(found.bias_HN[:, distance], diagonals.mean(1))
        assert found.alike == (name != "fire")


def perturbed(**values) -> LanguageModel:
    model = LanguageModel(ModelConfig(num_layers=2, d_model=32, num_heads=HEADS, **values), vocab_size=50, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.double().eval()


@pytest.mark.parametrize(
    "values",
    [
        *({"position": {"name": name}} for name in ("alibi", "rotary", "fox", "cable", "inkling", "pope", "fire")),
        {"position": {"name": "kerple_log"}, "window": 90, "sink_tokens": 3, "query_scale": SSMAX},
        {"position": {"name": "hard_alibi"}},
        {"pattern": ["a", "b"], "layer_types": {"a": {"position": "rotary", "window": 90}, "b": {"position": "t5"}}},
    ],
    ids=lambda values: values.get("position", {}).get("name", "pattern"),
)  # fmt: skip
@torch.no_grad()
def test_the_weights_make_the_layers_own_output(values):
    model = perturbed(**values)
    ids = torch.randint(50, (2, 300), generator=torch.Generator().manual_seed(2))
    outputs = []
    for block in model.transformer.blocks:
        block.attention.register_forward_hook(lambda module, given, output: outputs.append(output))
    made = []
    for number in (0, 1):
        outputs.clear()
        one = AttentionPass.of(model, number, ids)
        weights = torch.cat([part for _, _, part in one.weights()], dim=2)
        close(weights.sum(-1), torch.ones(2, HEADS, 300, dtype=torch.float64))
        out = weights @ one.heads(one.attention.value(one.x_BLD))
        made.append(one.attention.output(out.transpose(1, 2).flatten(2)))
        close(made[number], outputs[number])
    assert (made[0] - outputs[1]).abs().max() > 0.1, "control: another layer"


@torch.no_grad()
def test_means_over_queries_are_those_of_the_weights_one_by_one():
    model = perturbed(position={"name": "alibi"})
    windows = torch.randint(50, (3, N), generator=torch.Generator().manual_seed(2))
    found = AttentionByDistance.of(model, 1, windows)
    weights = torch.cat([next(AttentionPass.of(model, 1, ids[None]).weights())[2] for ids in windows])
    by_distance = torch.zeros(HEADS, N, dtype=torch.float64)
    for i in range(N):
        for j in range(i + 1):
            by_distance[:, i - j] += weights[:, :, i, j].sum(0) / (3 * N)
    close(found.weight_HN, by_distance)
    close(found.weight_HN.sum(1), torch.ones(HEADS, dtype=torch.float64))
    seen = weights.where(weights > 0, 1.0)
    close(found.entropy_H, -(weights * seen.log()).sum((0, 2, 3)) / (3 * N))
    close(found.mean_distance(), (weights * DISTANCE.clamp(min=0)).sum((0, 2, 3)) / (3 * N))
    close(found.share_within(4), (weights * (DISTANCE < 4)).sum((0, 2, 3)) / (3 * N))

    uniform = AttentionByDistance.uniform(N)
    rows = CAUSAL.softmax(-1)
    close(uniform.weight_HN[0], [rows.diagonal(-distance).sum() / N for distance in range(N)])
    close(uniform.entropy_H[0], torch.special.entr(rows).sum() / N)


def test_a_run_is_shown_on_its_own_text(script, small_run, tmp_path):
    train(small_run("fox", max_steps=6), tmp_path / "run")
    arrays = {}
    for number in (0, 1):
        code, out, err = script("runs=run", "--layer", number, "--length", 40, "--out", f"out{number}")
        assert code == 0, err
        arrays[number] = dict(np.load(tmp_path / f"out{number}" / "position.npz"))
    assert arrays[1].keys() == {
        "bias", "distance", "bias_by_distance", "attention", "parameters/weight_HD", "parameters/bias_H",
    }  # fmt: skip
    assert "method     fox, run run, step 6" in out
    assert "depends on the content" in out
    assert "mean over 1,280 queries of validation text" in out
    head = next(line for line in out.splitlines() if "mean distance" in line)
    assert all(name in head for name in ("bias at 1", "bias at 8", "bias at 39", "share within 16", "entropy, nats"))
    assert sorted(path.suffix for path in (tmp_path / "out1").iterdir()) == [".npz", ".png", ".png", ".svg", ".svg"]

    subject = trained("run", 40)
    model, ids = load_model(tmp_path / "run").double(), subject.windows_WL
    with torch.no_grad():
        x = AttentionPass.of(model, 1, ids[:1]).x_BLD
        expected = bias_of(model.transformer.blocks[1].position, x)[0]
        attention = AttentionByDistance.of(model, 1, ids)
    close(arrays[1]["bias"], expected)
    close(arrays[1]["attention"], attention.weight_HN)
    assert np.abs(arrays[1]["attention"].sum(1) - 1).max() < 1e-12
    at = arrays[1]["bias_by_distance"][:, 8]
    close(at, expected.diagonal(-8, 1, 2).mean(1))
    for name in ("bias_by_distance", "attention", "parameters/bias_H"):
        assert np.abs(arrays[0][name] - arrays[1][name]).max() > 1e-6, "control: the other layer"

    with pytest.raises(
        ValueError, match=r"--length \(1000000\) is above the \d+ validation tokens of run; use at most"
    ):
        trained("run", 1_000_000)
    shutil.copytree(tmp_path / "run", tmp_path / "run2")
    for words, message in (
        (["runs=run*"], "runs=run* means 2 checkpoints; name one of them"),
        (["runs=run", "size=tiny"], "size=tiny would be ignored beside runs=run"),
        (["runs=run", "runs=run2"], "runs=run2 would be ignored beside runs=run"),
        (["runs=run", "model=fox"], "the settings have both model= and runs="),
        (["runs=run", "--layer", 2], "--layer (2) must be at least 0 and below 2, the number of layers"),
    ):
        code, out, err = script(*words, "--out", "other")
        assert (code, out) == (1, ""), words
        assert message in err
    assert not (tmp_path / "other").exists()


def test_figures_of_an_earlier_call_go(shown, tmp_path):
    shown("model=rotary")
    (tmp_path / "out" / "mine.png").write_text("mine")
    shown("model=alibi")
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"bias.png", "mine.png"}
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    shown("model=alibi")
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}, "the same bytes again"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the settings have neither model= nor runs="),
        (["size=tiny"], "the settings have neither model= nor runs="),
        (["model=alibbi"], "there is no model=alibbi; did you mean alibi?"),
        (["model=alibi", "model.position.theta=5"], "model.position.theta is a setting of"),
        (["model=fox"], "the bias of fox depends on the content"),
        (["model=alibi", "--length", 0], "--length (0) must be at least 1 and at most 2,048"),
        (["model=alibi", "--length", 2049], "--length (2049) must be at least 1 and at most 2,048"),
        (["model=alibi", "--layer", 6], "--layer (6) must be at least 0 and below 6, the number of layers"),
        (["model=alibi", "--layer", -1], "--layer (-1) must be at least 0"),
        (["model=alibi", "--out", "file"], "--out (file) is a file; name a folder"),
        (["model=alibi", "--out", "file/in"], "file"),
        (["runs=gone"], "runs=gone does not exist"),
    ],
)
def test_what_cannot_be_shown_is_one_message(script, tmp_path, words, message):
    (tmp_path / "file").write_text("a file")
    code, out, err = script("--out", "out", *words)
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()

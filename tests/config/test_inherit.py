"""What a run with train.init_from inherits, what wins over it, and what is refused; and the command."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from alibi.config import run_of
from alibi.config.inherit import Explicit, adapt
from alibi.runs import CONFIG, Checkpoint, RunFolder, run_name
from alibi.training import train

ROTARY = {"model": {"position": {"name": "rotary", "theta": 1e4}}}


@pytest.fixture
def origin(small_run, tmp_path, monkeypatch):
    """Make the folder of a run of one update; keywords are settings of its model."""
    monkeypatch.chdir(tmp_path)

    def make(name: str = "origin", seed: int = 0, method: str = "rotary", **model) -> Path:
        config = small_run(method, seed=seed, max_steps=1, micro_batch_tokens=None)
        for setting, value in model.items():
            setattr(config.model, setting, value)
        train(config, tmp_path / name)
        return tmp_path / name

    return make


def run_from_origin(run: Path, *overrides: str):
    more = ["device=cpu", "train.batch_tokens=512", "train.seq_len=64"]
    return run_of([f"train.init_from={run}", *more, *overrides])


def test_model_tokenizer_and_data_come_from_the_origin_and_the_rest_from_the_command(origin):
    run = origin(position={"name": "rotary", "theta": 500.0})
    stored = yaml.safe_load((run / CONFIG).read_text())
    now = asdict(run_from_origin(run, "optimizer.lr=5e-4", "seed=3"))
    assert {part: now[part] for part in ("model", "data", "tokenizer")} == {
        part: stored[part] for part in ("model", "data", "tokenizer")
    }
    assert (now["train"]["seq_len"], now["optimizer"]["lr"], now["seed"]) == (64, 5e-4, 3)
    checkpoint = Checkpoint(RunFolder(run).last())
    assert now["origin"] == {"run": "origin", "sha256": checkpoint.sha256, "step": 1, "tokens": 64}
    plain = asdict(run_of(["device=cpu"]))
    assert plain["model"]["d_model"] != stored["model"]["d_model"], "control: what the command alone would have"


def test_what_is_set_wins(origin, corpus):
    run = origin()
    for overrides, part, changed in (
        (["model.dropout=0.3"], "model", {"dropout": 0.3}),
        (["model.window=8"], "model", {"window": 8}),
        (["data=stdlib"], "data", {"name": "stdlib", "path": None}),
        ([f"data.path={corpus.name}"], "data", {"path": str(corpus)}),
        (["model.query_scale.name=log_n"], "model", {"query_scale": {"name": "log_n", "length": 64}}),
    ):
        stored, now = yaml.safe_load((run / CONFIG).read_text())[part], asdict(run_from_origin(run, *overrides))[part]
        for name, value in changed.items():
            have = now[name]
            assert {key: have[key] for key in value} == value if isinstance(value, dict) else have == value
        assert {k: v for k, v in now.items() if k not in changed} == {
            k: v for k, v in stored.items() if k not in changed
        }


def test_a_typed_model_of_the_same_method_changes_nothing_and_its_settings_one_by_one(origin):
    """Nor does ${train.seq_len} refill what stands for a length."""
    run = origin(method="xpos", position={"name": "xpos", "scale_base": 16, "theta": 700.0})
    names = {run_name(asdict(run_from_origin(run, *typed))) for typed in ([], ["model=xpos"])}
    assert len(names) == 1
    now = run_from_origin(run, "model=xpos", "model.position.theta=800").model.position
    assert now == {"name": "xpos", "theta": 800, "scale_base": 16}
    assert run_of(["model=xpos", "train.seq_len=64"]).model.position["scale_base"] == 64, "control"


def test_another_method_replaces_all_that_belongs_to_one(origin):
    run = origin(window=4, position={"name": "rotary", "theta": 700.0})
    model = run_from_origin(run, "model=none").model
    assert (model.method, model.window, model.position) == ("none", None, {"name": "none"})
    model = run_from_origin(run, "model=window").model
    assert (model.method, model.window, model.d_model) == ("window", 32, 16), "half of the new length"
    model = run_from_origin(
        run, "model=rnope_swa", "model.layer_types.local.window=7", "model.pattern=[local,global]"
    ).model
    assert model.layer_types["local"].window == 7
    assert model.position == {}
    assert run_from_origin(run).model.window == 4, "control: without model= all stays"


def test_an_experiment_sets_what_its_yaml_does(origin):
    found = Explicit.of(["experiment=paper_small", "model=t5", "size=tiny", "seed=4", "+model.window=3"])
    assert {"model.bias", "model.num_layers", "model.window", "seed", "train.seq_len"} <= set(found.names)
    assert (found.sections, found.model) == ({"data", "tokenizer"}, "t5")
    assert "model.position.name" not in found.names
    with pytest.raises(ValueError, match=r"tokenizer.vocab_size is 2048 here and 257 in .*and an experiment"):
        run_from_origin(origin(), "experiment=quickstart", "data=wikitext2")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["model.num_layers=3"], r"model.num_layers is 3 here and 2 in .*step-00000001.*leave model.num_layers out"),
        (["size=tiny"], r"model.d_ff is 512 here and 64 in|model.d_model is 128 here and 16 in"),
        (["model.num_heads=4"], "model.num_heads is 4 here and 2 in"),
        (["model.activation=relu"], "model.activation is relu here and gelu in"),
        (["tokenizer=bpe"], "tokenizer.name is bpe here and byte in .*leave it out"),
        (["tokenizer=word"], "tokenizer.name is word here and byte in"),
        (["model.position.nonsense=1", "model=rotary"], "model.position.nonsense"),
        (["data=copy", "tokenizer=word"], "data.name is copy here and wikitext2 in .*a task has symbols of its own"),
        (["train.resume=x"], "two sources of weights"),
    ],
)
def test_what_the_weights_are_tied_to_may_not_change(origin, typed, told):
    with pytest.raises(ValueError, match=told):
        run_from_origin(origin(), *typed)


def test_a_vocabulary_of_another_size_is_refused_and_the_same_is_not(small_run, tmp_path):
    train(small_run(tokenizer="bpe", max_steps=1), tmp_path / "run")
    size = Checkpoint(RunFolder(tmp_path / "run").last()).load_tokenizer().vocab_size
    with pytest.raises(ValueError, match=rf"tokenizer.vocab_size is 300 here and {size} in"):
        run_from_origin(tmp_path / "run", "tokenizer.vocab_size=300")
    same = run_from_origin(tmp_path / "run", f"tokenizer.vocab_size={size}")
    assert run_name(asdict(same)) == run_name(asdict(run_from_origin(tmp_path / "run", "tokenizer=bpe")))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("hf:gpt2", "is a Hugging Face model, which is scored but not trained here"),
        ("nowhere", r"train.init_from=nowhere does not exist; give a run folder or a checkpoint"),
        (".", r"train.init_from: . is neither a run folder nor a checkpoint folder; give a run with a checkpoint"),
        ("outputs/latest", r"outputs/latest will be the new run itself .* write train.init_from=.*/origin"),
    ],
)
def test_a_place_that_is_no_origin(origin, typed, told):
    origin()
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        run_from_origin(typed)


def test_the_origin_is_not_typed(command):
    for typed in ("origin.run=x", "origin={run:x,sha256:y,step:1,tokens:1}"):
        with pytest.raises(ValueError, match=r"origin is filled in; set train.init_from to a run folder"):
            run_of([typed, "data=stdlib"])
    assert command("train", "origin.run=x") == (
        1,
        "origin.run=x: origin is filled in; set train.init_from to a run folder or a checkpoint.\n",
    )


@pytest.mark.parametrize(
    ("new", "filled"),
    [
        ({"name": "yarn", "factor": 4.0}, {"name": "yarn", "factor": 4.0, "length": 512}),
        ({"name": "pi", "factor": 2.0, "length": None}, {"name": "pi", "factor": 2.0, "length": 512}),
        ({"name": "pi", "factor": 2.0, "length": 64}, {"name": "pi", "factor": 2.0, "length": 64}),
        (None, None),
    ],
)
def test_a_factor_refers_to_the_origins_length(new, filled):
    position = {"name": "rotary", "theta": 1e4, "scaling": new}
    alone, layers = {"position": dict(position)}, {"position": {}, "layer_types": {"a": {"position": dict(position)}}}
    adapt(alone, ROTARY["model"], 512)
    adapt(layers, {"position": {}, "layer_types": {"a": {"position": {"name": "rotary"}}}}, 512)
    assert alone["position"]["scaling"] == layers["layer_types"]["a"]["position"]["scaling"] == filled


def test_a_second_adaptation_is_refused_with_both_and_the_first_stays():
    first = {"name": "yarn", "factor": 4.0, "length": 512}
    stored = {"position": {"name": "rotary", "scaling": first}}
    same = {"position": {"name": "rotary", "scaling": dict(first)}}
    adapt(same, stored, 2048)
    assert same["position"]["scaling"] == first
    for second in ({"name": "pi", "factor": 2.0}, first | {"factor": 8.0}):
        with pytest.raises(ValueError, match=r"model.position.scaling .* second frequency adaptation .*yarn.*512"):
            adapt({"position": {"name": "rotary", "scaling": second}}, stored, 2048)
    kinds = {"layer_types": {"a": {"position": stored["position"]}}}
    with pytest.raises(ValueError, match=r"model.layer_types.a.position.scaling"):
        adapt({"layer_types": {"a": {"position": {"name": "rotary", "scaling": {"name": "pi"}}}}}, kinds, 64)


def test_the_name_does_not_depend_on_the_place_of_the_origin(origin, tmp_path):
    run, name = origin(), None
    for place in ("origin", "moved"):
        if place != "origin":
            run = run.rename(tmp_path / place)
        now = run_name(asdict(run_from_origin(run)))
        assert name in (None, now)
        name = now
    assert run_name(asdict(run_from_origin(origin("other", seed=1)))) != name, "control: other weights"


def test_the_command_trains_from_an_origin_and_says_so(origin, command):
    run = origin(method="rotary")
    common = ["train.seq_len=32", "train.batch_tokens=64", "train.max_steps=2", "device=cpu", "tracking.wandb=disabled"]
    code, told = command("train", f"train.init_from={run}", "model=alibi", *common)
    assert code == 0, told
    assert "origin     origin: step 1, 64 tokens" in told
    [name] = Path("outputs").glob("alibi-custom-wikitext2-L32-seed0-*")
    code, told = command("train", f"train.init_from={run}", "model=alibi", *common)
    assert (code, f"{name} is finished: 2 steps" in told) == (0, True)
    code, told = command("train", f"train.init_from={run}", "model.d_model=32", *common)
    assert (code, "model.d_model is 32 here and 16 in" in told) == (1, True)
    assert len(told.splitlines()) == 1

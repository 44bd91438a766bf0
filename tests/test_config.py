"""The real YAML files, composed as the entries compose them."""

import math
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from alibi.config import CONFIGS, evaluation_from, register, run_from
from alibi.evaluation import EvaluationSettings
from alibi.model import ALiBiConfig, LanguageModel, ModelConfig
from alibi.positions import Position
from alibi.runs import read_settings, settings_text
from alibi.training import RunConfig
from alibi.training.optimizer import OptimizerConfig
from alibi.training.training_settings import TrainSettings

FOLDER = Path(CONFIGS)


def names(group):
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


def composed(entry, *overrides):
    register()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose(entry, list(overrides))


def run(*overrides):
    return run_from(composed("train", "device=cpu", "data.path=null", *overrides))


def test_every_position_method_has_a_yaml_and_runs_are_named_after_it():
    assert set(names("model")) >= Position.registry.keys()
    for method in names("model"):
        config, folder = run(f"model={method}")
        assert config.model.method == method
        if method in Position.registry:
            assert config.model.position["name"] == method
        assert folder.name.startswith(f"{method}-small-wikitext103-L512-seed0-")


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("tiny", (2, 128, 4, 512)),
        ("small", (6, 256, 8, 1024)),
        ("base", (12, 768, 12, 3072)),
        ("paper", (16, 1024, 8, 4096)),
    ],
)
def test_sizes(size, shape):
    model = run(f"size={size}")[0].model
    assert (model.num_layers, model.d_model, model.num_heads, model.d_ff) == shape


def test_d_ff_follows_the_width():
    assert run("model.d_model=512")[0].model.d_ff == 2048


def test_the_small_model_has_the_parameters_of_the_contract():
    config, _ = run()
    assert LanguageModel(config.model, 8192, seed=0).count_parameters().total == 6_819_072


@pytest.mark.parametrize("data", ["wikitext103", "wikitext2", "stdlib"])
@pytest.mark.parametrize("tokenizer", ["bpe", "word", "byte"])
def test_data_and_tokenizers_compose(data, tokenizer):
    register()
    overrides = [f"data={data}", f"tokenizer={tokenizer}", "device=cpu"]
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        config, _ = run_from(compose("train", overrides))
    assert (config.data.name, config.tokenizer.name) == (data, tokenizer)
    assert config.tokenizer.vocab_size == {"bpe": 8192, "word": None, "byte": None}[tokenizer]


@pytest.mark.parametrize("experiment", names("experiment"))
def test_experiments_compose_and_begin_with_their_command(experiment):
    settings = (FOLDER / "experiment" / f"{experiment}.yaml").read_text()
    assert "# python train.py" in settings
    own_text = ["data.path=texts"] if "override /data: text\n" in settings else []
    register()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        run_from(compose("train", [f"experiment={experiment}", "device=cpu", *own_text]))


def test_precision_is_settled_before_the_name():
    explicit = {run(f"precision={p}")[0].precision: run(f"precision={p}")[1].name for p in ("fp32", "bf16")}
    auto, folder = run()
    assert auto.precision in explicit
    assert folder.name == explicit[auto.precision]
    assert len(set(explicit.values())) == 2


def test_run_dir_is_taken_as_it_is():
    assert run("run_dir=somewhere/else")[1] == Path("somewhere/else")


def test_evaluation_defaults_follow_the_contract():
    command = evaluation_from(composed("evaluate", "device=cpu"))
    assert (command.runs, command.precision, command.eval.split) == ("latest", "fp32", "validation")
    assert command.eval.strides == [None]
    command = evaluation_from(composed("evaluate", "device=cpu", "eval.stride=[null,256]", "data=stdlib"))
    assert command.eval.strides == [None, 256]
    assert command.data.name == "stdlib"


def test_train_defaults_follow_the_contract():
    config, _ = run()
    assert config.train.log_every == 1
    assert config.train.eval_lengths == []
    assert config.train.resume == "auto"
    assert config.tracking.wandb == "offline"
    assert config.train.micro_batch_tokens is None


GROUPS = [
    ("model.", ModelConfig),
    ("optimizer.", OptimizerConfig),
    ("train.", TrainSettings),
    ("eval.", EvaluationSettings),
    ("", RunConfig),
    ("", ALiBiConfig),
]
NUMBERS = [
    (prefix, settings, one.name, one.type)
    for prefix, settings in GROUPS
    for one in fields(settings)
    if {int, float, bool} & {one.type, *getattr(one.type, "__args__", ())} or "list[int]" in str(one.type)
]


@pytest.mark.parametrize(("prefix", "settings", "name", "kind"), NUMBERS)
def test_a_setting_that_is_no_number_is_refused_by_its_name(prefix, settings, name, kind):
    """All there are, so that one of later date is checked too; above all what passes a comparison as `x <= 0`."""
    wrong = [math.nan, math.inf, -math.inf, "1"]
    wrong += [0, 1.0] if kind is bool else [True]
    wrong += [2**53, 10**400] if "int" in str(kind) else []
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^{prefix}{name} \("):
            settings(**{name: [value] if "list" in str(kind) else value})


def test_settings_of_all_groups_were_read():
    assert {"model.dropout", "optimizer.clip", "train.max_hours", "eval.lengths", "seed", "max_len"} <= {
        f"{prefix}{name}" for prefix, _, name, _ in NUMBERS
    }


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "true", "'100'", str(10**400)], ids=lambda value: value[:9])
def test_a_methods_own_setting_that_is_no_number_is_refused_by_its_name(value):
    for method in ("rotary", "sinusoidal"):
        with pytest.raises(ValueError, match=r"model.position.theta \(.* must be"):
            run(f"model={method}", f"model.position.theta={value}")


def test_numbers_in_quotes_are_what_they_say():
    config, _ = run("seed='5'", "optimizer.lr='1e-3'", "train.eval_lengths=['8']")
    assert (config.seed, config.optimizer.lr, config.train.eval_lengths) == (5, 1e-3, [8])


def test_what_is_composed_can_be_read_again(tmp_path):
    """The largest seed; and what evaluation and resuming would refuse is refused before anything is trained."""
    config, _ = run(f"seed={2**53 - 1}", "run_dir='a \\'b: {c}'", "tracking.project=null-like")
    (tmp_path / "config.yaml").write_text(settings_text(stored := asdict(config)))
    assert read_settings(tmp_path / "config.yaml") == stored
    with pytest.raises(ValueError, match=rf"^seed \({2**53}\) must be a whole number below"):
        run(f"seed={2**53}")
    with pytest.raises(ValueError, match=r"run_dir \(.*checkpoints/x\) must not lie in a folder named checkpoints"):
        run("run_dir=somewhere/checkpoints/x")


def test_a_folder_whose_name_no_settings_can_hold(tmp_path, monkeypatch):
    (tmp_path / "${x}").mkdir()
    monkeypatch.chdir(tmp_path / "${x}")
    with pytest.raises(ValueError, match=r"cannot be stored with these settings: 'path: .* starts an interpolation"):
        run_from(composed("train", "device=cpu", "data=text", "data.path=text"))


@pytest.mark.parametrize(
    "name", ["run_dir", "data.path", "paths.outputs", "paths.cache", "train.resume", "runs", "eval.figure_dir"]
)
def test_a_tilde_is_the_home_folder_in_every_path(name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")

    def read(path):
        if name in ("runs", "eval.figure_dir"):
            value = evaluation_from(composed("evaluate", "device=cpu", f"{name}='{path}'"))
        else:
            value = run_from(composed("train", "device=cpu", f"{name}='{path}'"))[0]
        for part in name.split("."):
            value = getattr(value, part)
        return value

    assert [read("~/a b"), read("~"), read("/x/~/y")] == ["/home/me/a b", "/home/me", "/x/~/y"]
    assert read("~root/x") == str(Path("~root/x").expanduser())
    with pytest.raises(ValueError, match="~nobody-of-this-name/x starts with ~"):
        read("~nobody-of-this-name/x")


def test_a_tilde_in_lists_guests_yaml_and_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("ALIBI_CACHE", "~/prepared")
    command = evaluation_from(composed("evaluate", "device=cpu", "runs=['~/a*','hf:~/b',latest]"))
    assert command.runs == ["/home/me/a*", "hf:/home/me/b", "latest"]
    assert evaluation_from(composed("evaluate", "device=cpu", "runs='hf:~/b'")).runs == "hf:/home/me/b"
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\npaths:\n  outputs: ~/runs\n")
    config, folder = run(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert (folder.parent, config.paths.cache) == (Path("/home/me/runs"), "/home/me/prepared")

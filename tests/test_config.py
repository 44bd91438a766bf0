"""The real YAML files, composed as the entries compose them."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from alibi.config import CONFIGS, evaluation_from, register, run_from
from alibi.model import LanguageModel
from alibi.positions import Position

FOLDER = Path(CONFIGS)


def names(group):
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


def composed(entry, *overrides):
    register()
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose(entry, list(overrides))


def run(*overrides):
    return run_from(composed("train", "device=cpu", "data.path=null", *overrides))


def test_every_position_method_has_a_yaml_and_every_yaml_a_method():
    assert names("model") == sorted(Position.registry)
    for method in names("model"):
        config, folder = run(f"model={method}")
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

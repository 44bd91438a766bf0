"""eval.adapt: which rows it makes, where they lie, what they say, and that each is the adapted model's own number."""

import json

import numpy as np
import pytest
import torch
from evaluations import evaluate_checkpoint

from alibi.evaluation import EvaluationSettings, NatsSum, fitting, model_scorer, open_evaluation_text, score
from alibi.evaluation.adapted import truncated_scorer
from alibi.model import Adaptation, adapt
from alibi.results import load_result
from alibi.runs import Checkpoint, RunFolder
from alibi.training import train

CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(small_run, tmp_path) -> Checkpoint:
    """Rotary, trained at 16."""
    train(small_run("rotary", max_steps=2), tmp_path / "outputs" / "run")
    return Checkpoint(RunFolder(tmp_path / "outputs" / "run").last())


def evaluated(checkpoint, cache, **settings) -> dict[str, dict]:
    """The result files by the end of their names."""
    asked = EvaluationSettings(**{"lengths": [16, 64]} | settings)
    text = open_evaluation_text(checkpoint, checkpoint.data_config, asked, cache)
    paths = evaluate_checkpoint(checkpoint, text, asked, "fp32")
    return {path.stem.partition("validation-")[2]: json.loads(path.read_text()) for path in paths}


def test_one_command_makes_a_set_of_rows_for_each_adaptation(checkpoint, cache):
    wanted = [None, "pi", {"name": "yarn", "factor": 8}, {"name": "yarn", "beta_fast": 4}, "nope+temperature"]
    files = evaluated(checkpoint, cache, adapt=wanted)
    assert list(files)[:3] == ["nonoverlapping", "nonoverlapping-pi", "nonoverlapping-yarn-x8"]
    assert list(files)[3].startswith("nonoverlapping-yarn-")
    assert len(list(files)[3]) == len("nonoverlapping-yarn-") + 8
    assert list(files)[4] == "nonoverlapping-nope-temperature"
    plain, pi, fixed, _, nope = files.values()
    assert "adapt" not in plain
    assert pi["adapt"] == {"name": "pi", "factor": "max(1, length / 16)", "length": 16, "set": {}}
    assert fixed["adapt"]["factor"] == 8.0
    assert [row["adapt"]["factor"] for row in pi["rows"]] == [1.0, 4.0]
    assert [row["adapt"]["factor"] for row in fixed["rows"]] == [8.0, 8.0]
    assert nope["rows"][1]["adapt"]["temperature"] == pytest.approx(1 + 0.412 * np.log(4))
    assert pi["rows"][0]["nll_nats"] == plain["rows"][0]["nll_nats"], "at the training length nothing changes"
    assert len({content["rows"][1]["nll_nats"] for content in files.values()}) == 5


def test_rows_are_those_of_the_adapted_model(checkpoint, cache):
    [row] = evaluated(checkpoint, cache, adapt="yarn", lengths=[64], stride=8).popitem()[1]["rows"]
    text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), cache)
    model, total = adapt(checkpoint.load_model(), "yarn", 16, 64), NatsSum()
    for _ in score(text.tokens, 64, 8, model_scorer(model), [total], CPU, 1024):
        pass
    assert row["nll_nats"] == pytest.approx(total.nats, rel=1e-9)


def test_order_of_lengths_changes_nothing_and_the_cache_gives_the_same(checkpoint, cache, capsys):
    once = evaluated(checkpoint, cache, adapt="yarn", lengths=[64], max_tokens=300).popitem()[1]["rows"]
    after = evaluated(checkpoint, cache, adapt="yarn", lengths=[256, 64, 16], max_tokens=300).popitem()[1]["rows"]
    assert once[0]["nll_nats"] == next(row for row in after if row["length"] == 64)["nll_nats"]
    cached = evaluated(checkpoint, cache, adapt="yarn", lengths=[64], max_tokens=300, cached=True)
    assert list(cached) == [name for name in cached if name.endswith("-yarn-cached")]
    assert cached.popitem()[1]["rows"][0]["nll_nats"] == pytest.approx(once[0]["nll_nats"], rel=1e-6)
    [told] = [line for line in capsys.readouterr().out.splitlines() if "adapted by" in line]
    assert told.startswith("adapted by yarn for 64 tokens: factor 4, "), "fixed for the life of the cache"


def test_truncation_scores_the_same_targets_from_the_last_tokens_alone(checkpoint, cache):
    files = evaluated(checkpoint, cache, adapt=[None, "truncation"], lengths=[16, 64], stride=2)
    plain, truncated = ([row["nll_nats"] for row in content["rows"]] for content in files.values())
    assert truncated[0] == plain[0]
    assert truncated[1] == pytest.approx(plain[0], rel=1e-6), "a stride of L / 8 at L scores the same"
    assert plain[1] != pytest.approx(plain[0], rel=1e-4), "control"


@pytest.mark.parametrize(("inputs", "first"), [(40, 0), (40, 37), (5, 0), (16, 3), (17, 0)])
def test_a_truncated_window_shows_each_target_its_last_tokens(inputs, first):
    """Every target is scored once, from at most 16 inputs, and from 14 at least where the window has them."""
    seen = {}

    def scorer(ids, targets, begin):
        assert ids.shape[1] <= 16
        for place in range(targets.shape[1]):
            seen[int(targets[0, place])] = ids[0, : begin + place + 1].tolist()
        return targets.double()

    ids = torch.arange(inputs)[None]
    nats = truncated_scorer(scorer, 16)(ids, ids[:, first:] + 1, first)
    assert torch.equal(nats, (ids[:, first:] + 1).double())
    for target, context in seen.items():
        assert context == list(range(target - len(context), target))
        assert len(context) >= min(target, 14)


def test_what_does_not_fit_is_refused_or_left_out_with_a_line(checkpoint, capsys):
    asked = EvaluationSettings(adapt=[None, "slope_scaling", "yarn"])
    with pytest.raises(
        ValueError, match=r"^eval\.adapt for .*: slope_scaling does not fit rotary: it is for alibi, alibi_learned\.$"
    ):
        fitting(checkpoint, asked)
    assert fitting(checkpoint, asked, several=True) == [None, Adaptation("yarn")]
    assert capsys.readouterr().out == (
        f"{checkpoint.run}: left out: slope_scaling does not fit rotary: it is for alibi, alibi_learned.\n"
    )
    with pytest.raises(ValueError, match="does not fit"):
        fitting(checkpoint, EvaluationSettings(adapt="slope_scaling"), several=True)
    same = EvaluationSettings(adapt=["yarn", {"name": "yarn", "beta_slow": 1}])
    assert fitting(checkpoint, same) == [Adaptation("yarn")], "once"


@pytest.mark.parametrize("wrong", ["dynamic", [], [None, {"name": "yarn", "factor": 0.5}], {"name": "pi", "size": 3}])
def test_wrong_settings_are_refused_at_once(wrong):
    with pytest.raises(ValueError, match=r"^eval\.adapt"):
        EvaluationSettings(adapt=wrong)


def test_a_file_of_one_adaptation_takes_no_rows_of_another(checkpoint, cache):
    evaluated(checkpoint, cache, adapt=[None, "pi"])
    folder = checkpoint.run / "evaluation"
    plain, pi = (folder / f"step-00000002-wikitext2-validation-nonoverlapping{end}.json" for end in ("", "-pi"))
    assert load_result(pi).differs_from(load_result(plain)) == "another adaptation"
    pi.write_bytes(plain.read_bytes())
    with pytest.raises(ValueError, match="is of another adaptation, and rows of both cannot share a file"):
        evaluated(checkpoint, cache, adapt="pi")


def test_results_say_how_the_method_was_adapted(checkpoint, cache):
    evaluated(checkpoint, cache, adapt=[{"name": "yarn", "factor": 8}])
    [path] = (checkpoint.run / "evaluation").glob("*.json")
    result = load_result(path)
    assert (result.method, result.adaptation, result.measured.adapt) == ("rotary + yarn x8", "yarn x8", "yarn-x8")

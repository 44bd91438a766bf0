"""What a new model takes of an origin's weights, by names and shapes; and what an origin is in the name of a run."""

from dataclasses import asdict, replace

import pytest

from alibi.model import LanguageModel, ModelConfig
from alibi.runs import Origin, differences, run_name
from alibi.runs.checkpoint_files import wanted_shapes
from alibi.runs.origin import kept_weights
from alibi.training import RunConfig

SHAPE = {"num_layers": 3, "d_model": 16, "num_heads": 2}


def config_of(**settings) -> ModelConfig:
    return ModelConfig(**(SHAPE | settings))


def kept(new: ModelConfig, old: ModelConfig) -> dict[str, str]:
    shapes = [wanted_shapes(LanguageModel(config, 11, seed=0)) for config in (new, old)]
    return kept_weights(new, shapes[0], old, shapes[1])


def names(config: ModelConfig) -> set[str]:
    return set(wanted_shapes(LanguageModel(config, 11, seed=0)))


def of_position(found) -> set[str]:
    return {name for name in found if ".position" in name or "query_scale" in name}


def test_the_same_model_keeps_every_weight_under_its_name():
    for position in ({"name": "t5"}, {"name": "kerple_log"}, {"name": "none"}):
        config = config_of(position=position)
        assert kept(config, config) == {name: name for name in names(config)}


def test_another_method_starts_its_own_parameters_anew_and_leaves_the_others_behind():
    old, new = config_of(position={"name": "t5"}), config_of(position={"name": "kerple_log"})
    found = kept(new, old)
    assert of_position(found) == set()
    assert set(found) == names(new) - of_position(names(new))
    assert set(kept(config_of(position={"name": "none"}), old)) == names(config_of(position={"name": "none"}))


def test_a_shared_set_becomes_one_for_each_layer_but_not_the_other_way():
    shared, own = ({"name": "t5", "shared": one} for one in (True, False))
    found = kept(config_of(position=own), config_of(position=shared))
    [table] = of_position(names(config_of(position=shared)))
    assert {found[name] for name in of_position(found)} == {table}
    assert len(of_position(found)) == 3
    assert of_position(kept(config_of(position=shared), config_of(position=own))) == set()


def test_layers_of_a_pattern_take_what_the_same_layer_had():
    pattern = {
        "pattern": ["near", "far"],
        "layer_types": {"near": {"position": {"name": "kerple_log"}, "window": 4}, "far": {"position": "none"}},
    }
    found = kept(config_of(**pattern), config_of(position={"name": "kerple_log"}))
    taken = of_position(found)
    assert taken
    assert all(name == of for name, of in found.items())
    assert {name.split(".")[2] for name in taken} == {"0", "2"}, "layer 1 has no position now"
    shared = {"pattern": ["a", "b"], "layer_types": {"a": {"position": "t5"}, "b": {"position": "none"}}}
    assert of_position(kept(config_of(**shared), config_of(position={"name": "t5"}))) == of_position(
        names(config_of(**shared))
    )


def test_a_table_of_another_size_and_a_new_query_scale_start_anew():
    new = config_of(position={"name": "t5", "num_buckets": 8}, query_scale={"name": "ssmax", "length": 8})
    assert of_position(kept(new, config_of(position={"name": "t5"}))) == set()
    assert len(of_position(kept(new, new))) == 4


@pytest.mark.parametrize("change", [{"bias": True}, {"d_ff": 32}, {"tie_embeddings": False}])
def test_any_other_weight_must_be_there(change):
    new, old = config_of(), config_of(**change)
    for one, other in ((new, old), (old, new)):
        with pytest.raises(ValueError, match=r"train.init_from: .* is .* in the origin and .* in the new model; only"):
            kept(one, other)


def test_of_an_origin_only_its_weights_name_a_run(small_run):
    plain = asdict(small_run())
    assert plain["origin"] is None
    run, train = small_run(), small_run().train

    def of(path: str, *origin) -> RunConfig:
        return replace(run, train=replace(train, init_from=path), origin=Origin(*origin))

    here, there = of("/a/run", "run", "1" * 64, 3, 192), of("/b/other", "other", "1" * 64, 9, 1)
    others = of("/a/run", "run", "2" * 64, 3, 192)
    assert run_name(asdict(here)) == run_name(asdict(there)) != run_name(plain)
    assert run_name(asdict(others)) != run_name(asdict(here))
    with_moments = replace(here, train=replace(here.train, init_optimizer=True))
    assert run_name(asdict(with_moments)) != run_name(asdict(here))
    assert differences(asdict(here), asdict(others)) == [f"origin.sha256 is {'1' * 64} there and {'2' * 64} now"]

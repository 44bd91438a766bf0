import re
from dataclasses import asdict

from alibi.config import run_of
from alibi.runs import differences, group_name, run_name


def test_the_name_follows_the_contract(small_run):
    assert re.fullmatch(r"alibi-custom-wikitext2-L16-seed0-[0-9a-f]{8}", run_name(asdict(small_run())))


def test_only_what_changes_the_weights_changes_the_name(small_run):
    base = run_name(asdict(small_run()))
    for other in (
        small_run(micro_batch_tokens=64),
        small_run(eval_every=1, eval_lengths=[32], log_every=3, keep_last=1, checkpoint_every=1),
        small_run(resume=False, compile=True, skip_far_keys=False),
    ):
        assert run_name(asdict(other)) == base
    moved = small_run()
    moved.data.path, moved.device, moved.paths.outputs, moved.tracking.wandb = "/elsewhere", "cuda", "o", "online"
    assert run_name(asdict(moved)) == base
    for other in (small_run(max_steps=7), small_run(dropout=0.2), small_run(seed=1), small_run(batch_tokens=128)):
        assert run_name(asdict(other)) != base


def test_a_folder_of_text_is_known_by_its_path(small_run):
    one, other = small_run(), small_run()
    for config, path in ((one, "/a"), (other, "/b")):
        config.data.name, config.data.path = "text", path
    assert run_name(asdict(one)) != run_name(asdict(other))


def test_settings_of_later_date_leave_earlier_runs_as_they_were(small_run):
    now = asdict(small_run())
    earlier = now | {
        "model": {name: value for name, value in now["model"].items() if not name.startswith("adaptive_")},
        "optimizer": {name: value for name, value in now["optimizer"].items() if name != "momentum"},
    }
    assert earlier["model"].keys() < now["model"].keys()
    assert differences(earlier, now) == []
    assert run_name(earlier) == run_name(now)


def test_a_run_of_before_patterns_has_the_name_it_had():
    """The quick start's ALiBi, T5 and a rotary run, as version e4cde0b named and stored them."""
    for method, hashed in (("alibi", "683acfa6"), ("t5", "c9ff4471"), ("rotary", "82632550")):
        now = asdict(run_of([f"model={method}", "experiment=quickstart"]))
        assert run_name(now) == f"{method}-tiny-stdlib-L64-seed0-{hashed}"
        later = {"name", "window", "sink_tokens", "query_scale", "pattern", "layer_types"}
        position = {name: value for name, value in now["model"]["position"].items() if name != "shared"}
        kept = {name: value for name, value in now["model"].items() if name not in later}
        earlier = now | {"model": kept | {"position": position}}
        assert earlier["model"].keys() < now["model"].keys()
        assert run_name(earlier) == run_name(now)
        assert differences(earlier, now) == differences(earlier, now, weights_only=False) == []


def test_a_run_of_before_schedules_and_origins_has_the_name_it_had():
    now = asdict(run_of(["model=rotary", "experiment=quickstart"]))
    later = {"optimizer": {"schedule", "decay_steps"}, "train": {"init_from", "init_optimizer"}}
    earlier = {name: value for name, value in now.items() if name != "origin"}
    for part, names in later.items():
        assert names < now[part].keys()
        earlier[part] = {name: value for name, value in now[part].items() if name not in names}
    assert run_name(earlier) == run_name(now) == "rotary-tiny-stdlib-L64-seed0-82632550"
    assert differences(earlier, now) == differences(earlier, now, weights_only=False) == []
    for other in ("optimizer.schedule=wsd", "optimizer.schedule=constant"):
        assert run_name(asdict(run_of(["model=rotary", "experiment=quickstart", other]))) != run_name(now)


def test_a_pattern_has_its_own_name_and_a_switch_is_another_run():
    shape = ["size=tiny", "data=stdlib", "model.num_layers=4"]
    pattern = run_name(asdict(run_of(["model=rnope_swa", *shape])))
    assert re.fullmatch(r"rnope_swa-tiny-stdlib-L512-seed0-[0-9a-f]{8}", pattern)
    names = {pattern, run_name(asdict(run_of(["model=rnope_swa", "model.layer_types.local.window=9", *shape])))}
    plain = run_name(asdict(run_of(["model=alibi", *shape])))
    for switch in ("model.window=64", "model.query_scale.name=log_n"):
        names.add(run_name(asdict(run_of(["model=alibi", switch, *shape]))))
    assert len(names | {plain}) == 5
    named = run_name(asdict(run_of(["model=alibi", "model.name=mine", *shape])))
    assert named == plain.replace("alibi-", "mine-"), "a name is not hashed"


def test_differences_name_setting_and_both_values(small_run):
    assert differences(asdict(small_run()), asdict(small_run(micro_batch_tokens=64))) == []
    told = differences(asdict(small_run()), asdict(small_run("rotary", max_steps=9)))
    assert told == ["model.position.name is alibi there and rotary now", "train.max_steps is 6 there and 9 now"]


def test_differences_of_all_settings_leave_out_the_folder_alone(small_run):
    one, other = small_run(eval_lengths=[8]), small_run(eval_lengths=[32])
    one.run_dir, other.run_dir, other.tracking.group = "a", "b", "mine"
    told = differences(asdict(one), asdict(other), weights_only=False)
    assert told == ["tracking.group is null there and mine now", "train.eval_lengths is [8] there and [32] now"]


def test_names_hold_only_safe_characters(small_run):
    config = small_run()
    config.model.size = "../x y"
    assert re.fullmatch(r"[A-Za-z0-9._-]+", run_name(asdict(config)))


def test_a_group_is_the_seeds_of_one_setting_on_one_text(small_run):
    base = group_name(asdict(small_run()), "t")
    assert re.fullmatch(r"alibi-custom-wikitext2-L16-[0-9a-f]{8}", base)
    assert group_name(asdict(small_run(seed=1)), "t") == base
    others = [(small_run(max_steps=3), "t"), (small_run(), "u"), (small_run("rotary"), "t")]
    assert len({base, *(group_name(asdict(config), text) for config, text in others)}) == 4

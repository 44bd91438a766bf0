"""What the context is used for, from result files made by hand: two articles, whose means anybody can check."""

import numpy as np
import pytest
from result_files import as_result

from alibi.analysis import compare
from alibi.analysis.measures import against_training, context_use, copy_gain, repeat_nats
from alibi.analysis.statistics import interval, resampled_sums

L, FAR = 64, 256
TARGETS = [16, 48]  # unequal, so that the mean over articles is not the mean over tokens


def flat(nats):
    """Nats of two articles that have the same nats per token."""
    return [nats * n for n in TARGETS]


def entry(place, **groups):
    """A point of a measure: nats of each article by kind, and their sums."""
    groups = {f"{kind}group_nats": list(nats) for kind, nats in groups.items() if nats is not None}
    return place | {"targets": 64, **groups} | {k.replace("group", "nll"): sum(own) for k, own in groups.items()}


def point(n, true, swapped=None, masked=None):
    return entry({"n": n}, **{"": true, "swapped_": true if swapped is None else swapped, "masked_": masked})


def copied(distance, without, behind=(0.0, 0.0)):
    return entry({"distance": distance}, **{"": behind, "without_": without})


def of(measure, *points, targets=TARGETS, sha256="s"):
    """What the head of a file has of a measure, context or copy."""
    sample = {"segments": sum(targets) // 16, "group_targets": targets, "sha256": sha256}
    return {measure: list(points), f"{measure}_sample": sample}


def result(seed=0, step=800, adapt=None, protocol="nonoverlapping", told=True, **content):
    checkpoint = {"sha256": f"{seed} {step}", "step": step, "seq_len": L, "seed": seed, "settings": {"seed": seed}}
    checkpoint |= {"training": {"tokens": step * 4096}} if told else {}
    adapted = {"adapt": {"name": adapt, "factor": 4.0, "set": {}}} if adapt else {}
    name = "-".join(filter(None, [f"step-{step:08}-toy-test", protocol, adapt]))
    whole = {"checkpoint": checkpoint, "protocol": {"name": protocol}} | adapted | content
    return as_result(f"run-{seed}/evaluation/{name}.json", whole)


def part_of(*contents):
    """A line with a seed for each content."""
    [part] = compare([result(seed, **content) for seed, content in enumerate(contents)]).sets
    assert len(part.lines) == 1
    return part


def use_of(*points):
    """Of one line with a seed for each list of points."""
    [use] = context_use(part_of(*(of("context", *own) for own in points)))
    return use


def values(means):
    return {at: mean.value for at, mean in means.items()}


def test_nats_per_token_are_sums_over_articles_and_means_over_seeds():
    first = [point(L, [32, 144], masked=[64, 64]), point(FAR, [16, 144], [48, 192], [32, 96])]
    second = [point(L, [48, 112], masked=[96, 96]), point(FAR, [32, 96], [48, 144], [32, 32])]
    use = use_of(first, second)
    assert values(use.true) == {L: (176 + 160) / 2 / 64, FAR: (160 + 128) / 2 / 64}
    assert values(use.swapped) == {L: (176 + 160) / 2 / 64, FAR: (240 + 192) / 2 / 64}
    assert values(use.masked) == {L: (128 + 192) / 2 / 64, FAR: (128 + 64) / 2 / 64}
    over_articles = np.mean([[32 / 16, 144 / 48], [48 / 16, 112 / 48]])
    assert abs(use.true[L].value - over_articles) > 0.03, "control: articles that count alike"


def test_content_is_true_minus_swapped_and_length_swapped_minus_true_at_the_training_length():
    near, trained, *far = point(16, flat(3.5)), point(L, flat(3.0)), point(128, flat(2.75), flat(3.25))
    use = use_of([near, trained, *far, point(FAR, flat(4.0), flat(4.5))])
    assert values(use.content) == {128: -0.5, FAR: -0.5}, "beyond the training length alone"
    assert values(use.length) == {128: 0.25, FAR: 1.5}
    assert use.length[FAR].value != use.swapped[FAR].value - use.true[FAR].value, "control: length against true at n"
    use = use_of([near, *far])
    assert (values(use.content), use.length) == ({128: -0.5}, {}), "no point at the training length"


@pytest.mark.parametrize(
    ("nats", "used"),
    [
        ((3.1, 3.004, 3.0), L),
        ((3.1, 3.016, 3.0), FAR),
        ((3.004, 3.1, 3.0), 16),  # what lies between may be worse
        ((3.0, 3.5, 4.0), 16),
    ],
)
def test_used_is_the_least_n_within_a_hundredth_nat_of_the_best(nats, used):
    other = (3.5, 3.25, 3.0)
    for true, masked, want in ((nats, other, (used, FAR)), (other, nats, (FAR, used))):
        both = [(n, flat(a), flat(b)) for n, a, b in zip((16, L, FAR), true, masked, strict=True)]
        use = use_of([point(n, a, masked=b) for n, a, b in both])
        assert (use.used, use.used_masked) == want
        use = use_of([point(n, a) for n, a, _ in both])
        assert (use.used, use.masked, use.used_masked) == (want[0], {}, None), "nothing was masked"


@pytest.mark.parametrize(("beyond", "used"), [(None, None), (flat(1.0), FAR), (flat(3.5), 16)])
def test_masked_use_is_not_said_of_a_part_of_the_n(beyond, used):
    """Methods that know where the text begins are masked up to L alone: the best of those may not be the best."""
    points = [point(16, flat(3.0), masked=flat(3.0)), point(L, flat(2.0), masked=flat(3.0))]
    use = use_of([*points, point(FAR, flat(1.0), masked=beyond)])
    assert (use.used, use.used_masked) == (FAR, used)
    assert use.masked.keys() == {16, L, *([FAR] if beyond else [])}, "what was measured is shown"


def test_what_only_some_seeds_have_is_left_out():
    near = point(16, flat(3.0), masked=flat(4.0))
    second = [near, point(L, flat(2.0), masked=flat(2.0)), point(FAR, flat(1.0))]
    first = [near, point(L, flat(2.0))]
    for use in (use_of(first, second), use_of(second, first)):
        assert (values(use.true), values(use.masked)) == ({16: 3.0, L: 2.0}, {16: 4.0})
        assert (use.used, use.used_masked) == (L, None)


def noisy(articles, seed):
    """Articles that differ much, by the same at every n; beyond L the true ones are better, by seed a little other."""
    targets = [16 * (1 + g % 3) for g in range(articles)]
    swapped = targets * np.random.default_rng(0).normal(4, 1, articles)
    true = swapped - targets * np.random.default_rng([1, seed]).normal(0.05, 0.01, articles)
    return of("context", point(L, swapped), point(FAR, true, swapped), targets=targets)


def test_intervals_are_over_articles_all_seeds_and_both_sides_on_the_same_resamples():
    contents = [noisy(12, seed) for seed in range(3)]
    [use] = context_use(part_of(*contents))
    targets, far = contents[0]["context_sample"]["group_targets"], [one["context"][1] for one in contents]
    gaps = np.mean([np.subtract(one["group_nats"], one["swapped_group_nats"]) for one in far], axis=0)
    sums = resampled_sums(np.column_stack([gaps, targets]))
    low, high = use.content[FAR].interval
    assert (low, high) == pytest.approx(interval(sums[:, 0] / sums[:, 1], 12), rel=1e-9)
    assert low < use.content[FAR].value < high < 0
    unpaired = use.true[FAR].interval[1] - use.swapped[FAR].interval[0]
    assert unpaired > 0.5, "control: on other resamples the articles themselves would hide it"


@pytest.mark.parametrize(("articles", "known"), [(9, False), (10, True)])
def test_an_interval_needs_ten_articles(articles, known):
    [use] = context_use(part_of(noisy(articles, 0), noisy(articles, 1)))
    means = [use.true[L], use.swapped[FAR], use.content[FAR], use.length[FAR]]
    assert [mean.interval is not None for mean in means] == [known] * 4


@pytest.mark.parametrize(
    ("found", "measure", "one"), [(context_use, "context", point(L, flat(3.0))), (copy_gain, "copy", copied(L, [1, 3]))]
)
def test_a_line_is_left_out_unless_all_its_runs_have_the_same_segments(found, measure, one):
    own = of(measure, one)
    assert len(found(part_of(own, own))) == 1, "control: the same segments"
    assert found(part_of(own, of(measure, one, sha256="other"))) == []
    assert found(part_of(own, {})) == []


def test_the_gain_of_a_copy_is_the_nats_without_it_minus_those_behind_it():
    first = of("copy", copied(32, [16, 120], [8, 24]), copied(L, [64, 128], [32, 96]))
    second = of("copy", copied(32, flat(3.0), flat(0.5)), copied(L, flat(2.0)), copied(FAR, flat(0.25)))
    [gain], [other] = (copy_gain(part_of(*pair)) for pair in ((first, second), (second, first)))
    assert values(gain.gain) == values(other.gain) == {32: (104 / 64 + 2.5) / 2, L: (64 / 64 + 2.0) / 2}, (
        "distances that both seeds have"
    )
    over_articles = ((8 / 16 + 96 / 48) / 2 + 2.5) / 2
    assert abs(gain.gain[32].value - over_articles) > 0.1, "control: articles that count alike"


@pytest.mark.parametrize(("nats", "has_power"), [(0.0, False), (19.1, False), (19.2, True), (64.0, True)])
def test_power_is_a_gain_of_at_least_three_tenths_at_the_training_length(nats, has_power):
    """19.2 nats of 64 targets are 0.3 exactly."""
    elsewhere = [copied(d, flat(0.0 if has_power else 2.0)) for d in (32, FAR)]  # neither gives power nor takes it
    [gain] = copy_gain(part_of(of("copy", *elsewhere, copied(L, [0.0, nats]))))
    assert (gain.gain[L].value, gain.has_power) == (nats / 64, has_power)


NONE = ((0, 0.0), (0, 0.0))


def repeats(*seen, hidden=((0, 0.0),) * 4):
    """A row at each length: of each bucket (targets, nats) of two articles that are seen, and of all hidden."""
    targets, nats = ([[one[place] for one in bucket] for bucket in seen] for place in (0, 1))
    sums = {"targets": [sum(own) for own in targets], "nll_nats": [sum(own) for own in nats]}
    of_hidden = dict(zip(("hidden_targets", "hidden_nll_nats"), map(list, zip(*hidden, strict=True)), strict=True))
    return {"edges": [0, 32, L, 128, FAR], "group_targets": targets, "group_nats": nats} | sums | of_hidden


def rows(by_length):
    return {"rows": [{"length": n, "nll_nats": 300.0, "repeats": own} for n, own in by_length.items()]}


SHORT = repeats(((2, 4.0), (2, 8.0)), NONE, NONE, NONE, hidden=[(1, 9.0), (0, 0.0), (4, 20.0), (3, 15.0)])
LONGER = repeats(((2, 3.0), (2, 5.0)), NONE, ((1, 1.0), (3, 11.0)), NONE)


def test_repeats_beyond_the_training_length_are_set_beside_those_hidden_there():
    """At the longest length that all seeds have."""
    other = SHORT | {"hidden_nll_nats": [9.0, 0.0, 28.0, 15.0]}
    second = repeats(((2, 5.0), (2, 5.0)), NONE, ((1, 2.0), (3, 6.0)), NONE)
    longest = repeats(*[((1, 9.0), (1, 9.0))] * 4)
    [found] = repeat_nats(part_of(rows({L: SHORT, FAR: LONGER, 512: longest}), rows({L: other, FAR: second})))
    assert (found.length, found.targets) == (FAR, {32: 4, L: 0, 128: 4, FAR: 0})
    assert values(found.nats) == {32: (8 / 4 + 10 / 4) / 2, 128: (12 / 4 + 8 / 4) / 2}, "buckets with targets"
    assert found.hidden_more == {128: (20 / 4 + 28 / 4) / 2 - 2.5}, (
        "not of the bucket up to 32, though some were hidden"
    )
    over_articles = np.mean([[1, 11 / 3], [2, 6 / 3]])
    assert abs(found.nats[128].value - over_articles) > 0.1, "control: articles that count alike"


def test_repeats_are_set_beside_hidden_ones_if_there_are_any_at_the_training_length():
    none_hidden = repeats(((2, 4.0), (2, 8.0)), NONE, NONE, NONE)
    cases = ({FAR: LONGER}, {L: none_hidden, FAR: LONGER}, {L: SHORT, FAR: LONGER})
    gains = [repeat_nats(part_of(rows(own)))[0].hidden_more for own in cases]
    assert gains == [{}, {}, {128: 20 / 4 - 12 / 4}], "control: with them"


def test_a_line_whose_runs_share_no_length_with_repeats_is_left_out():
    short = rows({L: SHORT})
    assert len(repeat_nats(part_of(short, short))) == 1, "control"
    assert repeat_nats(part_of(short, {"rows": [{"length": L, "nll_nats": 300.0}]})) == []
    assert repeat_nats(part_of(short, rows({FAR: LONGER}))) == []


def in_training(gap, step, **about):
    """A checkpoint whose nats per token rise by `gap` from L to FAR."""
    curve = [point(16, flat(5.0)), point(L, flat(3.0)), point(FAR, flat(3.0 + gap))]
    return result(step=step, **of("context", *curve), **about)


def test_checkpoints_of_a_run_are_sorted_by_tokens():
    results = [in_training(1.5, 800), in_training(0.5, 400), in_training(9.0, 800, adapt="yarn")]
    results += [in_training(2.0, 800, seed=1), in_training(2.5, 400, seed=1, told=False)]
    [part] = compare(results).sets
    [points] = against_training(part).values()
    told = [(run.result.checkpoint.step, *rest) for run, *rest in points]
    assert told == [(400, 400 * 4096, 0.5), (800, 800 * 4096, 1.5)], (
        "no adapted result, no folder with one whose tokens are known"
    )
    [part] = compare([*results[:-1], in_training(2.5, 400, seed=1)]).sets
    assert len(against_training(part)) == 2, "control: a second checkpoint of the other run"


@pytest.mark.parametrize(("stride", "gaps"), [(L // 2, [[0.5, 1.5]]), (L, [])])
def test_without_a_context_sample_it_is_said_of_sliding_rows_alone(stride, gaps):
    results = []
    for step, gap in ((400, 0.5), (800, 1.5)):
        curve = [{"length": n, "stride": stride, "nll_nats": 100 * v} for n, v in ((L, 3.0), (FAR, 3.0 + gap))]
        results.append(result(step=step, protocol=f"stride-{stride}", rows=curve))
    found = against_training(compare(results).sets[0])
    assert [[gap for _, _, gap in points] for points in found.values()] == gaps


def test_checkpoints_are_compared_at_the_furthest_that_all_have():
    near = of("context", point(L, flat(3.0)), point(128, flat(3.5)))
    far = of("context", point(L, flat(3.0)), point(128, flat(3.5)), point(FAR, flat(4.0)))
    results = [result(step=400, **near), result(step=800, **far)]
    [gaps] = [[gap for *_, gap in own] for part in compare(results).sets for own in against_training(part).values()]
    assert gaps == pytest.approx([0.5, 0.5])


def test_of_a_copy_that_was_not_measured_at_the_training_length_power_is_not_known():
    [gain] = copy_gain(part_of(of("copy", copied(32, flat(2.0)))))
    assert gain.has_power is None

"""What the context is used for, from result files made by hand: two articles whose means are done in the head."""

import numpy as np
import pytest
from result_files import as_result

from alibi.analysis import compare
from alibi.analysis.measures import against_training, context_use, copy_gain, repeat_gain
from alibi.analysis.statistics import interval, resampled_sums

L, FAR = 64, 256
TARGETS = [16, 48]  # unequal, so that the mean over articles is not the mean over tokens


def flat(nats, targets=TARGETS):
    """Nats of each article that has the same nats per token as all others."""
    return [nats * n for n in targets]


def sample(targets=TARGETS, sha256="s"):
    return {"segments": sum(targets) // 16, "group_targets": targets, "sha256": sha256}


def point(n, true, swapped=None, masked=None):
    """A ContextPoint, of the nats of each article."""
    kinds = {"": true, "swapped_": true if swapped is None else swapped, "masked_": masked}
    groups = {f"{kind}group_nats": list(nats) for kind, nats in kinds.items() if nats is not None}
    return {"n": n, "targets": 64, **groups} | {name.replace("group", "nll"): sum(own) for name, own in groups.items()}


def of_context(points, **about):
    return {"context": points, "context_sample": sample(**about)}


def of_copy(gains, **about):
    """Gains in nats per token by distance, behind copies of 1 nat."""
    groups = {d: {"group_nats": flat(1.0), "without_group_nats": flat(1.0 + gain)} for d, gain in gains.items()}
    sums = {d: {name.replace("group", "nll"): sum(own) for name, own in of.items()} for d, of in groups.items()}
    points = [{"distance": d, "targets": 64} | groups[d] | sums[d] for d in gains]
    return {"copy": points, "copy_sample": sample(**about)}


def result(seed=0, step=800, adapt=None, protocol="nonoverlapping", folder=None, **content):
    checkpoint = {"sha256": f"{seed} {step}", "step": step, "seq_len": L, "seed": seed, "settings": {"seed": seed}}
    checkpoint |= {"training": {"tokens": step * 4096}}
    adapted = {"adapt": {"name": adapt, "factor": 4.0, "set": {}}} if adapt else {}
    name = "-".join(filter(None, [f"step-{step:08}-toy-test", protocol, adapt]))
    whole = {"checkpoint": checkpoint, "protocol": {"name": protocol}} | adapted | content
    return as_result(f"{folder or f'run-{seed}'}/evaluation/{name}.json", whole)


def part_of(*contents):
    """A line with a seed for each content."""
    [part] = compare([result(seed, **content) for seed, content in enumerate(contents)]).sets
    assert len(part.lines) == 1
    return part


def values(means):
    return {at: mean.value for at, mean in means.items()}


def test_nats_per_token_are_sums_over_articles_and_means_over_seeds():
    first = [point(L, [32, 144], masked=[64, 64]), point(FAR, [16, 144], [48, 192], [32, 96])]
    second = [point(L, [48, 112], masked=[96, 96]), point(FAR, [32, 96], [48, 144], [32, 32])]
    [use] = context_use(part_of(of_context(first), of_context(second)))
    assert values(use.true) == {L: (176 + 160) / 2 / 64, FAR: (160 + 128) / 2 / 64}
    assert values(use.swapped) == {L: (176 + 160) / 2 / 64, FAR: (240 + 192) / 2 / 64}
    assert values(use.masked) == {L: (128 + 192) / 2 / 64, FAR: (128 + 64) / 2 / 64}
    over_articles = np.mean([[32 / 16, 144 / 48], [48 / 16, 112 / 48]])
    assert abs(use.true[L].value - over_articles) > 0.03, "control: articles that count alike"


def test_content_is_true_minus_swapped_and_length_swapped_minus_true_at_the_training_length():
    points = [point(16, flat(3.5)), point(L, flat(3.0)), point(128, flat(2.75), flat(3.25))]
    [use] = context_use(part_of(of_context([*points, point(FAR, flat(4.0), flat(4.5))])))
    assert values(use.content) == {128: -0.5, FAR: -0.5}, "beyond the training length alone"
    assert values(use.length) == {128: 0.25, FAR: 1.5}
    for n in use.content:
        assert use.content[n].value + use.length[n].value == use.true[n].value - use.true[L].value
    against_itself = {n: use.swapped[n].value - use.true[n].value for n in use.length}
    assert values(use.length) != against_itself, "control: length against true at n"


def test_without_a_point_at_the_training_length_there_is_content_and_no_length():
    [use] = context_use(part_of(of_context([point(16, flat(3.0)), point(FAR, flat(2.0), flat(3.0))])))
    assert (values(use.content), use.length) == ({FAR: -1.0}, {})


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
        points = [point(n, flat(a), masked=flat(b)) for n, a, b in zip((16, L, FAR), true, masked, strict=True)]
        [use] = context_use(part_of(of_context(points)))
        assert (use.used, use.used_masked) == want


@pytest.mark.parametrize("beyond", [None, flat(1.0)])
def test_masked_use_is_said_of_all_n_or_of_none(beyond):
    """Methods that know where the text begins are masked up to L alone: what is best there may not be what is best."""
    points = [point(16, flat(3.0), masked=flat(3.0)), point(L, flat(2.0), masked=flat(3.0))]
    [use] = context_use(part_of(of_context([*points, point(FAR, flat(1.0), masked=beyond)])))
    assert use.used == FAR
    assert use.used_masked == (FAR if beyond else None), "16 is the best of those up to L"
    assert use.masked.keys() == ({16, L, FAR} if beyond else set())


def test_without_masked_entries_nothing_is_said_of_them():
    [use] = context_use(part_of(of_context([point(16, flat(3.0)), point(L, flat(3.0))])))
    assert (use.used, use.masked, use.used_masked) == (16, {}, None)


def test_only_n_that_all_seeds_have_are_averaged():
    points = [point(16, flat(3.0)), point(L, flat(2.0))]
    [use] = context_use(part_of(of_context(points), of_context([*points, point(FAR, flat(1.0))])))
    assert (values(use.true), use.used) == ({16: 3.0, L: 2.0}, L)


def noisy(articles, seed, content=0.0):
    """Articles that differ much, alike at every n, and at FAR a little more: by seed, and by `content`."""
    targets = [16 * (1 + g % 3) for g in range(articles)]
    level = np.random.default_rng(0).normal(4, 1, articles)
    own = np.random.default_rng([1, seed]).normal(0, 0.01, articles)
    swapped = targets * level
    return of_context([point(L, swapped), point(FAR, swapped + targets * (own + content), swapped)], targets=targets)


def test_intervals_are_over_articles_all_seeds_and_both_sides_on_the_same_resamples():
    contents = [noisy(12, seed, content=-0.05) for seed in range(3)]
    [use] = context_use(part_of(*contents))
    targets = np.array(contents[0]["context_sample"]["group_targets"])
    far = [one["context"][1] for one in contents]
    gaps = np.mean([np.subtract(one["group_nats"], one["swapped_group_nats"]) for one in far], axis=0)
    sums = resampled_sums(np.column_stack([gaps, targets]))
    assert use.content[FAR].interval == pytest.approx(interval(sums[:, 0] / sums[:, 1], 12), rel=1e-9)
    low, high = use.content[FAR].interval
    assert low < use.content[FAR].value < high < 0
    unpaired = use.true[FAR].interval[1] - use.swapped[FAR].interval[0]
    assert unpaired > 0.5, "control: on other resamples the articles themselves would hide it"


@pytest.mark.parametrize(("articles", "known"), [(9, False), (10, True)])
def test_an_interval_needs_ten_articles(articles, known):
    [use] = context_use(part_of(noisy(articles, 0), noisy(articles, 1)))
    means = [use.true[L], use.swapped[FAR], use.content[FAR], use.length[FAR]]
    assert [mean.interval is not None for mean in means] == [known] * 4


@pytest.mark.parametrize("measure", [(context_use, of_context, [point(L, flat(3.0))]), (copy_gain, of_copy, {L: 1.0})])
def test_a_line_is_left_out_unless_all_its_runs_have_the_same_segments(measure):
    found, content, points = measure
    assert len(found(part_of(content(points), content(points)))) == 1, "control: the same segments"
    assert found(part_of(content(points), content(points, sha256="other"))) == []
    assert found(part_of(content(points), {})) == []


def test_the_gain_of_a_copy_is_the_nats_without_it_minus_those_behind_it():
    first, second = of_copy({32: 2.0, L: 1.0}), of_copy({32: 2.5, L: 2.0, FAR: 0.25})
    first["copy"][0] |= {"group_nats": [8, 24], "without_group_nats": [16, 120], "without_nll_nats": 136}
    [gain] = copy_gain(part_of(first, second))
    assert values(gain.gain) == {32: (104 / 64 + 2.5) / 2, L: 1.5}, "distances that both seeds have"
    over_articles = ((8 / 16 + 96 / 48) / 2 + 2.5) / 2
    assert abs(gain.gain[32].value - over_articles) > 0.1, "control: articles that count alike"


@pytest.mark.parametrize(("nats", "has_power"), [(0.0, False), (18.8, False), (19.2, True), (64.0, True)])
def test_a_model_has_power_from_a_gain_of_three_tenths_at_the_training_length_on(nats, has_power):
    """19.2 nats of 64 targets are 0.3 exactly."""
    content = of_copy({32: 2.0, L: 0.0, FAR: 2.0})  # gains elsewhere give no power
    content["copy"][1] |= {"group_nats": [0.0, 0.0], "without_group_nats": [0.0, nats]}
    [gain] = copy_gain(part_of(content))
    assert (gain.gain[L].value, gain.has_power) == (nats / 64, has_power)


def repeats(seen, hidden):
    """Edges 0, 32, 64, 128, 256; of each bucket (targets, nats) of two articles that are seen, and of all hidden."""
    targets, nats = ([[one[place] for one in bucket] for bucket in seen] for place in (0, 1))
    sums = {"targets": [sum(own) for own in targets], "nll_nats": [float(sum(own)) for own in nats]}
    groups = {"group_targets": targets, "group_nats": nats}
    of_hidden = {"hidden_targets": [n for n, _ in hidden], "hidden_nll_nats": [float(own) for _, own in hidden]}
    return {"edges": [0, 32, L, 128, FAR]} | sums | groups | of_hidden


NONE = ((0, 0.0), (0, 0.0))
SHORT = repeats([((2, 4.0), (2, 8.0)), NONE, NONE, NONE], [(1, 9), (0, 0), (4, 20), (3, 15)])


def with_repeats(**by_length):
    rows = [{"length": int(n[1:]), "nll_nats": 300.0, "repeats": own} for n, own in by_length.items()]
    return {"rows": rows}


def test_repeats_are_of_the_longest_length_that_all_seeds_have_and_gain_against_those_hidden_at_the_training_length():
    first = repeats([((2, 3.0), (2, 5.0)), NONE, ((1, 1.0), (3, 11.0)), NONE], [(0, 0)] * 4)
    second = repeats([((2, 5.0), (2, 5.0)), NONE, ((1, 2.0), (3, 6.0)), NONE], [(0, 0)] * 4)
    other = repeats([((2, 4.0), (2, 8.0)), NONE, NONE, NONE], [(1, 9), (0, 0), (4, 28), (3, 15)])
    longer = repeats([((1, 9.0), (1, 9.0))] * 4, [(0, 0)] * 4)
    part = part_of(with_repeats(n64=SHORT, n256=first, n512=longer), with_repeats(n64=other, n256=second))
    [found] = repeat_gain(part)
    assert (found.length, found.targets) == (FAR, {32: 4, L: 0, 128: 4, FAR: 0})
    assert values(found.nats) == {32: (8 / 4 + 10 / 4) / 2, 128: (12 / 4 + 8 / 4) / 2}, "buckets with targets"
    assert found.gain == {128: (20 / 4 + 28 / 4) / 2 - 2.5}, "beyond the training length, where there are targets"
    assert values(found.nats)[128] != (1 + 11 / 3 + 2 + 6 / 3) / 4, "control: articles that count alike"


def test_without_a_row_at_the_training_length_there_are_nats_and_no_gain():
    longer = repeats([NONE, NONE, ((1, 1.0), (1, 1.0)), NONE], [(0, 0)] * 4)
    [found] = repeat_gain(part_of(with_repeats(n256=longer)))
    assert (values(found.nats), found.gain) == ({128: 1.0}, {})
    [found] = repeat_gain(part_of(with_repeats(n64=SHORT, n256=longer)))
    assert found.gain == {128: 20 / 4 - 1.0}, "control: with it"


def test_a_line_of_which_a_run_has_no_repeats_is_left_out():
    assert len(repeat_gain(part_of(with_repeats(n64=SHORT), with_repeats(n64=SHORT)))) == 1
    without = {"rows": [{"length": L, "nll_nats": 300.0}]}
    assert repeat_gain(part_of(with_repeats(n64=SHORT), without)) == []
    assert repeat_gain(part_of(with_repeats(n64=SHORT), with_repeats(n256=SHORT))) == [], "no length in common"


def in_training(gap, step, **about):
    """A checkpoint whose nats per token rise by `gap` from L to FAR."""
    rising = of_context([point(16, flat(5.0)), point(L, flat(3.0)), point(FAR, flat(3.0 + gap))])
    return result(step=step, **(rising | about))


def test_checkpoints_of_a_run_are_sorted_by_tokens():
    results = [in_training(1.5, 800), in_training(0.5, 400), in_training(9.0, 800, adapt="yarn")]
    results += [in_training(2.0, 800, seed=1), in_training(2.0, 800, seed=2, folder="run-2")]
    [part] = compare(results).sets
    assert len(part.runs) == 5
    [points] = against_training(part).values()
    assert [(run.result.checkpoint.step, *rest) for run, *rest in points] == [
        (400, 400 * 4096, 0.5),
        (800, 800 * 4096, 1.5),
    ], "no adapted result, and no folder with a single checkpoint"
    more = compare([*results, in_training(2.5, 400, seed=1)]).sets[0]
    assert len(against_training(more)) == 2, "control: a second checkpoint of another run"


@pytest.mark.parametrize(("stride", "known"), [(L // 2, True), (L, False)])
def test_without_a_context_sample_it_is_said_of_sliding_rows_alone(stride, known):
    def rows(gap):
        return [{"length": n, "stride": stride, "nll_nats": 100 * nats} for n, nats in ((L, 3.0), (FAR, 3.0 + gap))]

    results = [result(step=step, protocol=f"stride-{stride}", rows=rows(gap)) for step, gap in ((400, 0.5), (800, 1.5))]
    found = against_training(compare(results).sets[0])
    assert [[gap for _, _, gap in points] for points in found.values()] == ([[0.5, 1.5]] if known else [])

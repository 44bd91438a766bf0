"""Adapted lines against truncation and against the method itself, with Holm's correction."""

import math

import numpy as np
import pytest
from result_files import as_result

from alibi.analysis import compare
from alibi.analysis.judged import TRUNCATION, judged
from alibi.analysis.statistics import interval, resampled_sums

ITSELF = "the method itself"
GROUPS = 30
TOKENS = np.full(GROUPS, 100)
# What nats per token a group has on top of the text's own, by adaptation and length.
EFFECTS = {None: {64: 0.0, 256: 0.5}, "truncation": {64: 0.0, 256: 0.0}, "yarn": {64: 0.0, 256: 0.02}}
EFFECTS |= {"pi": {64: 0.0, 256: 0.3}, "ntk": {64: 0.0, 256: 0.0005}}


def result(adapt: str | None, seed: int, protocol: str = "stride-16", lengths=(64, 256)):
    """A run of rotary trained at 64, whose groups differ alike for all of its results."""
    text = np.random.default_rng(0).normal(4, 0.5, GROUPS)
    noise = np.random.default_rng([seed, sum(map(ord, adapt or ""))]).normal(0, 0.01, GROUPS)
    rows = []
    for length in lengths:
        nats = TOKENS * (text + 0.01 * seed + EFFECTS[adapt][length] + (noise if length > 64 else 0))
        rows.append({"length": length, "group_nats": nats.tolist()})
    content = {
        "checkpoint": {"sha256": f"weights {seed}", "model": "rotary", "seq_len": 64, "seed": seed}
        | {"settings": {"seed": seed}, "training": {"text_sha256": "t"}},
        "data": {"tokens": int(TOKENS.sum()), "words": 2000, "bytes": 9000},
        "protocol": {"name": protocol},
        "groups": {"kind": "blocks", "tokens": TOKENS.tolist(), "words": [66] * GROUPS, "bytes": [300] * GROUPS},
        "rows": rows,
    }
    if adapt:
        content["adapt"] = {"name": adapt, "factor": "max(1, length / 64)", "set": {}}
    name = "-".join(filter(None, ["step-00000001-toy-test", protocol, adapt]))
    return as_result(f"run-{seed}/evaluation/{name}.json", content)


def part_of(adapts, seeds=(0, 1, 2), **values):
    [part] = compare([result(adapt, seed, **values) for adapt in adapts for seed in seeds]).sets
    return part


def by_name(part, baseline):
    return {one.line.first.adaptation: one.lengths for one in judged(part, baseline)}


def test_an_adapted_line_stands_beside_the_method_itself():
    part = part_of([None, "yarn"])
    assert [line.label for line in part.lines] == ["rotary L=64", "rotary + yarn L=64"]
    assert [len(line.runs) for line in part.lines] == [3, 3]
    assert part.runs[3].label == "rotary + yarn L=64 seed 0"
    assert part.runs[3].short == "rotary + yarn"


def test_a_set_is_named_after_none_of_its_adaptations():
    assert part_of([None, "yarn"]).slug == part_of(["yarn", "pi"]).slug == "toy-test-stride-16"


@pytest.mark.parametrize(("baseline", "against"), [(TRUNCATION, "truncation"), (ITSELF, None)])
def test_the_ratio_is_that_of_the_mean_nats_over_seeds(baseline, against):
    part = part_of(EFFECTS)
    found = by_name(part, baseline)
    assert found.keys() == {"yarn", "pi", "ntk"}
    assert found["yarn"].keys() == {256}, "at the training length nothing is adapted"

    def nats(adapt):
        return np.mean([result(adapt, seed).scored[256]["nll_nats"] / TOKENS.sum() for seed in range(3)])

    assert math.log(found["yarn"][256].value) == pytest.approx(nats("yarn") - nats(against), rel=1e-9)
    other = math.log(found["yarn"][256].value) - (nats("yarn") - nats("pi"))
    assert abs(other) > 1e-3, "control: another baseline"


def test_intervals_are_holms_over_the_adaptations_of_a_line():
    """The clearest difference has the widest level, 1 - 0.05 / 3, the least clear one the plain 95 %."""
    part, seeds = part_of(EFFECTS), range(3)
    found = by_name(part, TRUNCATION)
    for adapt, level in {"pi": 1 - 0.05 / 3, "yarn": 1 - 0.05 / 2, "ntk": 0.95}.items():
        gaps = np.mean(
            [
                np.subtract(*(result(one, seed).scored[256]["group_nats"] for one in (adapt, "truncation")))
                for seed in seeds
            ],
            axis=0,
        )
        sums = resampled_sums(np.column_stack([gaps, TOKENS]).astype(float))
        low, high = np.exp(interval(sums[:, 0] / sums[:, 1], GROUPS, level))
        assert found[adapt][256].interval == pytest.approx([low, high], rel=1e-9)
        uncorrected = np.exp(interval(sums[:, 0] / sums[:, 1], GROUPS))
        assert (high - low > uncorrected[1] - uncorrected[0]) == (level > 0.95)
    alone = by_name(part_of([None, "truncation", "pi"]), TRUNCATION)["pi"][256].interval
    assert alone[1] - alone[0] < np.diff(found["pi"][256].interval)[0], "one adaptation alone needs no correction"


def test_without_results_of_truncation_a_sliding_row_at_the_training_length_stands_for_it():
    found = by_name(part_of([None, "yarn"]), TRUNCATION)
    want = np.mean(
        [
            (result("yarn", seed).scored[256]["nll_nats"] - result(None, seed).scored[64]["nll_nats"]) / TOKENS.sum()
            for seed in range(3)
        ]
    )
    assert math.log(found["yarn"][256].value) == pytest.approx(want, rel=1e-9)
    assert by_name(part_of([None, "yarn"], protocol="nonoverlapping"), TRUNCATION) == {}
    assert by_name(part_of([None, "yarn"], lengths=(256,)), TRUNCATION) == {}, "no row at the training length"


def test_without_a_baseline_nothing_is_judged():
    assert by_name(part_of(["yarn", "pi"]), ITSELF) == {}
    assert by_name(part_of([None, "truncation"]), TRUNCATION) == {}

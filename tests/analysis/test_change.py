"""Sources whose truth is known: what the context curve and the split in two must say of them.

The source repeats the symbol d steps back with probability 1 - e, and else draws one at random. A
perfect model of it that sees at least d tokens gives h(d) nats, and log V where it sees fewer:
everything below follows in closed form from the contexts of the targets.
"""

import math

import numpy as np
import pytest
import torch
from result_files import as_result

from alibi.analysis.change import split_change
from alibi.data.windows import windows
from alibi.evaluation import score
from alibi.evaluation.sums import ContextSums, Groups, GroupSums

CPU = torch.device("cpu")
V, NOISE, TOKENS = 8, 0.1, 12_000
TRAINED, LONGER = 32, 128


def repeating_source(distance: int) -> np.ndarray:
    """Symbols 1 to V (0 is end-of-text), each the one `distance` steps back but for some noise."""
    draw = np.random.default_rng(distance)
    ids = draw.integers(1, V + 1, TOKENS)
    for t in range(distance, TOKENS):
        if draw.random() > NOISE:
            ids[t] = ids[t - distance]
    return ids


def perfect_model(distance: int):
    """Nats of a model that knows the source and uses the symbol `distance` steps back wherever it is in sight."""

    def scorer(inputs, targets, first):
        p = torch.full(targets.shape, 1 / V, dtype=torch.float64)
        for column in range(targets.shape[1]):
            back = first + column + 1 - distance
            if back >= 0:
                again = (inputs[:, back] == targets[:, column]).double()
                known = inputs[:, back] > 0
                p[:, column] = torch.where(known, NOISE / V + (1 - NOISE) * again, torch.tensor(1 / V).double())
        return -p.log()

    return scorer


def evaluated(stream, scorer, lengths, stride):
    """A result, as far as the split needs one."""
    sizes = np.full((TOKENS // 500, 3), 500)
    rows, curves = [], {}
    for length in lengths:
        groups, curves[length] = GroupSums(Groups("documents", sizes)), ContextSums(length)
        for _ in score(stream, length, stride or length, scorer, [groups, curves[length]], CPU, 8192):
            pass
        rows.append({"length": length, "stride": stride or length, "group_nats": groups.nats.tolist()})
    counts = dict.fromkeys(("tokens", "words", "bytes"), sizes[:, 0].tolist())
    totals = {unit: sum(values) for unit, values in counts.items()}
    content = {"checkpoint": {"seq_len": TRAINED}, "data": totals, "groups": counts, "rows": rows}
    return as_result("run/evaluation/x.json", content), curves


def known_nats(ids: np.ndarray, distance: int) -> np.ndarray:
    """Nats of each target where the symbol `distance` steps back is seen, by brute force."""
    return np.array(
        [
            -math.log(NOISE / V + (1 - NOISE) * (ids[t] == ids[t - distance])) if t >= distance else math.log(V)
            for t in range(len(ids))
        ]
    )


def expected_mean(known: np.ndarray, distance: int, length: int, stride: int) -> float:
    """Window by window: the source's own nats where the context reaches `distance`, log V elsewhere."""
    total = 0.0
    for w in windows(TOKENS, length, stride):
        for t in range(w.first, w.stop):
            total += known[t] if t - w.start + 1 >= distance else math.log(V)
    return total / TOKENS


@pytest.mark.parametrize("distance", [50, 100, 120])
def test_the_context_curve_drops_where_the_source_looks_back_and_not_before(make_stream, distance):
    ids = repeating_source(distance)
    _, curves = evaluated(make_stream(ids), perfect_model(distance), [LONGER], None)
    curve = curves[LONGER]
    ends = curve.up_to.tolist()
    means = dict(zip(ends, curve.nats / curve.targets, strict=True))
    entropy = -math.log(1 - NOISE + NOISE / V)  # of the likeliest symbol; the mean is near 0.5 nats
    above = max((n for n in ends if n < distance), default=0)
    for up_to, mean in means.items():
        if up_to < distance:
            assert mean == pytest.approx(math.log(V), rel=1e-12), f"context {up_to} does not reach {distance}"
        elif up_to > min(n for n in ends if n >= distance):
            assert entropy < mean < 0.9, f"context {up_to} reaches {distance}"
        else:
            assert mean < math.log(V) - 1e-3 or up_to - above > 1


@pytest.mark.parametrize("distance", [4, 16, 50, 100])
def test_the_split_says_context_only_of_a_source_with_long_memory(make_stream, distance):
    ids = repeating_source(distance)
    stream, scorer, stride = make_stream(ids), perfect_model(distance), TRAINED // 8
    plain, _ = evaluated(stream, scorer, [TRAINED, LONGER], None)
    sliding, _ = evaluated(stream, scorer, [TRAINED, LONGER], stride)
    change, reason = split_change(plain, sliding)
    assert reason is None
    told = change.lengths[1]
    known = known_nats(ids, distance)
    n, s = ({m: expected_mean(known, distance, m, step or m) for m in (TRAINED, LONGER)} for step in (None, stride))
    assert told.whole == pytest.approx(n[LONGER] - n[TRAINED], abs=1e-9)
    assert told.longer_context == pytest.approx(s[LONGER] - s[TRAINED], abs=1e-9)
    assert told.early_tokens == pytest.approx(told.whole - told.longer_context, abs=1e-12)
    low, high = told.interval["longer_context"]
    if distance > TRAINED:
        # Nothing is in sight at L, all of it past the first windows at L': only longer context explains it.
        gain = math.log(V) - known[LONGER:].mean()
        assert told.longer_context == pytest.approx(-gain, abs=0.02)
        assert high < -1
        assert told.early_tokens > 0.1, "windows of L' still begin blind, which those of s do not"
    else:
        assert abs(told.longer_context) < 1e-3, "sliding sees all there is at L already"
        assert told.early_tokens == pytest.approx(told.whole, abs=1e-3)
        assert told.early_tokens < -0.1
        assert abs(low) < 0.01
        assert abs(high) < 0.01


def test_documents_weigh_by_their_tokens():
    """If the nats of a short document halve, the mean over the text moves by its share of the tokens."""

    def scored(rows):
        groups = {unit: [100, 900] for unit in ("tokens", "words", "bytes")}
        rows = [{"length": n, "stride": 4, "group_nats": list(nats)} for n, nats in rows.items()]
        return as_result("x.json", {"checkpoint": {"seq_len": TRAINED}, "groups": groups, "rows": rows})

    plain = scored({TRAINED: (400.0, 1800.0), LONGER: (200.0, 1800.0)})
    sliding = scored({TRAINED: (300.0, 1800.0), LONGER: (200.0, 1800.0)})
    told = split_change(plain, sliding)[0].lengths[1]
    assert [told.whole, told.longer_context, told.early_tokens] == pytest.approx([-0.2, -0.1, -0.1])


def test_a_coarse_stride_would_leave_early_tokens_in_both_parts(make_stream):
    """Why the stride is at most an eighth: with no memory beyond L at all, half of L would claim context."""
    distance = 20
    stream, scorer = make_stream(repeating_source(distance)), perfect_model(distance)
    plain, _ = evaluated(stream, scorer, [TRAINED, LONGER], None)
    coarse, _ = evaluated(stream, scorer, [TRAINED, LONGER], TRAINED // 2)
    change, reason = split_change(plain, coarse)
    assert change is None
    assert "use eval.stride=[null,4]" in reason
    means = [sum(row["group_nats"]) / TOKENS for row in coarse.rows.values()]
    assert means[1] - means[0] < -0.1, "control: what it would have called longer context"

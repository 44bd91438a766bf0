import numpy as np
import pytest
import torch

from alibi.data.windows import window_batches, windows
from alibi.evaluation.sums import ContextSums, context_bins


def test_bins_are_exact_up_to_64_and_shared_by_all_lengths():
    assert context_bins(10).tolist() == list(range(1, 11))
    bins = context_bins(4096)
    assert bins[:64].tolist() == list(range(1, 65))
    assert {128, 256, 512, 1024, 2048, 4096} <= set(bins)
    assert (np.diff(bins) > 0).all()
    assert set(context_bins(1024)) <= set(bins)
    assert context_bins(100)[-1] == 100


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (8, 8), (100, 100), (200, 13), (300, 1), (5000, 5000)])
def test_every_target_counts_once_under_its_own_context(length, stride):
    num_tokens = 333
    sums, expected = ContextSums(min(length, num_tokens)), {}
    for batch in window_batches(num_tokens, length, stride, 500):
        contexts = [[t - w.start + 1 for t in range(w.first, w.stop)] for w in batch]
        sums.add(batch, 2.0 + 1.0 / torch.tensor(contexts, dtype=torch.float64))
    for w in windows(num_tokens, length, stride):
        for t in range(w.first, w.stop):
            context = t - w.start + 1
            bin_ = min(n for n in sums.up_to.tolist() if n >= context)
            expected.setdefault(bin_, []).append(2.0 + 1.0 / context)
    assert sums.targets.sum() == num_tokens
    for up_to, targets, nats in zip(sums.up_to.tolist(), sums.targets, sums.nats, strict=True):
        assert targets == len(expected.get(up_to, []))
        assert nats == pytest.approx(sum(expected.get(up_to, [])), rel=1e-12)

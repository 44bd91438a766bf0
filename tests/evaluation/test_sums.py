import math

import pytest
import torch

from alibi.evaluation import NatsSum, bits_per_byte, perplexity


def test_nats_are_added_in_float64():
    total = NatsSum()
    for _ in range(1000):
        total.add([], torch.full((1, 1000), 0.1, dtype=torch.float32))
    exact = 1e6 * float(torch.tensor(0.1))
    assert total.nats == pytest.approx(exact, rel=1e-12)
    in_float32 = torch.zeros(())
    for _ in range(1000):
        in_float32 += torch.full((1000,), 0.1).sum()
    assert in_float32.item() != pytest.approx(exact, rel=1e-9), "control: float32 sums are not that good"


def test_perplexity_and_bits_per_byte():
    assert perplexity(10 * math.log(7), 10) == pytest.approx(7)
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2)


@pytest.mark.parametrize(("nats", "reason"), [(7100.0, "above the largest float64"), (float("nan"), "nan")])
def test_what_is_no_number_says_why(nats, reason):
    with pytest.raises(OverflowError, match=reason):
        perplexity(nats, 10)

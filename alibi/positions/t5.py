"""T5's relative bias: a learned number per head and bucket of distance.

    score_hij = query_i . key_j / sqrt(head_dim) + table[bucket(i - j), h]

Causal buckets: distances 0 .. n/2 - 1 exactly, then n/2 logarithmic ones up to `max_distance`,
which all longer distances share. An encoder spends half of its buckets on later keys. One table is
shared by all layers, or with `shared: false` each layer has its own, as KERPLE's and CABLE's comparisons run it.

Source: Raffel et al., arXiv 1910.10683, section 2.1; initialised as theirs, N(0, 1/d_model).
Deviation: the 1/sqrt(head_dim) scaling is kept (T5 has none), so that methods differ in position only.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alibi.positions.base import DistanceBias, Position


def t5_bucket(distance: Tensor, num_buckets: int, max_distance: int, causal: bool) -> Tensor:
    """Bucket of a signed distance (query minus key); later keys share bucket 0 where `causal`.

    Args:
        distance: integers of any shape.

    Returns:
        int64 of the same shape, in [0, num_buckets).
    """
    offset = torch.zeros_like(distance)
    if causal:
        distance = distance.clamp(min=0)
    else:
        num_buckets //= 2
        offset = (distance < 0) * num_buckets
        distance = distance.abs()
    exact = num_buckets // 2
    # float64, and clamped from below so that the logarithm of an exact distance is never taken.
    ratio = (distance.clamp(min=exact).double() / exact).log() / math.log(max_distance / exact)
    logarithmic = (exact + (ratio * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return offset + torch.where(distance < exact, distance, logarithmic)


@dataclass(frozen=True)
class BucketBias(DistanceBias):
    table: Tensor  # (num_buckets, H)
    max_distance: int
    causal: bool

    @property
    def constant_from(self) -> int | None:
        return self.max_distance if self.causal else None  # an encoder has a last bucket on either side

    def at(self, distance: Tensor) -> Tensor:
        bucket = t5_bucket(distance, self.table.shape[0], self.max_distance, self.causal)
        # Not table[bucket]: the gradient of indexing adds in no fixed order on several CPU threads.
        return nn.functional.embedding(bucket, self.table).movedim(-1, 0)


class T5Bias(Position, name="t5"):
    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            num_buckets: rows of the table, a multiple of 4.
            max_distance: distances from here on share the last bucket.
            shared: one table for all layers; None: true, as in T5.
        """

        num_buckets: int = 32
        max_distance: int = 128
        shared: bool | None = None

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        num_buckets, most = self.settings.num_buckets, self.settings.max_distance
        least = 4 if self.causal else 8
        if num_buckets % 4 or num_buckets < least:
            raise ValueError(f"num_buckets ({num_buckets}) must be a multiple of 4 and at least {least}; T5 uses 32.")
        exact = num_buckets // (2 if self.causal else 4)
        if most <= exact:
            raise ValueError(
                f"max_distance ({most}) must be above the {exact} distances that have a bucket each (num_buckets is "
                f"{num_buckets}); T5 uses 128."
            )
        self.table = nn.Parameter(torch.empty(num_buckets, self.num_heads))

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.table, std=self.d_model**-0.5, generator=generator)

    def bias(self) -> BucketBias:
        return BucketBias(self.table, self.settings.max_distance, self.causal)

"""A scale on the query that grows with the number of keys it sees, so that attention does not flatten over them.

    score_hij = factor_h(n_i) * query_i . key_j / sqrt(head_dim) + bias, n_i the number of keys query i sees

    log_n    max(1, ln n / ln length)                      nothing learned; 1 up to the length
    ssmax    s_h ln n                                      s learned for each head and layer
    llama4   1 + beta ln(1 + floor(n / length))            nothing learned

Enters attention as one more turn of the query. The bias is not scaled.

Source: log_n: Su, as in Qwen. ssmax: Nakanishi, "Scalable-Softmax Is Superior for Attention", arXiv 2501.19399.
llama4: Meta's Llama 4, with beta 0.1 and 8192 for the length. Deviations: s starts at 1 / ln length, which leaves the
last row of a training window as it is; the authors' s starts elsewhere and learned 0.43 on average.
"""

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from alibi.settings import check_kinds

SCALES = ("log_n", "ssmax", "llama4")


@dataclass
class QueryScaleConfig:
    """
    Attributes:
        name: log_n, ssmax or llama4; None: no scale.
        length: for log_n and llama4 the length up to which little changes, for ssmax the one where it starts as plain
            softmax; None: the training length.
        beta: of llama4; None: 0.1.
        init: of ssmax, the initial s; None: 1 / ln length.
    """

    name: str | None = None
    length: int | None = None
    beta: float | None = None
    init: float | None = None

    def check(self, key: str) -> None:
        """
        Raises:
            ValueError: a value of the wrong type or out of range, or one that this scale would ignore.
        """
        check_kinds(self, f"{key}.")
        if self.name not in (None, *SCALES):
            raise ValueError(f"{key}.name ({self.name!r}) must be one of: {', '.join(SCALES)}; null has none.")
        if self.name is None and self != QueryScaleConfig():
            raise ValueError(f"{key} ({asdict(self)}) would be ignored without {key}.name: {', '.join(SCALES)}.")
        for name, of in (("beta", "llama4"), ("init", "ssmax")):
            value = getattr(self, name)
            if value is not None and self.name != of:
                raise ValueError(f"{key}.{name} ({value}) would be ignored by {self.name}; remove it.")
            if value is not None and not value > 0:
                raise ValueError(f"{key}.{name} ({value}) must be above 0.")
        if self.length is not None and self.init is not None:
            raise ValueError(f"{key}.length ({self.length}) would be ignored with init ({self.init}); remove one.")
        if self.length is not None and self.length < 2:
            raise ValueError(f"{key}.length ({self.length}) must be at least 2: its logarithm is a divisor.")

    def with_length(self, seq_len: int) -> "QueryScaleConfig":
        """The same scale with the training length where it needs one and has none."""
        fits = self.name is not None and self.length is None and self.init is None
        return replace(self, length=seq_len) if fits else self


class QueryScale(nn.Module):
    """
    Raises:
        ValueError: no length, where the scale needs one.
    """

    def __init__(self, config: QueryScaleConfig, num_heads: int) -> None:
        super().__init__()
        if config.length is None and config.init is None:
            raise ValueError(f"model.query_scale.length must be given for {config.name}, such as the training length.")
        self.config = config
        self.s_H = nn.Parameter(torch.empty(num_heads)) if config.name == "ssmax" else None

    def initialise(self) -> None:
        if self.s_H is not None:
            init = self.config.init
            nn.init.constant_(self.s_H, 1 / math.log(self.config.length) if init is None else init)

    def forward(self, q_BHLK: Tensor, keys_BHL: Tensor) -> Tensor:
        """The queries, scaled.

        Args:
            keys_BHL: (1 or B, 1 or H, L): how many keys each query sees.
        """
        n, length = keys_BHL.double(), self.config.length
        if self.config.name == "log_n":
            factor = (n.log() / math.log(length)).clamp(min=1.0)
        elif self.config.name == "llama4":
            factor = 1 + (0.1 if self.config.beta is None else self.config.beta) * (n / length).floor().log1p()
        else:
            factor = self.s_H[:, None] * n.log()
        wide = torch.promote_types(q_BHLK.dtype, torch.float32)
        return (q_BHLK * factor[..., None].to(wide)).to(q_BHLK.dtype)

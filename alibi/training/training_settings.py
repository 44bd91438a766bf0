"""What `train.py` can be told: everything that makes a run, and how it is carried out."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alibi.data import DataConfig, TokenizerConfig
from alibi.model import ModelConfig, check_kinds
from alibi.paths import expanded
from alibi.tracking import TrackingConfig
from alibi.training.optimizer import OptimizerConfig


@dataclass
class TrainSettings:
    """
    Attributes:
        seq_len: tokens of a training sequence.
        batch_tokens: tokens of one optimizer update, over all processes.
        micro_batch_tokens: tokens of one forward and backward pass; None chooses what fits.
        max_steps: optimizer updates.
        eval_every: updates between validations.
        eval_lengths: validate at these lengths too, each time.
        checkpoint_every: updates between checkpoints.
        keep_last: how many of the newest checkpoints stay, beside the best.
        log_every: updates between lines of metrics.jsonl.
        resume: auto, false, or the path of a checkpoint.
        max_hours: after which a run stops, with a checkpoint, as by SIGTERM; None for no limit.
        skip_nonfinite: how many updates of the run may be left out as their loss or gradient is not finite.
        compile: torch.compile.
        parallel: how several processes share a model: ddp, each has the whole, or fsdp, each has a part.
        skip_far_keys: leave out keys whose weights a linear bias puts below rounding; False visits all.
    """

    seq_len: int = 512
    batch_tokens: int = 32768
    micro_batch_tokens: int | None = None
    max_steps: int = 10000
    eval_every: int = 1000
    eval_lengths: list[int] = field(default_factory=list)
    checkpoint_every: int = 1000
    keep_last: int = 2
    log_every: int = 1
    resume: Any = "auto"
    max_hours: float | None = None
    skip_nonfinite: int = 0
    compile: bool = False
    parallel: str = "ddp"
    skip_far_keys: bool = True

    def __post_init__(self) -> None:
        check_kinds(self, "train.")
        names = ("seq_len", "batch_tokens", "max_steps", "eval_every", "checkpoint_every", "keep_last", "log_every")
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} ({getattr(self, name)}) must be at least 1.")
        if self.max_hours is not None and not self.max_hours > 0:
            raise ValueError(f"train.max_hours ({self.max_hours}) must be above 0, or null for no limit.")
        if self.skip_nonfinite < 0:
            raise ValueError(f"train.skip_nonfinite ({self.skip_nonfinite}) must be at least 0.")
        if any(length < 1 for length in self.eval_lengths):
            raise ValueError(f"train.eval_lengths ({self.eval_lengths}) must each be at least 1.")
        if self.batch_tokens % self.seq_len:
            fitting = max(1, round(self.batch_tokens / self.seq_len)) * self.seq_len
            raise ValueError(
                f"train.batch_tokens ({self.batch_tokens}) must be a multiple of train.seq_len ({self.seq_len}); "
                f"use {fitting}."
            )
        micro = self.micro_batch_tokens
        if micro is not None and (micro < 1 or micro % self.seq_len or self.batch_tokens % micro):
            raise ValueError(
                f"train.micro_batch_tokens ({micro}) must be a multiple of train.seq_len ({self.seq_len}) that divides "
                f"train.batch_tokens ({self.batch_tokens}); use {self._nearest_micro_batch(micro)}, or null."
            )
        if self.parallel not in ("ddp", "fsdp"):
            raise ValueError(f"train.parallel ({self.parallel}) must be ddp or fsdp.")
        if isinstance(self.resume, bool):
            self.resume = "auto" if self.resume else "false"
        if not isinstance(self.resume, str):
            raise ValueError(f"train.resume ({self.resume}) must be auto, false or the path of a checkpoint.")

    def _nearest_micro_batch(self, near: int) -> int:
        blocks = self.batch_tokens // self.seq_len
        divisors = (d for d in range(1, blocks + 1) if blocks % d == 0)
        return min((d * self.seq_len for d in divisors), key=lambda tokens: abs(tokens - near))


def default_cache() -> str:
    """ALIBI_CACHE, else .cache beside the code."""
    return expanded(os.environ.get("ALIBI_CACHE", "")) or str(Path(__file__).parents[2] / ".cache")


@dataclass
class PathsConfig:
    """
    Attributes:
        outputs: run folders, and the pointer `latest`.
        cache: tokenizers and token files.
    """

    outputs: str = "outputs"
    cache: str | None = None

    def __post_init__(self) -> None:
        self.cache = self.cache or default_cache()


@dataclass
class RunConfig:
    """A whole run. `run_dir` None means a name made of the settings, below paths.outputs."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainSettings = field(default_factory=TrainSettings)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    run_dir: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_kinds(self)
        if self.seed < 0:
            raise ValueError(f"seed ({self.seed}) must be at least 0.")

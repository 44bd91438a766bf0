"""The settings of `train.py`."""

from dataclasses import dataclass, field
from typing import Any

from alibi.data import DataConfig, TokenizerConfig
from alibi.data.tasks import task_of
from alibi.model import ModelConfig, nearest_divisor, shift_invariant
from alibi.paths import PathsConfig
from alibi.runs import Origin
from alibi.settings import check_kinds
from alibi.tracking import TrackingConfig
from alibi.training.optimizer import OptimizerConfig


@dataclass
class TrainSettings:
    """
    Attributes:
        seq_len: tokens of a training sequence.
        batch_tokens: tokens of one optimizer update, over all processes.
        micro_batch_tokens: tokens of one forward and backward pass; None: what fits.
        max_steps: optimizer updates.
        eval_every: updates between validations.
        eval_lengths: further lengths of each validation.
        checkpoint_every: updates between checkpoints.
        keep_last: number of newest checkpoints kept, besides the best.
        log_every: updates between lines of metrics.jsonl.
        resume: auto, false, or the path of a checkpoint.
        init_from: a run folder (its last checkpoint) or a checkpoint whose weights a new run starts from.
        init_optimizer: with init_from: take the optimizer's moments and the place in the data, too.
        stop_at: of a task: end the run at the first validation whose exact match is at least this; None: at max_steps.
        random_offset: each training sequence starts at a position drawn from 0 to this, for methods that know where a
            text begins; None: at 0.
        max_hours: stop the run with a checkpoint after this time, as SIGTERM does; None: no limit.
        skip_nonfinite: how many updates with a non-finite loss or gradient may be skipped.
        compile: use torch.compile.
        parallel: ddp (each process has the whole model) or fsdp (each has a part of it).
        skip_far_keys: skip keys whose attention weights a linear bias pushes below rounding; False visits all.
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
    init_from: str | None = None
    init_optimizer: bool = False
    stop_at: float | None = None
    random_offset: int | None = None
    max_hours: float | None = None
    skip_nonfinite: int = 0
    compile: bool = False
    parallel: str = "ddp"
    skip_far_keys: bool = True

    def __post_init__(self) -> None:
        check_kinds(self, "train.")
        names = ("seq_len", "batch_tokens", "max_steps", "eval_every", "checkpoint_every", "keep_last", "log_every")
        for name in names:
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("max_hours", self.max_hours is None or self.max_hours > 0, "above 0, or null for no limit")
        self._check("stop_at", self.stop_at is None or 0 < self.stop_at <= 1, "above 0 and at most 1, or null")
        self._check(
            "random_offset", self.random_offset is None or self.random_offset >= 1, "at least 1, or null for none"
        )
        self._check("skip_nonfinite", self.skip_nonfinite >= 0, "at least 0")
        self._check("eval_lengths", all(length >= 1 for length in self.eval_lengths), "a list of lengths of at least 1")
        self._check("parallel", self.parallel in ("ddp", "fsdp"), "ddp or fsdp")
        blocks, left = divmod(self.batch_tokens, self.seq_len)
        nearest = max(1, round(self.batch_tokens / self.seq_len)) * self.seq_len
        self._check("batch_tokens", not left, f"a multiple of train.seq_len ({self.seq_len}); use {nearest}")
        if (micro := self.micro_batch_tokens) is not None:
            fits = micro >= 1 and not micro % self.seq_len and not self.batch_tokens % micro
            use = self.seq_len * nearest_divisor(blocks, round(micro / self.seq_len))
            rule = f"a multiple of train.seq_len and a divisor of train.batch_tokens; use {use}, or null"
            self._check("micro_batch_tokens", fits, rule)
        if isinstance(self.resume, bool):
            self.resume = "auto" if self.resume else "false"
        self._check("init_from", self.init_from != "", "a run folder or a checkpoint, or null")
        self._check("resume", isinstance(self.resume, str), "auto, false or the path of a checkpoint")
        if self.init_from is not None and self.resume not in ("auto", "false"):
            raise ValueError(
                f"train.init_from ({self.init_from}) and train.resume ({self.resume}) are two sources of weights; give "
                "train.init_from for a new run, or train.resume to go on with one."
            )
        if self.init_optimizer and self.init_from is None:
            raise ValueError("train.init_optimizer (True) would be ignored without train.init_from; remove it.")

    def _check(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"train.{name} ({getattr(self, name)}) must be {rule}.")


@dataclass
class RunConfig:
    """All settings of a run.

    Attributes:
        origin: the checkpoint that train.init_from names, filled in from it.
        run_dir: None: a folder in paths.outputs, named after the settings.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainSettings = field(default_factory=TrainSettings)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    origin: Origin | None = None
    run_dir: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_kinds(self)
        self.model.fill_in_length(self.train.seq_len)
        for kind, layer in self.model.layers():
            if layer.positions_in_cache:
                key = f"model.layer_types.{kind}" if kind else "model"
                why = "is for evaluation alone, as eval.adapt=sink"
                raise ValueError(f"{key}.positions_in_cache {why}; remove it, and keep window and sink_tokens.")
        self._check_task()
        offset = self.train.random_offset
        if offset is not None and shift_invariant(self.model):
            why = f"would be ignored: {self.model.method} does not know where a text begins"
            raise ValueError(f"train.random_offset ({offset}) {why}; remove it.")
        if (self.origin is None) != (self.train.init_from is None):
            raise ValueError(f"origin ({self.origin}) must be that of train.init_from ({self.train.init_from}).")
        if self.seed < 0:
            raise ValueError(f"seed ({self.seed}) must be at least 0.")

    def _check_task(self) -> None:
        stop_at, tokenizer = self.train.stop_at, self.tokenizer
        if not self.data.is_task:
            if stop_at is not None:
                raise ValueError(
                    f"train.stop_at ({stop_at}) would be ignored by {self.data.name}, which is no task; remove it."
                )
            return
        task_of(self.data.name, self.data.task, self.train.seq_len)
        if tokenizer != TokenizerConfig("word"):
            raise ValueError(
                f"data={self.data.name} has symbols of its own; give tokenizer=word, and no other setting of it."
            )

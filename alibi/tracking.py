"""Metrics out: metrics.jsonl, which is the truth, and wandb, which may fail and never stops a run.

A leaf: imports nothing of this project.
"""

import json
import os
import secrets
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

MODES = ("offline", "online", "disabled")


@dataclass
class TrackingConfig:
    """
    Attributes:
        wandb: offline, online or disabled.
        project: wandb's project.
        group: wandb's group; None groups by position method.
    """

    wandb: str = "offline"
    project: str = "alibi"
    group: str | None = None

    def __post_init__(self) -> None:
        if self.wandb not in MODES:
            raise ValueError(f"tracking.wandb ({self.wandb}) must be one of: {', '.join(MODES)}.")


def progress_bar(total: int, unit: str, done: int = 0, title: str | None = None, leave=True, show=True) -> tqdm:
    """A bar on a terminal; elsewhere, a line every half minute, so that a log stays a log."""
    seconds = 0.1 if sys.stderr.isatty() else 30.0
    scale = total >= 10_000
    return tqdm(
        total=total, initial=done, unit=unit, unit_scale=scale, desc=title, leave=leave, disable=not show,
        mininterval=seconds, maxinterval=2 * seconds,
    )  # fmt: skip


class MetricsFile:
    """metrics.jsonl, one object a line.

    Args:
        path: of the file.
        last_step: lines of later steps, and a line cut short, are dropped: the run goes on from there.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        kept = [line for line in read_metrics(path) if line["step"] <= last_step]
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(beside, path)
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115, closed by close()

    def log(self, line: dict) -> None:
        self.file.write(json.dumps(line, allow_nan=False) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def read_metrics(path: Path) -> list[dict]:
    """Lines of a metrics.jsonl, a last one cut short left out; none where there is no file.

    Raises:
        ValueError: a line that is no line of metrics.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    metrics = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            continue
        try:
            metrics.append(json.loads(line))
            _ = metrics[-1]["step"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is no line of metrics; move the file away.") from error
    return metrics


class Wandb:
    """A wandb run that gives up, once and with a warning, at its first failure.

    Args:
        config: tracking settings.
        folder: the run folder; wandb's own files go to its folder `wandb`.
        run_id: of a run to go on with, or None for a new one.
        run_config: the run's whole configuration.
        group: of the run where the settings name none.
    """

    def __init__(self, config: TrackingConfig, folder: Path, run_id: str | None, run_config: dict, group: str) -> None:
        self.run, self.id = None, run_id
        if config.wandb == "disabled":
            return

        def begin() -> None:
            import wandb

            self.id = run_id or secrets.token_hex(4)
            self.run = wandb.init(
                project=config.project,
                group=config.group or group,
                name=folder.name,
                id=self.id,
                resume="allow",
                dir=folder,
                mode=config.wandb,
                config=run_config,
                settings=wandb.Settings(silent=True, console="off", init_timeout=30),
            )
            for pattern, x_axis in (("train/*", "train/tokens"), ("val/*", "train/tokens"), ("perf/*", "train/tokens")):
                self.run.define_metric(pattern, step_metric=x_axis)
            self.run.define_metric("eval/*", step_metric="eval/length")

        self._try(begin)

    def log(self, metrics: dict) -> None:
        """Values by name; their x axis is one of them (train/tokens, eval/length)."""
        self._try(lambda: self.run.log(metrics))

    def log_image(self, name: str, path: Path) -> None:
        def send() -> None:
            import wandb

            self.run.log({name: wandb.Image(str(path))})

        self._try(send)

    def close(self) -> None:
        self._try(lambda: self.run.finish())
        self.run = None

    def _try(self, action: Callable[[], None]) -> None:
        starting = action.__name__ == "begin"
        if self.run is None and not starting:
            return
        try:
            action()
        except Exception as error:
            self.run = None
            reason = str(error).splitlines()[0] if str(error) else ""
            warnings.warn(
                f"wandb failed and is left out from here on ({type(error).__name__}: {reason}); metrics.jsonl goes on.",
                stacklevel=2,
            )

"""Metrics out: metrics.jsonl, which is the truth, and wandb, which may fail and never stops a run.

A leaf: imports nothing of this project but other leaves.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from alibi.faults import hold
from alibi.metrics_file import MetricsFile as MetricsFile
from alibi.metrics_file import read_metrics as read_metrics
from alibi.wandb_run import Notes, first_line, mark_sent, open_run

MODES = ("offline", "online", "disabled")
TOKENS, LENGTH = "train/tokens", "eval/length"
# wandb's pattern is a prefix: eval/* holds eval/wikitext2-test-stride-256/perplexity as well.
X_AXES = {"train/*": TOKENS, "val/*": TOKENS, "perf/*": TOKENS, "eval/*": LENGTH}
NO_CURVE = {"length", "stride", "scored_tokens"}  # the axis, and what is the same in every row
ROWS_SENT = "rows-sent.json"


@dataclass
class TrackingConfig:
    """
    Attributes:
        wandb: offline, online or disabled; WANDB_MODE, WANDB_PROJECT and the like are not read.
        project: wandb's project.
        group: wandb's group; None groups runs that differ in their seed alone.
    """

    wandb: str = "offline"
    project: str = "alibi"
    group: str | None = None

    def __post_init__(self) -> None:
        if self.wandb not in MODES:
            raise ValueError(f"tracking.wandb ({self.wandb}) must be one of: {', '.join(MODES)}.")


class Wandb:
    """A wandb run that never stops the training: what fails becomes one warning.

    Nothing that was sent can be taken back, and a chart wants an x axis that does not go back. So a run
    that goes on does not send again what an earlier process sent.

    Args:
        config: tracking settings.
        folder: the run folder; wandb's own files go to its folder `wandb`.
        run_id: of a run to go on with, or None for a new one.
        run_config: the run's whole configuration, and facts beside it.
        group: of the run where the settings name none.
        earlier: lines of metrics that earlier processes of this wandb run logged.
        resend: no other process may be at work on this wandb run, so what they could not send is sent first.

    Attributes:
        id: of the wandb run.
        mode: that of the settings; offline from where the server did not take what it was sent.
    """

    def __init__(
        self,
        config: TrackingConfig,
        folder: Path,
        run_id: str | None,
        run_config: dict,
        group: str,
        earlier: Sequence[dict] = (),
        resend: bool = True,
    ) -> None:
        self.run, self.id, self.mode, self.folder = None, run_id, config.wandb, folder / "wandb"
        self.sent_tokens, self.lowest, self.notes = 0, {}, Notes()
        for line in earlier if run_id else ():
            self.sent_tokens = max(self.sent_tokens, line.get("tokens", 0))
            self._note_lowest(line)
        if config.wandb == "disabled":
            return

        def begin() -> None:
            own, described = run_id or self._id_of_rows(), {"project": config.project, "config": run_config}
            self.run = open_run(config.wandb, folder, own, resend, self.notes, group=config.group or group, **described)
            self.id = self.run.id
            for axis in (TOKENS, LENGTH):
                self.run.define_metric(axis, hidden=True)  # else a chart of the axis over itself
            for pattern, axis in X_AXES.items():
                # The lowest validation is set in log_step: wandb's own minimum begins anew in each process.
                summary = "none" if pattern == "val/*" else None
                self.run.define_metric(pattern, step_metric=axis, summary=summary)

        self._try(begin)

    def log(self, metrics: dict) -> None:
        """Values by name; their x axis is one of them (train/tokens, eval/length)."""
        self._try(lambda: self.run.log(metrics))

    def log_step(self, line: dict) -> None:
        """A line of metrics.jsonl, over train/tokens; in the summary, val/* is the lowest of the run so far."""
        if line["tokens"] <= self.sent_tokens:
            return
        self.sent_tokens = line["tokens"]
        self.log({TOKENS if name == "tokens" else name: value for name, value in line.items() if name != "step"})
        if lowest := self._note_lowest(line):
            self._try(lambda: self.run.summary.update(lowest))

    def log_rows(self, results: Mapping[str, Sequence[dict]]) -> None:
        """Rows of result files as curves over eval/length: eval/<what was measured>/<name of the number>.

        One point of the axis a length, shortest first, for all that was measured; rows with an error and
        what is no finite number are left out, and rows that an earlier process of this run sent. The
        summary has the perplexity at each length, perplexity_512, for columns in the table of runs.

        Args:
            results: by what was measured (wikitext2-test-stride-256), rows with `length` and numbers.
        """

        def send() -> None:
            with hold(self.folder / f".{ROWS_SENT}.lock"):  # another evaluation of the run may end at the same time
                self._send_rows(results)

        self._try(send)

    def _send_rows(self, results: Mapping[str, Sequence[dict]]) -> None:
        sent, points, summary = self._rows_sent(), {}, {}
        for measured, rows in results.items():
            for row in rows:
                key = [self.id, measured, row["length"], row.get("nll_nats")]
                if "error" in row or key in sent:
                    continue
                sent.append(key)
                values = {f"eval/{measured}/{name}": value for name, value in curve_values(row).items()}
                points.setdefault(row["length"], {}).update(values)
                if "perplexity" in row:
                    summary[f"eval/{measured}/perplexity_{row['length']}"] = row["perplexity"]
        for length, values in sorted(points.items()):
            for name in values:
                self.run.define_metric(name, step_metric=LENGTH)
            self.run.log({LENGTH: length, **values})
        if points:
            self.run.summary.update(summary)
            (self.folder / ROWS_SENT).write_text(json.dumps(sent))

    def _rows_sent(self) -> list[list]:
        """[wandb id, what was measured, length, nats] of each row that was sent."""
        with suppress(OSError, ValueError, TypeError):  # none yet; a damaged file costs points drawn twice
            return list(json.loads((self.folder / ROWS_SENT).read_text()))
        return []

    def _id_of_rows(self) -> str | None:
        """Of an earlier evaluation, where training had no wandb."""
        rows = self._rows_sent()
        return str(rows[-1][0]) if rows and isinstance(rows[-1], list) else None

    def log_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
        """A table of strings, numbers and None; what is NaN or infinite is empty in it."""

        def send() -> None:
            import wandb

            data = [[None if _no_number(value) else value for value in row] for row in rows]
            self.run.log({name: wandb.Table(columns=list(columns), data=data)})

        self._try(send)

    def log_image(self, name: str, path: Path) -> None:
        def send() -> None:
            import wandb

            self.run.log({name: wandb.Image(str(path))})

        self._try(send)

    def close(self) -> None:
        """End the run; a server that does not answer is waited for no longer than half a minute."""
        self._try(lambda: self.run.finish())
        if self.run is not None and self.mode == "online":
            mark_sent(self.run)
        self.run = None

    def _note_lowest(self, line: dict) -> dict[str, float]:
        """The lowest so far of each val/ value that the line has."""
        values = {name: value for name, value in line.items() if name.startswith("val/")}
        self.lowest |= {name: min(value, self.lowest.get(name, value)) for name, value in values.items()}
        return {name: self.lowest[name] for name in values}

    def _try(self, action: Callable[[], object]) -> None:
        starting = action.__name__ == "begin"
        if self.run is None and not starting:
            return
        try:
            action()
        except Exception as error:
            self.run, self.mode = None, "offline"
            self._warn(f"failed and is left out from here on ({first_line(error)})")
        if (lost := self.notes.lost()) and self.mode == "online":
            self.mode = "offline"
            self._warn(f"failed to send the run ({lost})")

    def _warn(self, what: str) -> None:
        parts = f"{self.folder}/*run-*"
        warnings.warn(
            f"wandb {what}; metrics.jsonl goes on. To send what wandb recorded: wandb sync --include-online {parts}",
            stacklevel=5,
        )


def curve_values(row: dict) -> dict[str, float]:
    """The finite numbers of a row of results that can change with the length; lists and texts are no curves."""
    numbers = {name: value for name, value in row.items() if type(value) in (int, float) and not _no_number(value)}
    return {name: value for name, value in numbers.items() if name not in NO_CURVE}


def _no_number(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)

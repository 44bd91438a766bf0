"""metrics.jsonl, the log of a run; and metrics, results and figures sent to wandb, whose failures never stop a run."""

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from alibi.files import hold, naming, one_line, write_atomically
from alibi.wandb_run import Notes, mark_sent, open_run

MODES = ("offline", "online", "disabled")
TOKENS, LENGTH = "train/tokens", "eval/length"
# wandb matches by prefix: eval/* covers eval/wikitext2-test-stride-256/perplexity too.
X_AXES = {"train/*": TOKENS, "val/*": TOKENS, "perf/*": TOKENS, "eval/*": LENGTH}
NO_CURVE = {"length", "stride", "scored_tokens"}  # the x axis, and numbers that are the same in every row
ROWS_SENT = "rows-sent.json"


@dataclass
class TrackingConfig:
    """
    Attributes:
        wandb: offline, online or disabled. WANDB_MODE, WANDB_PROJECT and the like are not read.
        project: wandb's project.
        group: wandb's group; None groups runs that differ only in their seed.
    """

    wandb: str = "offline"
    project: str = "alibi"
    group: str | None = None

    def __post_init__(self) -> None:
        if self.wandb not in MODES:
            raise ValueError(f"tracking.wandb ({self.wandb}) must be one of: {', '.join(MODES)}.")


class MetricsFile:
    """metrics.jsonl, one JSON object per line.

    Args:
        path: of the file.
        last_step: the run continues from this step; later lines, and a line cut short, are dropped.
        source: the file to take earlier lines from, if it is another one.

    Attributes:
        earlier: all lines that were there, the dropped ones too.
    """

    def __init__(self, path: Path, last_step: int, source: Path | None = None) -> None:
        self.earlier = read_metrics(source or path)
        kept = [json.dumps(line) + "\n" for line in self.earlier if line["step"] <= last_step]
        write_atomically(path, "".join(kept))
        self.path, self.file = path, open(path, "ab", buffering=0)  # noqa: SIM115, closed by close()

    def log(self, line: dict) -> None:
        """Append a line; if the disk is full, no part of it stays.

        Raises:
            OSError: naming the file.
        """
        data, size = (json.dumps(line, allow_nan=False) + "\n").encode(), os.fstat(self.file.fileno()).st_size
        try:
            with naming(self.path):
                while data:
                    data = data[self.file.write(data) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.file.fileno(), size)
            raise

    def sync(self) -> None:
        """Flush all lines to the disk."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl, without a last one that was cut short; none if there is no file.

    Raises:
        ValueError: a line is not valid.
    """
    metrics = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1] if path.exists() else (), start=1):
        try:
            metrics.append(json.loads(line))
            if "step" not in metrics[-1]:
                raise ValueError("it has no step")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is not a line of metrics; move the file away.") from error
    return metrics


class Wandb:
    """A wandb run. An error of wandb becomes one warning and turns it off.

    What was sent cannot be taken back, and the x axis of a chart must not go back, so a resumed run does
    not send again what an earlier process sent.

    Args:
        config: tracking settings.
        folder: the run folder; wandb's own files go to its subfolder `wandb`.
        run_id: of the wandb run to continue, or None for a new one.
        run_config: the run's configuration, and facts derived from it.
        group: wandb's group, unless the settings name one.
        earlier: lines of metrics that earlier processes of this wandb run logged.
        resend: first send what earlier processes could not send; no other process may be writing this wandb run.

    Attributes:
        id: of the wandb run.
        mode: tracking.wandb; offline once the server did not accept what was sent.
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
        self.on, self.id, self.mode, self.folder = config.wandb != "disabled", run_id, config.wandb, folder / "wandb"
        self.sent_tokens, self.lowest, self.notes = 0, {}, Notes()
        more = {"project": config.project, "group": config.group or group, "config": run_config}

        def begin() -> None:
            for line in earlier if run_id else ():
                self.sent_tokens = max(self.sent_tokens, line.get("tokens", 0))
                self._note_lowest(line)
            # A run that was trained without wandb goes on in the wandb run of its earlier evaluation.
            own_id = run_id or next((row[0] for row in reversed(self._rows_sent())), None)
            self.run = open_run(config.wandb, folder, own_id, resend, self.notes, **more)
            self.id = self.run.id
            for axis in (TOKENS, LENGTH):
                self.run.define_metric(axis, hidden=True)  # else wandb draws the axis over itself
            for pattern, axis in X_AXES.items():
                # log_step sets the minimum of val/* itself: wandb's own starts anew in each process.
                summary = "none" if pattern == "val/*" else None
                self.run.define_metric(pattern, step_metric=axis, summary=summary)

        self._send(begin)

    def log_step(self, line: dict) -> None:
        """Log a line of metrics.jsonl over train/tokens; the summary of val/* is the minimum of the whole run."""
        if line["tokens"] <= self.sent_tokens:
            return
        self.sent_tokens = line["tokens"]
        values = {TOKENS if name == "tokens" else name: value for name, value in line.items() if name != "step"}
        lowest = self._note_lowest(line)

        def log() -> None:
            self.run.log(values)
            self.run.summary.update(lowest)

        self._send(log)

    def log_rows(self, results: Mapping[str, Sequence[dict]]) -> None:
        """Log rows of result files as curves eval/<what was measured>/<metric> over eval/length.

        Each length is one point for all that was measured, shortest first. Rows with an error, and rows that an
        earlier process of this run sent are left out. The summary gets the perplexity at each length
        (perplexity_512), as columns for wandb's table of runs.

        Args:
            results: rows with `length` and numbers, by what was measured (wikitext2-test-stride-256).
        """

        self._send(lambda: self._log_new_rows(results))

    def _log_new_rows(self, results: Mapping[str, Sequence[dict]]) -> None:
        with hold(self.folder / f".{ROWS_SENT}.lock"):  # two evaluations of a run may end at the same time
            sent, points, summary = self._rows_sent(), {}, {}
            for measured, rows in results.items():
                for row in rows:
                    key = [self.id, measured, row["length"], row.get("nll_nats")]
                    if "error" in row or key in sent:
                        continue
                    sent.append(key)
                    curves = {name: n for name, n in row.items() if type(n) in (int, float) and name not in NO_CURVE}
                    points.setdefault(row["length"], {}).update({f"eval/{measured}/{k}": n for k, n in curves.items()})
                    if "perplexity" in row:
                        summary[f"eval/{measured}/perplexity_{row['length']}"] = row["perplexity"]
            for length, values in sorted(points.items()):
                for name in values:
                    self.run.define_metric(name, step_metric=LENGTH)
                self.run.log({LENGTH: length, **values})
            self.run.summary.update(summary)
            write_atomically(self.folder / ROWS_SENT, json.dumps(sent))

    def _rows_sent(self) -> list[list]:
        """[wandb id, what was measured, length, nats] of each row sent so far."""
        path = self.folder / ROWS_SENT
        return json.loads(path.read_text()) if path.exists() else []

    def log_results(self, rows: list[dict], figures: Sequence[Path]) -> None:
        """Log rows with equal names as a table, and figures by their names."""

        def log() -> None:
            import wandb

            table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
            images = {f"figures/{path.stem}": wandb.Image(str(path)) for path in figures}
            self.run.log({"evaluation_table": table, **images})

        self._send(log)

    def close(self) -> None:
        """End the run; waits half a minute at most for a server that does not answer."""
        self._send(lambda: self.run.finish())
        if self.on and self.mode == "online":
            mark_sent(self.run)
        self.on = False

    def _note_lowest(self, line: dict) -> dict[str, float]:
        """The minimum so far of each val/ metric in the line."""
        values = {name: value for name, value in line.items() if name.startswith("val/")}
        self.lowest |= {name: min(value, self.lowest.get(name, value)) for name, value in values.items()}
        return {name: self.lowest[name] for name in values}

    def _send(self, action: Callable[[], object]) -> None:
        try:
            if self.on:
                action()
        except Exception as error:
            self.on, self.mode = False, "offline"
            self._warn(f"failed and is left out from here on ({one_line(error)})")
        if self.notes.lost and self.mode == "online":
            self.mode = "offline"
            self._warn(f"failed to send the run ({self.notes.lost})")

    def _warn(self, what: str) -> None:
        remedy = f"To send what wandb recorded: wandb sync --include-online {self.folder}/*run-*"
        warnings.warn(f"wandb {what}; metrics.jsonl goes on. {remedy}", stacklevel=4)

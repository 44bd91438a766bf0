"""An evaluation in wandb: its rows, table and figures, in the run of the training."""

from dataclasses import replace
from pathlib import Path

from alibi.results import Result
from alibi.runs import Checkpoint, group_name
from alibi.tracking import TrackingConfig, Wandb


def track(
    tracking: TrackingConfig, checkpoint: Checkpoint, run_id: str | None, results: list[Result], figures: list[Path]
) -> str:
    """Send the rows of a checkpoint to its wandb run, as curves over the length and as a table, and the figures.

    Args:
        run_id: of the wandb run; None begins one.

    Returns:
        tracking.wandb for the next run: offline if the server did not take this one.
    """
    own = checkpoint.config["tracking"]
    # The run stays where training put it, unless another place is asked for.
    project = own["project"] if tracking.project == TrackingConfig.project else tracking.project
    tracking = replace(tracking, project=project, group=tracking.group or own.get("group"))
    last_step = checkpoint.config["train"]["max_steps"]
    group = group_name(checkpoint.config, checkpoint.texts["train"])
    # No process is writing to a run that has ended.
    wandb = Wandb(tracking, checkpoint.run, run_id, checkpoint.config, group, resend=checkpoint.step == last_step)
    # An earlier step has its own curve, as a part of a text has.
    step = "" if checkpoint.step == last_step else f"-step-{checkpoint.step}"
    wandb.log_rows({f"{result.protocol}{step}": list(result.rows.values()) for result in results})
    rows = [_tracked_row(result, row) for result in results for row in result.rows.values()]
    wandb.log_results(rows, [path for path in figures if path.suffix == ".png"])
    wandb.close()
    return wandb.mode


def _tracked_row(result: Result, row: dict) -> dict:
    low, high = row.get("interval", {}).get("perplexity") or (None, None)
    about = {"run": result.run, "method": result.checkpoint.model, "training length": result.checkpoint.seq_len}
    measured = {"protocol": result.measured.protocol, "split": result.measured.split}
    numbers = {name: row.get(name) for name in ("length", "perplexity", "word_perplexity", "bits_per_byte")}
    return about | measured | numbers | {"perplexity low": low, "perplexity high": high}

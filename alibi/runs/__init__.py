"""Runs on disk: the folder, checkpoints written and read, and what `runs=` means.

    outputs/<name>/config.yaml, metrics.jsonl, checkpoints/{step-00001000/, last, best}, evaluation/
    outputs/latest -> <name>

Imports `model`, `positions` and `data`. `last`, `best` and `latest` are relative pointers, so a run
folder may be moved.
"""

from alibi.runs.checkpoint import Checkpoint, typed
from alibi.runs.files import file_sha256, free_name, write_atomically
from alibi.runs.fingerprint import fingerprint, fixed_nats, source_sha256
from alibi.runs.folder import RunFolder, checkpoint_of, load_model, resolve_runs, step_name
from alibi.runs.guest import Guest, OpenModel
from alibi.runs.identity import all_settings, differences, group_name, run_name, weight_settings
from alibi.runs.layout import CONFIG, ChangedModel, DamagedCheckpoint
from alibi.runs.pointers import expand, point, refuse_pointer
from alibi.runs.settings import read_settings, settings_text
from alibi.runs.weights import load_weights

__all__ = [
    "CONFIG",
    "ChangedModel",
    "Checkpoint",
    "DamagedCheckpoint",
    "Guest",
    "OpenModel",
    "RunFolder",
    "all_settings",
    "checkpoint_of",
    "differences",
    "expand",
    "file_sha256",
    "fingerprint",
    "fixed_nats",
    "free_name",
    "group_name",
    "load_model",
    "load_weights",
    "point",
    "read_settings",
    "refuse_pointer",
    "resolve_runs",
    "run_name",
    "settings_text",
    "source_sha256",
    "step_name",
    "typed",
    "weight_settings",
    "write_atomically",
]

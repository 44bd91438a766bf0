"""Runs on disk: the folder, checkpoints written and read, and what `runs=` means.

    outputs/<name>/config.yaml, metrics.jsonl, checkpoints/{step-00001000/, last, best}, evaluation/
    outputs/latest -> <name>

Imports `model`, `positions` and `data`. `last`, `best` and `latest` are relative pointers, so a run
folder may be moved.
"""

from alibi.pointers import CONFIG
from alibi.runs.checkpoint import Checkpoint
from alibi.runs.checkpoint_files import ChangedModel, DamagedCheckpoint, load_weights
from alibi.runs.folder import RunFolder, checkpoint_of, load_model, load_tokenizer, resolve_runs, step_name
from alibi.runs.guest import Guest, OpenModel
from alibi.runs.origin import Origin
from alibi.runs.run_settings import (
    differences,
    earlier_runs,
    group_name,
    read_settings,
    run_name,
    settings_text,
    weight_settings,
)

"""Checkpoints and models of other projects: theirs as ours, ours as theirs, and theirs as guests of the evaluation.

Imports `runs` and below; a function that needs another library says so when it is called.
"""

from alibi.interop.export import export_run
from alibi.interop.fairseq import FairseqCheckpoint, read_fairseq_checkpoint, read_fairseq_dictionary
from alibi.interop.guest import PREFIX as HF_PREFIX
from alibi.interop.guest import open_guest

__all__ = [
    "HF_PREFIX",
    "FairseqCheckpoint",
    "export_run",
    "open_guest",
    "read_fairseq_checkpoint",
    "read_fairseq_dictionary",
]

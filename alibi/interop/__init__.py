"""Other people's model classes with our weights in them, their checkpoints as ours, their models as guests.

Imports `runs` and below; what needs another library says so when it is called.
"""

from alibi.interop.export import export_run
from alibi.interop.fairseq import FairseqCheckpoint, read_fairseq_checkpoint, read_fairseq_dictionary
from alibi.interop.guest import PREFIX as HF_PREFIX
from alibi.interop.guest import open_guest
from alibi.interop.mpt import to_mpt

__all__ = [
    "HF_PREFIX",
    "FairseqCheckpoint",
    "export_run",
    "open_guest",
    "read_fairseq_checkpoint",
    "read_fairseq_dictionary",
    "to_mpt",
]

"""Other people's model classes with our weights in them, and their checkpoints as ours.

Imports `model` and `positions`; what needs another library says so when it is called.
"""

from alibi.interop.fairseq import FairseqCheckpoint, read_fairseq_checkpoint, read_fairseq_dictionary
from alibi.interop.mpt import to_mpt

__all__ = ["FairseqCheckpoint", "read_fairseq_checkpoint", "read_fairseq_dictionary", "to_mpt"]

"""Other people's model classes with our weights in them, and their models as guests of the evaluation.

Imports `runs` and below; what needs another library says so when it is called.
"""

from alibi.interop.export import export_run
from alibi.interop.huggingface import PREFIX as HF_PREFIX
from alibi.interop.huggingface import open_guest
from alibi.interop.mpt import to_mpt

__all__ = ["HF_PREFIX", "export_run", "open_guest", "to_mpt"]

"""Checkpoints and models of other projects: theirs as ours, ours as theirs, and theirs as guests of the evaluation.

Imports `runs` and below; a function that needs another library says so when it is called.
"""

from alibi.interop.export import export_run
from alibi.interop.huggingface import PREFIX as HF_PREFIX
from alibi.interop.huggingface import open_guest

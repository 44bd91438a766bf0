"""The settings of the entries. Only this room, sweeps/, train.py and evaluate.py import Hydra."""

from alibi.config.entry import entry, plain_errors
from alibi.config.known import CONFIGS
from alibi.config.messages import escaped, quoted
from alibi.config.typed import evaluation_from, register, run_from, run_of

"""Training: the loop, the optimizer, processes."""

from alibi.training.loop import train
from alibi.training.training_settings import RunConfig

"""Training: the loop, the optimizer, processes."""

from alibi.training.loop import train
from alibi.training.training_settings import RunConfig, default_cache

__all__ = ["RunConfig", "default_cache", "train"]

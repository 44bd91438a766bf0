"""Other people's model classes with our weights in them. Imports `model` and `positions`; each needs its library."""

from alibi.interop.mpt import to_mpt

__all__ = ["to_mpt"]

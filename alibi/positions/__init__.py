"""Position methods, one file each. Every module in this folder is imported, so a new file registers itself."""

from importlib import import_module
from pkgutil import iter_modules

from alibi.positions.base import (
    Bias,
    DecayBias,
    DistanceBias,
    LinearBias,
    PairBias,
    Position,
    QueryTableBias,
    Turn,
    build_position,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

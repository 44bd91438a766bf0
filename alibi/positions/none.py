"""No position at all: the control.

A causal model can still count the keys it sees, so order is not lost entirely.

Source: Haviv et al., "Transformer Language Models without Positional Encodings Still Learn
Positional Information", arXiv 2203.16634.
"""

from alibi.positions.base import Position


class NoPosition(Position, name="none"):
    pass

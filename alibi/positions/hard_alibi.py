"""Hard-ALiBi: the first heads see 1, 2, 3, ... keys, the others all of them.

    head h < M sees key j of query i where i - j <= h; the other heads have no position at all

Enters attention as windows of heads; nothing is added to the scores. Nothing is learned. Heads with small windows can
match the last few tokens, the others look up where they occurred before, so the model learns to copy.

Source: Jelassi, Brandfonbrener, Kakade, Malach, "Repeat After Me", arXiv 2402.01032, and the authors' code
(`hard_alibi_model.py`), where M is 8 of 16 heads. Deviations: none.
"""

from dataclasses import dataclass

from alibi.positions.base import Position


class HardALiBi(Position, name="hard_alibi"):
    causal_only = True
    counts_positions = False

    @dataclass
    class Settings(Position.Settings):
        """
        Attributes:
            windowed_heads: how many heads have a window, M; None: half of them.
        """

        windowed_heads: int | None = None

        def check(self) -> None:
            if self.windowed_heads is not None and self.windowed_heads < 0:
                raise ValueError(
                    f"windowed_heads ({self.windowed_heads}) must be at least 0; null takes half of the heads."
                )

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        given = self.settings.windowed_heads
        self.windowed_heads = self.num_heads // 2 if given is None else given
        if self.windowed_heads > self.num_heads:
            raise ValueError(
                f"windowed_heads ({given}) must be at most num_heads ({self.num_heads}); null takes half of the heads."
            )

    def head_windows(self) -> tuple[int | None, ...]:
        return tuple(head + 1 if head < self.windowed_heads else None for head in range(self.num_heads))

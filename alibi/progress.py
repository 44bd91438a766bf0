"""The progress bar of a long command. A leaf: imports nothing of this project."""

import sys

from tqdm import tqdm


def progress_bar(total: int, unit: str, done: int = 0, title: str | None = None, leave=True, show=True) -> tqdm:
    """A bar on a terminal; elsewhere a line every half minute, which keeps log files short."""
    seconds = 0.1 if sys.stderr.isatty() else 30.0
    scale = total >= 10_000
    return tqdm(
        total=total, initial=done, unit=unit, unit_scale=scale, desc=title, leave=leave, disable=not show,
        mininterval=seconds, maxinterval=2 * seconds,
    )  # fmt: skip

"""Numbers as words, alike in every table and on the page."""

import math


def number(value: float) -> str:
    """Four digits or more: 1.234, 41.30, 1.23e+06."""
    if abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:.2f}" if abs(value) < 10000 else f"{value:.3g}"


def interval(low: float, high: float, signed: bool = False) -> str:
    """38.80–40.60: as many digits as the width bears. Signed ones, which may be negative, in brackets."""
    half = (high - low) / 2
    digits = 3 if half <= 0 else min(3, max(0, 1 - math.floor(math.log10(half))))
    if signed:
        return f"[{minus(f'{low:+.{digits}f}')}, {minus(f'{high:+.{digits}f}')}]"
    if high >= 10000:
        return f"{number(low)}–{number(high)}"
    return f"{low:.{digits}f}–{high:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    return minus(f"{value:+.{digits}f}")


def percent(ratio: float) -> str:
    """A ratio as a change: 0.93 is −7.0 %."""
    return f"{minus(f'{100 * (ratio - 1):+.2f}')} %"


def percent_interval(low: float, high: float) -> str:
    return f"{interval(100 * (low - 1), 100 * (high - 1), signed=True)} %"


def minus(text: str) -> str:
    """A true minus sign, as wide as the plus."""
    return text.replace("-", "−")


def short(error: str) -> str:
    """`out of memory: tried to allocate ...` as `out of memory`."""
    return error.partition(":")[0]


def flops(value: float) -> str:
    return f"{value:.2e}"

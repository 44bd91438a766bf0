"""How numbers are written, in every table and on the page."""

import math
from collections.abc import Iterable

from alibi.analysis import ABOUT_INTERVALS
from alibi.results import Result

LEVEL = f"{100 * ABOUT_INTERVALS['level']:g} %"
INTERVALS = (
    f"{LEVEL}, {ABOUT_INTERVALS['method']}, {ABOUT_INTERVALS['resamples']:,} resamples. "
    f"They hold for {ABOUT_INTERVALS['holds_for']}."
)
UNKNOWN = "–"
# Marks a number of a text that the tokenizer covers in part; and replaces one that would be of another text.
MARK = "†"
NOT_COVERED = "text not covered"
NOT_ANNEALED = "not annealed"


def known(value: float | None, style: str = "") -> str:
    """A number that some results lack."""
    return UNKNOWN if value is None else format(value, style)


def tokens(results: Iterable[Result], unit: str = "") -> str:
    """3.3M, or from the fewest to the most, and whether the learning rate had not come down in one: what any number on
    extrapolation depends on."""
    results = list(results)
    seen = {result.trained_tokens for result in results}
    if None in seen:
        return UNKNOWN + unit
    digits = "–".join(dict.fromkeys(f"{n:,}" if n < 1e5 else f"{n / 1e6:,.1f}M" for n in (min(seen), max(seen))))
    return digits + unit + ("" if all(result.is_annealed for result in results) else f", {NOT_ANNEALED}")


def number(value: float) -> str:
    """Four digits or more: 1.234, 41.30, 14,097, 1.234e+06."""
    if abs(value) < 10:
        return f"{value:.3f}"
    if abs(value) < 10_000:
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.3e}"


def interval(low: float, high: float, signed: bool = False) -> str:
    """38.80–40.60: with as many digits as its width justifies. Signed ones, which may be negative, in brackets."""
    half = (high - low) / 2
    digits = 3 if half <= 0 else min(3, max(0, 1 - math.floor(math.log10(half))))
    if signed:
        return f"[{minus(f'{low:+.{digits}f}')}, {minus(f'{high:+.{digits}f}')}]"
    if high >= 10_000:
        return f"{low:,.0f}–{high:,.0f}" if high < 1e6 else f"{number(low)}–{number(high)}"
    return f"{low:.{digits}f}–{high:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """With its sign; what rounds to zero has none."""
    return minus(f"{value:+.{digits}f}") if round(value, digits) else f"{0:.{digits}f}"


def change(ratio: float) -> str:
    """A ratio as a change: 0.93 is −7.00 %; beyond tenfold as a factor."""
    return f"×{factor(ratio)}" if _is_far(ratio) else f"{signed(100 * (ratio - 1), 2)} %"


def change_interval(low: float, high: float) -> str:
    if _is_far(low) or _is_far(high):
        return f"[×{factor(low)}, ×{factor(high)}]"
    return f"{interval(100 * (low - 1), 100 * (high - 1), signed=True)} %"


def factor(ratio: float) -> str:
    return f"{ratio:.3g}" if 1e-4 <= ratio < 1000 else f"{ratio:.2e}"


def _is_far(ratio: float) -> bool:
    return not 0.1 < ratio < 10


def minus(text: str) -> str:
    """With a true minus sign, as wide as the plus."""
    return text.replace("-", "−")

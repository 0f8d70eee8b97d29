"""Numbers as text, to the digits that are known, with the error of the last ones in brackets."""

from __future__ import annotations

import math

_WRITTEN_OUT = 1e4


def measured(value: float, error: float, scale: float = 0.0) -> str:
    """A number with two digits of its error in brackets: 0.8495(47) is 0.8495 ± 0.0047, 0.85(?) has an error that is not known; - for NaN.

    Of numbers of size `scale`, by default the number's own, errors below 1e-6 are left out, with the digits that they leave.
    """
    if not math.isfinite(value):
        return number(value)
    if math.isinf(error):
        return f"{value:.2g}(?)"
    least = 1e-6 * max(scale, abs(value))
    if not error > least:
        return f"{value:#.5g}" if abs(value) > least else "0"
    # An error of 0.0996 would be 100 in units of 0.001.
    unit = math.floor(math.log10(error / 0.995)) - 1
    return _bracketed(value, error, unit, max(abs(value), error))


def uncertain(value: float, error: float) -> str:
    """A number to its uncertain digit, whose error stands in brackets: 28.7(9) is 28.7 ± 0.9, 260(80) is 260 ± 80; five digits at most."""
    if math.isnan(value):
        return "-"
    if not error > 1e-5 * abs(value):
        return f"{value:#.5g}" if value else "0"
    if error > 10 * abs(value):
        return f"{value:.1g} ± {error:.1g}"
    magnitude = math.floor(math.log10(abs(value)))
    # An error of 0.96 would be 10 in units of 0.1.
    return _bracketed(value, error, min(math.floor(math.log10(error / 0.95)), magnitude), abs(value))


def number(value: float, form: str = ".5g") -> str:
    """A number, or - for NaN; without a power of ten below 10,000: 160 and not 1.6e+02."""
    if math.isnan(value):
        return "-"
    text = format(value + 0.0, form)
    return f"{float(text):.0f}" if "e+0" in text and abs(value) < _WRITTEN_OUT else text


def _bracketed(value: float, error: float, unit: int, size: float) -> str:
    """Both to the digit of 10^unit, the error in brackets, and a power of ten behind them where `size` is small or large."""
    exponent = _exponent(size)
    value, error, unit = value / 10.0**exponent, error / 10.0**exponent, unit - exponent
    digits = f"{round(value, -unit):.{max(0, -unit)}f}({error * 10 ** max(0, -unit):.0f})"
    if unit > 0:
        digits = f"{round(value, -unit):.0f}({round(error, -unit):.0f})"
    return digits + (f"e{exponent:+03d}" if exponent else "")


def _exponent(size: float) -> int:
    """The power of ten that is written out; 0 for numbers of ordinary size."""
    magnitude = math.floor(math.log10(size))
    return 0 if -3 <= magnitude < 5 else magnitude

"""Numbers as a person reads them: thin spaces between thousands, sensible digits, units set apart."""

from __future__ import annotations

import math

THIN = "\u202f"
"""A narrow space that does not break the line."""


def count(value: float) -> str:
    """A whole number: 1 234 567."""
    return f"{round(value):,}".replace(",", THIN)


def compact(value: float) -> str:
    """A count in at most four characters and a letter: 950, 12.3k, 1.84M."""
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return f"{_significant(value / factor, 3)}{letter}"
    return _significant(value, 3)


def number(value: float, digits: int = 3) -> str:
    """A measured value in significant digits; thousands apart, `n/a` where there is none."""
    if not math.isfinite(value):
        return "n/a"
    if abs(value) >= 10**digits:
        return count(value)
    return _significant(value, digits)


def setting(value: float) -> str:
    """A number that somebody chose: as it was written."""
    return f"{value:.12g}"


def percent(share: float, digits: int = 1) -> str:
    """A share of one, as 12.3 %; small ones keep a digit that is not zero."""
    if not math.isfinite(share):
        return "n/a"
    value = 100.0 * share
    if value and abs(value) < 0.5 * 10**-digits:
        return f"{'−' if value < 0 else ''}<{THIN}{10**-digits:.{digits}f}{THIN}%"
    return f"{value:.{digits}f}{THIN}%"


def ratio(value: float) -> str:
    """A quotient, as ×1.25."""
    if not math.isfinite(value):
        return "n/a"
    return f"×{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"×{_significant(value, 2)}"


def with_unit(value: float, unit: str, digits: int = 3) -> str:
    """A measured value and its unit."""
    return f"{number(value, digits)}{THIN}{unit}".rstrip(THIN)


def _significant(value: float, digits: int) -> str:
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    if rounded == int(rounded) and rounded == value:
        return str(int(rounded))
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{decimals}f}"

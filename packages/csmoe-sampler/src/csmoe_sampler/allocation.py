"""Allocation: how many tiles each stratum gets, n_h proportional to N_h^alpha between a floor and a cap.

All decisions are taken in integers: N^alpha is rounded to 20 decimals in decimal arithmetic and the shares are
fractions, so that no machine's floating point can move a tile from one stratum to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import numpy as np

from csmoe_sampler.errors import SelectionError
from csmoe_sampler.types import Float64, Int64

ALL_TAKEN = "all tiles taken"
CAP = "cap"
FLOOR = "floor"
SURPLUS = "takes what others lack"
YIELDS = "yields to floors"
FLOORS_EXCEED = "floors exceed the sample"


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The quota of each stratum and why it is not the ideal one."""

    quota: Int64
    """Tiles to take."""
    target: Float64
    """n N_h^alpha / sum N^alpha, before floors, caps and the tiles there are."""
    reason: tuple[str | None, ...]
    """Why quota and target differ by one tile or more; None where they do not."""
    shortfall: int
    """Tiles asked for that no stratum can give."""
    floors_met: bool
    """False where the floors alone exceed the sample, and were lowered evenly."""


def allocate(size: Int64, n: int, *, alpha: float, floor: int, cap: int | None) -> Allocation:
    """Quotas that sum to min(n, sum of min(size, cap)) exactly.

    Strata are filled like vessels, in proportion to N_h^alpha, never below the floor and never above the cap or the
    stratum's size (water-filling). What rounding leaves goes by largest remainder, ties to the larger stratum, then
    to the earlier one. A larger stratum never gets less than a smaller one. Before rounding no quota falls when n
    grows; rounding may cost a stratum one tile (the Alabama paradox of largest remainders), never two. Floors
    that exceed the sample together are lowered evenly.

    Args:
        size: Tiles of each stratum.
        n: Tiles to take in all.
        alpha: 0 (equal) to 1 (proportional).
        floor: At least so many from every stratum, as far as it has them.
        cap: At most so many from any stratum.

    Raises:
        SelectionError: `n` or `floor` is negative, `cap` is not positive, or `alpha` is not in 0 to 1.
    """
    _check(n, alpha, floor, cap)
    sizes = [int(s) for s in size]
    weights = [_power(s, alpha) for s in sizes]
    upper = [s if cap is None else min(s, cap) for s in sizes]
    lower = [min(floor, u) for u in upper]
    total = min(n, sum(upper))
    floors_met = sum(lower) <= total
    if floors_met:
        share = _fill(weights, lower, upper, total)
    else:
        share = _fill([1] * len(sizes), [0] * len(sizes), lower, total)
    quota = _round(share, sizes, total)
    target = [Fraction(n * w, max(sum(weights), 1)) for w in weights]
    bounds = zip(quota, target, sizes, lower, upper, strict=True)
    return Allocation(
        quota=np.array(quota, np.int64),
        target=np.array([float(t) for t in target], np.float64),
        reason=tuple(_reason(*b, floors_met=floors_met) for b in bounds),
        shortfall=n - total,
        floors_met=floors_met,
    )


def _check(n: int, alpha: float, floor: int, cap: int | None) -> None:
    if n < 0 or floor < 0:
        raise SelectionError(f"allocation of n = {n} with floor {floor}: neither may be negative")
    if cap is not None and cap < 1:
        raise SelectionError(f"allocation with cap {cap}: a cap is at least 1, or None")
    if not 0 <= alpha <= 1:
        raise SelectionError(f"allocation with alpha = {alpha}: choose 0 (equal) to 1 (proportional)")


def _power(size: int, alpha: float) -> int:
    """10^20 size^alpha, rounded; 0 for an empty stratum."""
    if size == 0:
        return 0
    context = Context(prec=60, rounding=ROUND_HALF_EVEN)
    power = context.power(Decimal(size), Decimal(str(alpha)))
    return int(context.to_integral_value(context.scaleb(power, Decimal(20))))


def _fill(weights: Sequence[int], lower: Sequence[int], upper: Sequence[int], total: int) -> list[Fraction]:
    """Shares clip(level weight, lower, upper), for the level at which they sum to `total`.

    Strata with weight 0 have both bounds 0; `total` lies between the sums of the bounds.
    """
    vessels = list(zip(weights, lower, upper, strict=True))
    opens = [(Fraction(low, w), low, w) for w, low, _ in vessels if w]
    closes = [(Fraction(high, w), -high, -w) for w, _, high in vessels if w]
    fixed, slope = sum(lower), 0
    for level, amount, weight in sorted(opens + closes):
        if fixed + slope * level >= total:
            break
        fixed -= amount
        slope += weight
    level = Fraction(total - fixed, slope) if slope else Fraction(0)
    return [min(max(level * w, Fraction(low)), Fraction(high)) for w, low, high in vessels]


def _round(share: Sequence[Fraction], sizes: Sequence[int], total: int) -> list[int]:
    """Largest remainder; every result is its share rounded down or up."""
    quota = [s.numerator // s.denominator for s in share]
    order = sorted(range(len(share)), key=lambda h: (quota[h] - share[h], -sizes[h], h))
    for h in order[: total - sum(quota)]:
        quota[h] += 1
    return quota


def _reason(quota: int, target: Fraction, size: int, lower: int, upper: int, *, floors_met: bool) -> str | None:
    if abs(quota - target) < 1:
        return None
    if not floors_met:
        return FLOORS_EXCEED
    if quota > target:
        return FLOOR if quota == lower else SURPLUS
    if quota == upper:
        return ALL_TAKEN if upper == size else CAP
    return YIELDS

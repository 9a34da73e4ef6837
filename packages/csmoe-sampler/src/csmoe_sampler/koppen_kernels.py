"""Compiled loops of the Köppen-Geiger rules; `koppen.py` says what the rules are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from csmoe_sampler.types import Float64


class HalfYears(NamedTuple):
    """What the rules ask of a slab of cells; row 0 is April to September, row 1 October to March."""

    t_sum: Float64
    t_min: Float64
    t_max: Float64
    t_warm: Float64
    """Number of months above 10 °C."""
    p_sum: Float64
    p_min: Float64
    p_max: Float64


@njit(cache=True, nogil=True)
def classify_slab(
    temperature: Float64, precipitation: Float64, compat: bool, codes: npt.NDArray[np.uint8]
) -> tuple[float, float, float, float, float, float, float, int]:
    """Fills `codes`, and returns the fields of `koppen.Ranges`; the normals are (12, cells)."""
    halves = _summarise(temperature, precipitation)
    coldest, hottest, driest, wettest = np.inf, -np.inf, np.inf, -np.inf
    mat_min, mat_max, map_max, cells = np.inf, -np.inf, -np.inf, 0
    for i in range(codes.size):
        mat = (halves.t_sum[0, i] + halves.t_sum[1, i]) / 12
        annual = halves.p_sum[0, i] + halves.p_sum[1, i]
        if not np.isfinite(mat + annual):
            codes[i] = 0
            continue
        codes[i] = _classify_cell(halves, i, mat, annual, compat)
        cells += 1
        coldest = min(coldest, halves.t_min[0, i], halves.t_min[1, i])
        hottest = max(hottest, halves.t_max[0, i], halves.t_max[1, i])
        driest = min(driest, halves.p_min[0, i], halves.p_min[1, i])
        wettest = max(wettest, halves.p_max[0, i], halves.p_max[1, i])
        mat_min, mat_max, map_max = min(mat_min, mat), max(mat_max, mat), max(map_max, annual)
    return coldest, hottest, driest, wettest, mat_min, mat_max, map_max, cells


@njit(cache=True, nogil=True)
def _summarise(temperature: Float64, precipitation: Float64) -> HalfYears:
    """Sums and extremes of both half-years, month after month in the order of the calendar."""
    shape = (2, temperature.shape[1])
    t_sum, t_min, t_max = np.zeros(shape), np.full(shape, np.inf), np.full(shape, -np.inf)
    p_sum, p_min, p_max = np.zeros(shape), np.full(shape, np.inf), np.full(shape, -np.inf)
    t_warm = np.zeros(shape)
    for step in range(12):
        half, month = step // 6, (step + 3) % 12
        t, p = temperature[month], precipitation[month]
        for i in range(shape[1]):
            t_sum[half, i] += t[i]
            t_min[half, i] = t[i] if t[i] < t_min[half, i] else t_min[half, i]
            t_max[half, i] = t[i] if t[i] > t_max[half, i] else t_max[half, i]
            t_warm[half, i] += 1.0 if t[i] > 10 else 0.0
        for i in range(shape[1]):
            p_sum[half, i] += p[i]
            p_min[half, i] = p[i] if p[i] < p_min[half, i] else p_min[half, i]
            p_max[half, i] = p[i] if p[i] > p_max[half, i] else p_max[half, i]
    return HalfYears(t_sum, t_min, t_max, t_warm, p_sum, p_min, p_max)


@njit(cache=True, nogil=True)
def _classify_cell(halves: HalfYears, i: int, mat: float, annual: float, compat: bool) -> int:
    summer = 0 if halves.t_sum[0, i] > halves.t_sum[1, i] else 1
    ps, pw = halves.p_sum[summer, i], halves.p_sum[1 - summer, i]
    t_cold = min(halves.t_min[0, i], halves.t_min[1, i])
    t_hot = max(halves.t_max[0, i], halves.t_max[1, i])
    p_dry = min(halves.p_min[0, i], halves.p_min[1, i])
    threshold = 10 * (2 * mat + _season_term(ps, pw, compat))
    if annual < threshold:
        return (4 if annual < threshold / 2 else 6) + (0 if mat >= 18 else 1)
    if t_cold >= 18:
        return 1 if p_dry >= 60 else (2 if p_dry >= 100 - annual / 25 else 3)
    if t_hot <= 10:
        return 29 if t_hot > 0 else 30
    season = _season(halves, i, summer)
    heat = 0 if t_hot >= 22 else (1 if halves.t_warm[0, i] + halves.t_warm[1, i] >= 4 else 2)
    if t_cold > 0:
        return 8 + 3 * season + heat
    return 17 + 4 * season + (3 if heat == 2 and t_cold < -38 else heat)


@njit(cache=True, nogil=True)
def _season_term(ps: float, pw: float, compat: bool) -> int:
    """What the season of the rain adds to 2 MAT in the arid threshold; no rain has no season."""
    if compat:
        return 28 if ps * 2.333 > pw else (0 if pw * 2.333 > ps else 14)
    if ps + pw == 0:
        return 14
    if 10 * pw >= 7 * (ps + pw):
        return 0
    return 28 if 10 * ps >= 7 * (ps + pw) else 14


@njit(cache=True, nogil=True)
def _season(halves: HalfYears, i: int, summer: int) -> int:
    """Position of the second letter of C and D in `swf`."""
    winter = 1 - summer
    ps_dry, pw_dry = halves.p_min[summer, i], halves.p_min[winter, i]
    dry_summer = ps_dry < 40 and ps_dry < halves.p_max[winter, i] / 3
    dry_winter = pw_dry < halves.p_max[summer, i] / 10
    if dry_summer and dry_winter:
        return 1 if halves.p_sum[summer, i] > halves.p_sum[winter, i] else 0
    return 0 if dry_summer else (1 if dry_winter else 2)

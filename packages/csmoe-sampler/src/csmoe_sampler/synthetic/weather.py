"""Monthly normals of the synthetic Earth: temperature in °C and precipitation in mm a month.

Temperature follows latitude, distance from the sea and the side of the continent. Rain falls in the belts of the
general circulation, which follow the sun; how much of it arrives depends on the water left in the air that the
prevailing winds bring: they take it up over the sea, lose it over land, and most of it over mountains.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from csmoe_sampler.synthetic.noise import REGIONS, cell_centres, fractal_noise, ramp, read_grid, sine_cosine
from csmoe_sampler.types import Float32, Float64, Int64

WEATHER_DEG = 0.5
LAPSE_C_PER_M = 0.0055
"""Cooling with height."""

_STEP_KM = 111.195 * WEATHER_DEG
_SEASON = np.array([sine_cosine(30.0 * (month - 6))[1] for month in range(12)])


def weather_grid(terrain: Float32, key: int) -> Float32:
    """Normals at the cell centres of the global `WEATHER_DEG` grid, (rows, cols, 24), sea cells included.

    The last axis holds twelve temperatures reduced to sea level, then twelve precipitations.
    """
    terrain = terrain[..., 0]
    height = _smooth(_aggregate(np.maximum(terrain, 0.0)))
    land = _aggregate((terrain > 0.0).astype(np.float32))
    cosines = np.array([sine_cosine(90.0 - (row + 0.5) * WEATHER_DEG)[1] for row in range(land.shape[0])])
    inland = np.where(land < 0.5, 0.0, 1e9)
    _sweep_inland(inland, cosines)
    winds = np.zeros((3, 3, *land.shape))
    _blow_zonally(land, height, cosines, 1, winds[0])
    _blow_zonally(land, height, cosines, -1, winds[1])
    _blow_poleward(land, height, winds[2])
    for _ in range(2):
        winds = _smooth(winds)
    region = fractal_noise(cell_centres(*land.shape), 5.0, key + REGIONS, 4, 2.1, 0.55).reshape(land.shape)
    normals = np.empty((*land.shape, 24), np.float32)
    _fill_normals(normals, inland, winds, region)
    return normals


def _aggregate(terrain: Float32) -> Float64:
    """Means of 2 x 2 cells."""
    quads = terrain.astype(np.float64)
    rows = quads[0::2] + quads[1::2]
    return np.asarray((rows[:, 0::2] + rows[:, 1::2]) / 4.0)


def _smooth(field: Float64) -> Float64:
    """Means over 5 x 5 cells of the two last axes, wrapping in longitude, repeating the polar rows."""
    rows = np.arange(field.shape[-2])
    above, below = (field[..., np.clip(rows + shift, 0, rows[-1]), :] for shift in (-2, 2))
    north, south = (field[..., np.clip(rows + shift, 0, rows[-1]), :] for shift in (-1, 1))
    field = above + north + field + south + below
    west = np.roll(field, 2, axis=-1) + np.roll(field, 1, axis=-1)
    east = np.roll(field, -1, axis=-1) + np.roll(field, -2, axis=-1)
    return np.asarray((west + field + east) / 25.0)


@njit(cache=True, nogil=True)
def _sweep_inland(distance: Float64, cosines: Float64) -> None:
    """Shorten distances in km, 0 at sea, to the shortest ways over the eight neighbours."""
    rows, cols = distance.shape
    for sweep in range(4):
        back = -1 if sweep % 2 == 0 else 1
        for i in range(rows):
            row = i if back == -1 else rows - 1 - i
            east = _STEP_KM * cosines[row]
            diagonal = math.sqrt(east * east + _STEP_KM * _STEP_KM)
            for j in range(2 * cols):
                col = (-back * j) % cols
                best = min(distance[row, col], distance[row, (col + back) % cols] + east)
                if 0 <= row + back < rows:
                    best = min(best, distance[row + back, col] + _STEP_KM)
                    best = min(best, distance[row + back, (col - 1) % cols] + diagonal)
                    best = min(best, distance[row + back, (col + 1) % cols] + diagonal)
                distance[row, col] = best


@njit(cache=True, nogil=True)
def _step(water: float, land: float, climb: float, step_km: float, reach_km: float) -> float:
    """Share of water in the air (0-1) one step further downwind."""
    over_land = water * (1.0 - min(step_km / reach_km, 0.5)) / (1.0 + max(climb, 0.0) / 2000.0)
    over_sea = water + (1.0 - water) * min(step_km / 700.0, 0.5)
    return land * over_land + (1.0 - land) * over_sea


@njit(cache=True, nogil=True)
def _blow_zonally(land: Float64, height: Float64, cosines: Float64, direction: int, wind: Float64) -> None:
    """Of a wind along the parallels: water left (0), lifting in m per 100 km (1), land lately crossed (2).

    It goes round twice, so that the first lap forgets where it began.
    """
    rows, cols = land.shape
    for row in range(rows):
        step_km = _STEP_KM * cosines[row]
        reach_km = 3200.0 + 2000.0 * cosines[row] * cosines[row]
        water, fetch = 1.0, 0.0
        for j in range(2 * cols):
            col = (j * direction) % cols
            climb = height[row, col] - height[row, (col - direction) % cols]
            water = _step(water, land[row, col], climb, step_km, reach_km)
            fetch += (land[row, col] - fetch) * min(step_km / 2000.0, 0.5)
            wind[0, row, col] = water
            wind[1, row, col] = water * max(climb, 0.0) * 100.0 / max(step_km, 20.0)
            wind[2, row, col] = fetch


@njit(cache=True, nogil=True)
def _blow_poleward(land: Float64, height: Float64, wind: Float64) -> None:
    """Water left and lifting of the monsoon, which blows from the equator along the meridians."""
    rows, cols = land.shape
    for direction in (-1, 1):
        for col in range(cols):
            water, before = 1.0, 0.0
            for i in range(rows // 2):
                row = rows // 2 + (i if direction == 1 else -1 - i)
                climb = height[row, col] - before
                before = height[row, col]
                water = _step(water, land[row, col], climb, _STEP_KM, 2400.0)
                wind[0, row, col] = water
                wind[1, row, col] = water * max(climb, 0.0) * 100.0 / _STEP_KM


@njit(cache=True, nogil=True)
def _bump(t: float) -> float:
    """A smooth bell on [-1, 1]."""
    return max(0.0, 1.0 - t * t) ** 2


@njit(cache=True, nogil=True)
def _mean_and_swing(lat: float, inner: float, fetch: float) -> tuple[float, float]:
    """Annual mean and half the annual range of temperature at sea level."""
    north = abs(lat)
    sine = sine_cosine(north)[0]
    frozen = ramp(north, 58.0, 78.0)
    inner += (fetch - inner) * 0.5 * ramp(north, 22.0, 40.0)
    mean = 27.5 - 30.0 * sine * sine - (6.0 if lat > 0.0 else 10.0) * frozen
    mean += 3.0 * inner * _bump((north - 22.0) / 20.0) - 12.0 * inner * ramp(north, 30.0, 68.0)
    mean += 1.5 * (1.0 - inner) * _bump((north - 52.0) / 24.0)
    if lat > 0.0:
        inner = max(inner, 0.35 * frozen)
    return mean, 1.0 + 4.5 * sine + 32.0 * inner * ramp(north, 8.0, 78.0)


@njit(cache=True, nogil=True)
def _rain(lat: float, season: float, temperature: float, inner: float, wind: Float64) -> float:
    """Precipitation of a month in mm at a place; `season` is +1 in July, -1 in January.

    `wind` holds water, lifting and fetch of the wind from the west, from the east, and of the monsoon, (3, 3).
    """
    north = abs(lat)
    local = season if lat > 0.0 else -season
    summer, warm = max(0.0, local), max(0.0, 0.25 + 0.75 * local)
    west, east, monsoon = wind[0, 0], wind[1, 0], wind[2, 0]
    belt = lat - 1.5 - season * (5.0 + 6.0 * inner)
    sinking = 1.0 - 0.95 * wind[1, 2] * ramp(north, 8.0, 20.0)
    tropics = 290.0 * _bump(belt / 16.5) * (0.05 + 0.95 * max(east, 0.9 * monsoon)) * sinking
    surge = 340.0 * warm * _bump((north - 23.0) / 17.0) * max(monsoon**2, east**2) * sinking
    lee = 1.0 - 0.7 * ramp(wind[0, 2], 0.7, 1.0)
    storms = 88.0 * _bump((abs(lat - season * 11.0) - 53.0) / 29.0) * (0.06 + 0.94 * max(west, 0.55 * east)) * lee
    recycled = inner * (0.42 + 0.5 * west) * ramp(north, 34.0, 48.0)
    showers = 120.0 * summer * _bump((north - 48.0) / 28.0) * max(east**2, recycled)
    front = 18.0 * ramp(north, 42.0, 60.0) * (0.55 + 0.45 * west) * lee
    westerly, easterly = ramp(north, 26.0, 40.0), 1.0 - ramp(north, 24.0, 36.0)
    lifting = westerly * wind[0, 1] + easterly * wind[1, 1] + summer * wind[2, 1]
    total = (4.0 + tropics + surge + storms + showers + front) * (1.0 + min(lifting / 350.0, 1.2))
    cold = max(0.0, 8.0 - temperature) / 26.0
    return float(total / (1.0 + cold * cold))


@njit(cache=True, nogil=True)
def _fill_normals(normals: Float32, inland: Float64, winds: Float64, region: Float64) -> None:
    rows, cols = inland.shape
    for row in range(rows):
        lat = 90.0 - (row + 0.5) * 180.0 / rows
        hemisphere = ramp(lat, -4.0, 4.0) * 2.0 - 1.0
        for col in range(cols):
            wind = winds[:, :, row, col]
            inner = inland[row, col] / (inland[row, col] + 550.0)
            mean, swing = _mean_and_swing(lat, inner, wind[0, 2])
            for month in range(12):
                temperature = mean + 1.2 * region[row, col] + swing * hemisphere * _SEASON[month]
                rain = _rain(lat, _SEASON[month], temperature, inner, wind)
                normals[row, col, month] = temperature
                normals[row, col, 12 + month] = rain * (1.0 + 0.3 * region[row, col])


def climates(lon: Float64, lat: Float64, height: Float64, normals: Float32) -> Float32:
    """Normals at places of a height in metres, (24, N): steps of 0.1 °C and 1 mm; NaN at a height of 0 and below."""
    values = np.full((24, lon.shape[0]), np.nan, np.float32)
    land = np.flatnonzero(height > 0.0)
    _round_normals(values, land, read_grid(normals, lon[land], lat[land]), LAPSE_C_PER_M * height[land])
    return values


@njit(cache=True, nogil=True)
def _round_normals(values: Float32, land: Int64, normals: Float64, cooling: Float64) -> None:
    for month in range(12):
        for n in range(land.shape[0]):
            values[month, land[n]] = math.floor((normals[n, month] - cooling[n]) * 10.0 + 0.5) / 10.0
            values[12 + month, land[n]] = math.floor(normals[n, 12 + month] + 0.5)

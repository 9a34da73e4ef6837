"""Continents, mountains and the sea floor: the elevation of the synthetic Earth in metres, 0 at the coast.

Where the continents lie is written down here, as round cores; the seed draws their coasts, hills and valleys.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from csmoe_sampler.synthetic.noise import (
    COASTS,
    DETAIL,
    EARTH_KM,
    HILLS,
    RIDGES,
    WARPS,
    cell_centres,
    fractal_noise,
    ramp,
    read_grid,
    sine_cosine,
    unit_vectors,
)
from csmoe_sampler.types import Float32, Float64

TERRAIN_DEG = 0.25
"""Cell of the global terrain grid; finer relief is added by `elevations`."""
LAND_SHARE = 0.295
"""Share of the sphere above the sea, as on the real Earth: the sea level is set to meet it."""

_DETAIL_KM = 28.0
_DETAIL_OCTAVES = 5
_DEEP_M = -400.0
_WARP = 0.075

# lon, lat, radius in degrees: cores of the continents and islands.
_CORES = np.array(
    [
        # a long continent from the Arctic to the southern ocean
        (-112.0, 60.0, 22.0), (-88.0, 58.0, 20.0), (-100.0, 40.0, 18.0), (-84.0, 40.0, 12.0), (-99.0, 21.0, 8.0),
        (-92.0, 16.0, 6.0), (-84.0, 11.0, 6.0), (-77.0, -8.0, 7.0), (-73.0, -15.0, 9.0), (-69.0, 1.0, 15.0),
        (-54.0, -8.0, 14.0), (-60.0, -25.0, 14.0), (-68.0, -42.0, 9.0), (-71.0, -52.0, 5.0), (-135.0, 64.0, 10.0),
        # a great one in the north, with peninsulas in its south
        (12.0, 49.0, 11.0), (33.0, 55.0, 18.0), (60.0, 57.0, 20.0), (88.0, 58.0, 22.0), (112.0, 56.0, 20.0),
        (138.0, 64.0, 15.0), (98.0, 36.0, 17.0), (114.0, 32.0, 10.0), (72.0, 36.0, 13.0), (77.0, 20.0, 10.0),
        (77.0, 30.0, 9.0), (88.0, 31.0, 11.0), (103.0, 17.0, 8.0), (48.0, 27.0, 9.0), (52.0, 35.0, 9.0),
        (-3.0, 41.0, 6.0), (17.0, 64.0, 8.0),
        # a hot one
        (4.0, 18.0, 16.0), (24.0, 19.0, 17.0), (23.0, -3.0, 16.0), (27.0, -20.0, 13.0), (42.0, 7.0, 7.0),
        (24.0, -30.0, 7.0),
        # one across the antimeridian
        (171.0, -24.0, 12.0), (-176.0, -27.0, 12.0), (-166.0, -22.0, 7.0), (178.0, -37.0, 6.0),
        # the polar ones
        (0.0, -90.0, 19.0), (80.0, -80.0, 15.0), (-40.0, 74.0, 11.0),
        # islands
        (114.0, 0.0, 6.0), (122.0, -4.0, 4.5), (102.0, -1.0, 4.5), (139.0, -5.0, 7.5), (126.0, 10.0, 4.0),
        (47.0, -19.0, 4.5), (138.0, 37.0, 4.5), (-8.0, 56.0, 4.0), (-20.0, 65.0, 4.0), (-77.0, 20.0, 3.5),
        (170.0, -46.0, 4.5), (155.0, 20.0, 2.0), (-157.0, 20.0, 2.2), (-28.0, 38.0, 1.6), (58.0, -49.0, 2.5),
        (-15.0, 16.0, 1.8), (57.0, -21.0, 1.8), (178.0, 3.0, 2.0), (-120.0, -5.0, 2.0), (85.0, -40.0, 2.0),
    ]
)  # fmt: skip
# lon and lat of both ends, half width in degrees, height in metres: mountain ranges.
_RANGES = np.array(
    [
        (-140.0, 63.0, -121.0, 51.0, 5.0, 1900.0), (-121.0, 51.0, -107.0, 34.0, 6.0, 2300.0),
        (-107.0, 34.0, -97.0, 18.0, 4.0, 2600.0), (-97.0, 18.0, -78.0, 8.0, 2.2, 1700.0),
        (-78.0, 8.0, -78.0, -6.0, 3.0, 4000.0), (-78.0, -6.0, -69.0, -19.0, 4.0, 5200.0),
        (-69.0, -19.0, -70.0, -38.0, 3.0, 4300.0), (-70.0, -38.0, -73.0, -53.0, 2.0, 1500.0),
        (-82.0, 35.0, -72.0, 44.0, 2.5, 1100.0), (-45.0, -22.0, -41.0, -13.0, 3.0, 1100.0),
        (5.0, 45.5, 16.0, 47.0, 2.0, 2900.0), (36.0, 40.0, 52.0, 36.0, 3.5, 2700.0),
        (58.0, 50.0, 61.0, 67.0, 2.5, 1000.0), (68.0, 36.0, 79.0, 33.0, 4.5, 5200.0),
        (79.0, 30.5, 96.0, 29.0, 3.5, 6200.0), (96.0, 29.0, 102.0, 22.0, 3.5, 3300.0),
        (72.0, 42.0, 92.0, 46.0, 3.5, 3400.0), (92.0, 49.0, 115.0, 53.0, 4.0, 1900.0),
        (125.0, 62.0, 150.0, 68.0, 5.0, 1700.0), (35.0, 11.0, 40.0, 7.0, 4.0, 2700.0),
        (30.0, 1.0, 36.0, -9.0, 3.0, 2100.0), (25.0, -31.0, 31.0, -25.0, 3.0, 2200.0),
        (-8.0, 31.0, 4.0, 34.0, 2.2, 1900.0), (8.0, 60.0, 18.0, 68.0, 2.5, 1300.0),
        (-167.0, -18.0, -166.0, -30.0, 2.5, 1300.0), (176.0, -41.0, -178.0, -34.0, 2.0, 1900.0),
        (166.0, -48.0, 174.0, -42.0, 1.6, 2300.0), (133.0, -4.0, 146.0, -6.5, 2.0, 3600.0),
        (134.0, 34.5, 142.0, 41.0, 1.6, 1700.0), (113.0, -1.0, 117.0, 4.0, 2.0, 1500.0),
        (-40.0, 68.0, -28.0, 70.0, 3.0, 1500.0), (99.0, 3.0, 105.0, -5.0, 1.3, 1900.0),
    ]
)  # fmt: skip
# lon, lat, radius in degrees, height in metres: plateaus and ice domes.
_DOMES = np.array(
    [
        (88.0, 33.5, 12.0, 4300.0), (98.0, 36.0, 7.0, 2600.0), (-113.0, 39.0, 10.0, 1300.0),
        (-67.0, -19.0, 5.0, 3200.0), (28.0, -18.0, 14.0, 1000.0), (38.0, 9.0, 7.0, 1400.0), (57.0, 33.0, 9.0, 1000.0),
        (104.0, 47.0, 10.0, 1000.0), (0.0, -90.0, 21.0, 3100.0), (80.0, -79.0, 14.0, 2400.0),
        (-40.0, 74.0, 10.5, 2800.0),
    ]
)  # fmt: skip


def terrain_grid(key: int) -> Float32:
    """Elevation in metres at the cell centres of the global `TERRAIN_DEG` grid, (720, 1440, 1), rows from the north."""
    rows, cols = round(180 / TERRAIN_DEG), round(360 / TERRAIN_DEG)
    points = _warp(cell_centres(rows, cols), key)
    potential = _closeness(points, _places(_CORES)) + 0.35 * fractal_noise(points, 3.1, key + COASTS, 8, 2.03, 0.6)
    potential -= _sea_level(potential.reshape(rows, cols))
    elevation = np.maximum(9000.0 * potential, -5500.0)
    land = np.flatnonzero(potential > 0.0)
    elevation[land] = _relief(np.take(points, land, axis=1), potential[land], key)
    return elevation.reshape(rows, cols, 1).astype(np.float32)


def elevations(lon: Float64, lat: Float64, terrain: Float32, key: int) -> Float64:
    """Elevation in metres at places, (N,): the terrain grid, and relief of 28 km and finer that grows with it."""
    height: Float64 = read_grid(terrain, lon, lat)[:, 0]
    near = np.flatnonzero(height >= _DEEP_M)
    points = unit_vectors(lon[near], lat[near])
    detail = fractal_noise(points, EARTH_KM / _DETAIL_KM, key + DETAIL, _DETAIL_OCTAVES, 2.05, 0.57)
    height[near] += np.minimum(28.0 + 0.15 * np.abs(height[near]), 330.0) * detail
    return height


def _warp(points: Float64, key: int) -> Float64:
    """Points of the sphere pushed aside by noise: what is round around them becomes irregular at every scale."""
    pushes = [fractal_noise(points, 4.3, key + WARPS + 8 * axis, 7, 2.03, 0.6) for axis in range(3)]
    warped = points + _WARP * np.stack(pushes)
    return np.asarray(warped / np.sqrt(warped[0] * warped[0] + warped[1] * warped[1] + warped[2] * warped[2]))


def _relief(points: Float64, potential: Float64, key: int) -> Float64:
    """Elevation of land by its potential above the sea level: plains, hills, ranges, plateaus."""
    hills = np.maximum(fractal_noise(points, 9.0, key + HILLS, 6, 2.07, 0.55) + 0.1, 0.0)
    ridges = 1.0 - np.abs(fractal_noise(points, 40.0, key + RIDGES, 4, 2.1, 0.5))
    mountains = _range_heights(points, _segments(_RANGES)) * (0.45 + 0.55 * ridges)
    uplands = np.maximum(mountains, _dome_heights(points, _places(_DOMES)))
    return 350.0 * potential + 550.0 * hills * _rise(potential / 0.35) + uplands * _rise((potential + 0.05) / 0.25)


def _rise(t: Float64) -> Float64:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _places(table: Float64) -> Float64:
    """Rows (x, y, z, 1 - cosine of the radius, remaining columns) of a table (lon, lat, radius, ...)."""
    radii = np.array([1.0 - sine_cosine(radius)[1] for radius in table[:, 2]])
    return np.column_stack((unit_vectors(table[:, 0], table[:, 1]).T, radii, table[:, 3:]))


def _segments(table: Float64) -> Float64:
    """Rows (start xyz, end xyz, half width in Earth radii, height) of the ranges."""
    starts, ends = unit_vectors(table[:, 0], table[:, 1]).T, unit_vectors(table[:, 2], table[:, 3]).T
    return np.column_stack((starts, ends, [sine_cosine(width)[0] for width in table[:, 4]], table[:, 5]))


def _sea_level(potential: Float64) -> float:
    """The potential above which `LAND_SHARE` of the sphere lies."""
    rows, cols = potential.shape
    parallels = [sine_cosine(90.0 - 180.0 * row / rows)[0] for row in range(rows + 1)]
    area = np.repeat(np.round(-np.diff(parallels) * 1e12).astype(np.int64), cols)
    order = np.argsort(potential, axis=None, kind="stable")[::-1]
    covered = np.cumsum(area[order])
    last = np.searchsorted(covered, round(LAND_SHARE * int(covered[-1])))
    return float(potential.ravel()[order[last]])


@njit(cache=True, nogil=True)
def _closeness(points: Float64, cores: Float64) -> Float64:
    """Closeness to the core that is nearest in terms of its radius: 1 at its centre, 0 at its radius, -0.9 far away."""
    x, y, z = points
    closeness = np.full(x.shape[0], -0.9)
    for i in range(cores.shape[0]):
        for n in range(x.shape[0]):
            cosine = x[n] * cores[i, 0] + y[n] * cores[i, 1] + z[n] * cores[i, 2]
            closeness[n] = max(closeness[n], 1.0 - (1.0 - cosine) / cores[i, 3])
    return closeness


@njit(cache=True, nogil=True)
def _dome_heights(points: Float64, domes: Float64) -> Float64:
    """Height of the highest dome, flat on top."""
    x, y, z = points
    height = np.zeros(x.shape[0])
    for i in range(domes.shape[0]):
        for n in range(x.shape[0]):
            cosine = x[n] * domes[i, 0] + y[n] * domes[i, 1] + z[n] * domes[i, 2]
            height[n] = max(height[n], domes[i, 4] * ramp(1.0 - (1.0 - cosine) / domes[i, 3], 0.0, 0.6))
    return height


@njit(cache=True, nogil=True)
def _range_heights(points: Float64, ranges: Float64) -> Float64:
    """Height of the highest range, falling off smoothly from its axis."""
    x, y, z = points
    height = np.zeros(x.shape[0])
    for i in range(ranges.shape[0]):
        a, b, c = ranges[i, 3] - ranges[i, 0], ranges[i, 4] - ranges[i, 1], ranges[i, 5] - ranges[i, 2]
        for n in range(x.shape[0]):
            p, q, r = x[n] - ranges[i, 0], y[n] - ranges[i, 1], z[n] - ranges[i, 2]
            t = min(max((p * a + q * b + r * c) / (a * a + b * b + c * c), 0.0), 1.0)
            p, q, r = p - t * a, q - t * b, r - t * c
            fall = max(0.0, 1.0 - (p * p + q * q + r * r) / (2.0 * ranges[i, 6] * ranges[i, 6]))
            height[n] = max(height[n], ranges[i, 7] * fall * fall)
    return height

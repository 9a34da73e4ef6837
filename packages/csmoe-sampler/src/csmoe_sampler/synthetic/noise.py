"""Compiled kernels of the synthetic Earth: the sphere without libm, value noise on it, and bilinear reads of grids.

Only +, -, *, / and integer operations, each rounded by IEEE 754 and none fused, so that every machine computes the
same bits; sines come from a polynomial for the same reason.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from csmoe_sampler.types import Float32

COORDINATE_UNITS = 240_000.0
"""Coordinates are rounded to this fraction of a degree (0.46 m) first: a pixel centre that two windows compute with a
different last bit is the same place, and every pixel centre of the rasters written here is hit exactly."""

_X, _Y, _Z = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_MIX, _HALF, _TOP = np.uint64(0xD6E8FEB86659FD93), np.uint64(32), np.uint64(11)
_SPLIT = np.uint64(0xA0761D6478BD642F)
_DEGREE = 0.017453292519943295
_SINE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(8, -1, -1))
_COSINE = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(8, -1, -1))


@njit(cache=True, nogil=True)
def hash_unit(key: np.uint64) -> float:
    """A number in [0, 1) that looks random in every bit of `key`."""
    key ^= key >> _HALF
    key *= _MIX
    key ^= key >> _HALF
    key *= _MIX
    key ^= key >> _HALF
    return np.int64(key >> _TOP) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def cell_key(x: float, y: float, z: float, key: np.uint64) -> np.uint64:
    """The key of the unit cube of the lattice that holds a point."""
    return (
        np.uint64(math.floor(x)) * _X + np.uint64(math.floor(y)) * _Y + np.uint64(math.floor(z)) * _Z + key * _SPLIT
    )


@njit(cache=True, nogil=True)
def value_noise(x: float, y: float, z: float, key: np.uint64) -> float:
    """Smooth noise in [-1, 1], one random value at every integer point of space, standard deviation about 0.37."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v), w * w * (3.0 - 2.0 * w)
    a, b, c = np.uint64(i) * _X, np.uint64(j) * _Y, np.uint64(k) * _Z + key * _SPLIT
    near = _square(a + b + c, u, v)
    far = _square(a + b + c + _Z, u, v)
    return 2.0 * (near + (far - near) * w) - 1.0


@njit(cache=True, nogil=True)
def _square(corner: np.uint64, u: float, v: float) -> float:
    low = hash_unit(corner)
    low += (hash_unit(corner + _X) - low) * u
    high = hash_unit(corner + _Y)
    high += (hash_unit(corner + _X + _Y) - high) * u
    return low + (high - low) * v


@njit(cache=True, nogil=True)
def fractal_noise(x: float, y: float, z: float, key: np.uint64, octaves: int, lacunarity: float, gain: float) -> float:
    """A sum of octaves of `value_noise`, each `lacunarity` times finer and `gain` times weaker; the first has weight 1.

    The octaves are shifted against each other, otherwise their lattice planes would meet at the equator and show there.
    """
    total, weight = 0.0, 1.0
    for octave in range(octaves):
        x, y, z = x + 0.37, y + 0.59, z + 0.83
        total += weight * value_noise(x, y, z, key + np.uint64(octave))
        x, y, z, weight = x * lacunarity, y * lacunarity, z * lacunarity, weight * gain
    return total


@njit(cache=True, nogil=True)
def round_coordinate(degrees: float) -> float:
    """The nearest multiple of 1 / `COORDINATE_UNITS` degrees."""
    return math.floor(degrees * COORDINATE_UNITS + 0.5) / COORDINATE_UNITS


@njit(cache=True, nogil=True)
def sine_cosine(degrees: float) -> tuple[float, float]:
    """Sine and cosine by their Taylor series on [-45, 45] degrees."""
    quarter = math.floor(degrees / 90.0 + 0.5)
    t = (degrees - 90.0 * quarter) * _DEGREE
    q = t * t
    sine, cosine = 0.0, 0.0
    for k in range(len(_SINE)):
        sine = sine * q + _SINE[k]
        cosine = cosine * q + _COSINE[k]
    sine *= t
    turn = int(quarter) & 3
    if turn == 0:
        return sine, cosine
    if turn == 1:
        return cosine, -sine
    if turn == 2:
        return -sine, -cosine
    return -cosine, sine


@njit(cache=True, nogil=True)
def unit_vector(lon: float, lat: float) -> tuple[float, float, float]:
    """The point of the unit sphere at a place in degrees."""
    sine_lon, cosine_lon = sine_cosine(lon)
    sine_lat, cosine_lat = sine_cosine(lat)
    return cosine_lat * cosine_lon, cosine_lat * sine_lon, sine_lat


@njit(cache=True, nogil=True)
def ramp(value: float, start: float, end: float) -> float:
    """0 up to `start`, 1 from `end` on, smooth between."""
    t = min(max((value - start) / (end - start), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True)
def grid_weights(lon: float, lat: float, rows: int, cols: int) -> tuple[int, int, int, int, float, float]:
    """The two rows and two columns of cell centres around a place, and its fractions between them.

    The grid covers the globe, row 0 in the north, column 0 at -180 degrees; columns wrap, rows end at the poles.
    """
    r = (90.0 - lat) * rows / 180.0 - 0.5
    c = (lon + 180.0) * cols / 360.0 - 0.5
    row, col = math.floor(r), math.floor(c)
    north, south = min(max(row, 0), rows - 1), min(max(row + 1, 0), rows - 1)
    return int(north), int(south), int(col) % cols, int(col + 1) % cols, r - row, c - col


@njit(cache=True, nogil=True)
def read_grid(grid: Float32, lon: float, lat: float) -> float:
    """Bilinear value of a global (rows, cols) grid of cell centres at a place."""
    north, south, west, east, v, u = grid_weights(lon, lat, grid.shape[0], grid.shape[1])
    top = grid[north, west] + (np.float64(grid[north, east]) - grid[north, west]) * u
    bottom = grid[south, west] + (np.float64(grid[south, east]) - grid[south, west]) * u
    return top + (bottom - top) * v

"""Compiled kernels of the synthetic Earth: the sphere without libm, noise on it, and bilinear reads of global grids.

Only +, -, *, /, square roots and integer operations, each rounded by IEEE 754 and none fused, so that every machine
computes the same bits; sines come from a polynomial for the same reason. Noise works on whole arrays and in 32-bit
integers, because such a loop compiles to vector instructions.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numba import njit

from csmoe_sampler.types import Float32, Float64

EARTH_KM = 6371.0

COORDINATE_UNITS = 240_000.0
"""Coordinates are rounded to this fraction of a degree (0.46 m) first: a pixel centre that two windows compute with a
different last bit is the same place, and every pixel centre of the rasters written here is hit exactly."""

COASTS, WARPS, HILLS, RIDGES, DETAIL, REGIONS, PATCHES, MIXTURE, LAKES, RIVERS, PEOPLE, TOWNS, PARCELS = (
    32 * field for field in range(13)
)
"""Fields of noise; each owns the 32 keys from its number on."""

_X, _Y, _Z = np.uint32(0x9E3779B1), np.uint32(0x85EBCA77), np.uint32(0xC2B2AE3D)
_MIX, _KEYS = np.uint32(0x27D4EB2F), np.uint32(0x165667B1)
_S1, _S13, _S15, _S16 = np.uint32(1), np.uint32(13), np.uint32(15), np.uint32(16)
_DEGREE = 0.017453292519943295
_SINE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(8, -1, -1))
_COSINE = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(8, -1, -1))


def seed_key(seed: int) -> int:
    """The key of the first field of the Earth of a seed."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "little") >> 1


@njit(cache=True, nogil=True)
def hash_unit(h: np.uint32) -> float:
    """A number in [0, 1) that looks random in every bit of `h`."""
    h = np.uint32(np.uint32(h ^ (h >> _S15)) * _MIX)
    h = np.uint32(np.uint32(h ^ (h >> _S13)) * _Z)
    h = np.uint32(h ^ (h >> _S16))
    return np.int32(h >> _S1) * (1.0 / 2147483648.0)


@njit(cache=True, nogil=True)
def cell_hash(x: float, y: float, z: float, key: np.uint32) -> np.uint32:
    """The number of the unit cube of the lattice of `key` that holds a point; to be given to `hash_unit`."""
    cube = np.uint32(np.int32(math.floor(x))) * _X + np.uint32(np.int32(math.floor(y))) * _Y
    return np.uint32(cube + np.uint32(np.int32(math.floor(z))) * _Z + key * _KEYS)


@njit(cache=True, nogil=True)
def _add_noise(total: Float64, x: Float64, y: Float64, z: Float64, scale: float, weight: float, key: np.uint32) -> None:
    """Add noise in [-weight, weight]: one random value at every integer point of space, smooth between."""
    shift = np.uint32(key * _KEYS)
    for n in range(total.shape[0]):
        # The shifts keep the lattice planes of the octaves from meeting at the equator, where they would show.
        px, py, pz = x[n] * scale + 0.37, y[n] * scale + 0.59, z[n] * scale + 0.83
        fx, fy, fz = np.floor(px), np.floor(py), np.floor(pz)
        u, v, w = px - fx, py - fy, pz - fz
        u, v, w = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v), w * w * (3.0 - 2.0 * w)
        a, b = np.uint32(np.uint32(np.int32(fx)) * _X), np.uint32(np.uint32(np.int32(fy)) * _Y)
        c = np.uint32(np.uint32(np.int32(fz)) * _Z + shift)
        a1, b1, c1 = np.uint32(a + _X), np.uint32(b + _Y), np.uint32(c + _Z)
        p00, p10, p01, p11 = np.uint32(a + b), np.uint32(a1 + b), np.uint32(a + b1), np.uint32(a1 + b1)
        near0, near1 = hash_unit(np.uint32(p00 + c)), hash_unit(np.uint32(p01 + c))
        near0 += (hash_unit(np.uint32(p10 + c)) - near0) * u
        near1 += (hash_unit(np.uint32(p11 + c)) - near1) * u
        far0, far1 = hash_unit(np.uint32(p00 + c1)), hash_unit(np.uint32(p01 + c1))
        far0 += (hash_unit(np.uint32(p10 + c1)) - far0) * u
        far1 += (hash_unit(np.uint32(p11 + c1)) - far1) * u
        near0 += (near1 - near0) * v
        far0 += (far1 - far0) * v
        total[n] += weight * (2.0 * (near0 + (far0 - near0) * w) - 1.0)


def fractal_noise(points: Float64, scale: float, key: int, octaves: int, lacunarity: float, gain: float) -> Float64:
    """Noise at points of space, (3, N): a sum of octaves, each `lacunarity` finer and `gain` times weaker.

    The first octave has `scale` lattice cells to a unit, lies in [-1, 1] and has standard deviation 0.37.
    """
    total = np.zeros(points.shape[1])
    weight = 1.0
    for octave in range(octaves):
        _add_noise(total, points[0], points[1], points[2], scale, weight, np.uint32(key + octave))
        scale, weight = scale * lacunarity, weight * gain
    return total


def round_coordinates(lon: Float64, lat: Float64) -> tuple[Float64, Float64]:
    """The nearest places of the lattice of 1 / `COORDINATE_UNITS` degrees, longitudes brought to [-180, 180)."""
    east, north = np.floor(lon * COORDINATE_UNITS + 0.5), np.floor(lat * COORDINATE_UNITS + 0.5)
    east = np.where(east >= 180.0 * COORDINATE_UNITS, east - 360.0 * COORDINATE_UNITS, east)
    return east / COORDINATE_UNITS, north / COORDINATE_UNITS


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
def unit_vectors(lon: Float64, lat: Float64) -> Float64:
    """Points of the unit sphere, (3, N); fastest where neighbours share their latitude."""
    points = np.empty((3, lon.shape[0]))
    sine_lat, cosine_lat = 0.0, 0.0
    for n in range(lon.shape[0]):
        if n == 0 or lat[n] != lat[n - 1]:
            sine_lat, cosine_lat = sine_cosine(lat[n])
        sine_lon, cosine_lon = sine_cosine(lon[n])
        points[0, n], points[1, n], points[2, n] = cosine_lat * cosine_lon, cosine_lat * sine_lon, sine_lat
    return points


def cell_centres(rows: int, cols: int) -> Float64:
    """Points of the centres of the cells of a global grid, (3, rows * cols), row by row from the north."""
    lon, lat = -180.0 + (np.arange(cols) + 0.5) * (360.0 / cols), 90.0 - (np.arange(rows) + 0.5) * (180.0 / rows)
    points: Float64 = unit_vectors(np.tile(lon, rows), np.repeat(lat, cols))
    return points


@njit(cache=True, nogil=True)
def ramp(value: float, start: float, end: float) -> float:
    """0 up to `start`, 1 from `end` on, smooth between."""
    t = min(max((value - start) / (end - start), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True)
def _grid_weights(lon: float, lat: float, rows: int, cols: int) -> tuple[int, int, int, int, float, float]:
    """The two rows and two columns of cell centres around a place, and its fractions between them.

    The grid covers the globe, row 0 in the north, column 0 at -180 degrees; columns wrap, rows end at the poles.
    """
    r = (90.0 - lat) * (rows / 180.0) - 0.5
    c = (lon + 180.0) * (cols / 360.0) - 0.5
    row, col = math.floor(r), math.floor(c)
    north, south = min(max(row, 0), rows - 1), min(max(row + 1, 0), rows - 1)
    west, east = col if col >= 0 else cols - 1, col + 1 if col + 1 < cols else 0
    return north, south, west, east, r - row, c - col


@njit(cache=True, nogil=True)
def read_grid(grid: Float32, lon: Float64, lat: Float64) -> Float64:
    """Bilinear values of a global (rows, cols, fields) grid of cell centres at places, (N, fields)."""
    values = np.empty((lon.shape[0], grid.shape[2]))
    for n in range(lon.shape[0]):
        north, south, west, east, v, u = _grid_weights(lon[n], lat[n], grid.shape[0], grid.shape[1])
        for i in range(grid.shape[2]):
            top = grid[north, west, i] + (np.float64(grid[north, east, i]) - grid[north, west, i]) * u
            bottom = grid[south, west, i] + (np.float64(grid[south, east, i]) - grid[south, west, i]) * u
            values[n, i] = top + (bottom - top) * v
    return values

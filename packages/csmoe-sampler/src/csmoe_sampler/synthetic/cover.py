"""Land cover of the synthetic Earth: a WorldCover code for any place, by elevation, climate and noise down to 60 m."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from csmoe_sampler.synthetic.noise import (
    EARTH_KM,
    LAKES,
    MIXTURE,
    PARCELS,
    PATCHES,
    PEOPLE,
    RIVERS,
    TOWNS,
    cell_hash,
    fractal_noise,
    hash_unit,
    ramp,
    read_grid,
    unit_vectors,
)
from csmoe_sampler.synthetic.terrain import elevations
from csmoe_sampler.synthetic.weather import LAPSE_C_PER_M
from csmoe_sampler.types import Float32, Float64

UInt8 = npt.NDArray[np.uint8]

NO_DATA, TREES, SHRUBS, GRASS, CROPS, BUILT, BARE, SNOW, WATER, WETLAND, MANGROVES, MOSS = (
    np.uint8(code) for code in (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
)

_STRIP_M = -160.0
_CHUNK = 16384
# Field, wave length in km, octaves, lacunarity: patches of vegetation, mixture inside them, lakes, rivers, people.
_NOISE = (
    (PATCHES, 11.0, 4, 3.9),
    (MIXTURE, 1.9, 3, 5.3),
    (LAKES, 21.0, 2, 4.3),
    (RIVERS, 170.0, 4, 2.6),
    (PEOPLE, 520.0, 3, 3.7),
)
_ONE, _TWO, _THREE = np.uint32(1), np.uint32(2), np.uint32(3)


def summarise(normals: Float32) -> Float32:
    """What land cover depends on, (rows, cols, 4): mean, warmest and coldest month in °C at sea level, mm a year."""
    temperature, rain = normals[..., :12].astype(np.float64), normals[..., 12:].astype(np.float64)
    mean, total = np.zeros(normals.shape[:2]), np.zeros(normals.shape[:2])
    for month in range(12):
        mean += temperature[..., month]
        total += rain[..., month]
    return np.stack((mean / 12.0, temperature.max(-1), temperature.min(-1), total), axis=-1).astype(np.float32)


def covers(lon: Float64, lat: Float64, terrain: Float32, summary: Float32, key: int) -> UInt8:
    """Codes of places in degrees, (N,)."""
    codes = np.empty(lon.shape[0], np.uint8)
    for start in range(0, lon.shape[0], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        height = elevations(lon[chunk], lat[chunk], terrain, key)
        land = np.flatnonzero(height > 0.0)
        codes[chunk] = np.where(height > _STRIP_M, WATER, NO_DATA)
        codes[start + land] = _land(lon[chunk][land], lat[chunk][land], height[land], summary, key)
    return codes


def _land(lon: Float64, lat: Float64, height: Float64, summary: Float32, key: int) -> UInt8:
    points = unit_vectors(lon, lat)
    noise = np.empty((len(_NOISE), lon.shape[0]))
    for i, (field, wave_km, octaves, lacunarity) in enumerate(_NOISE):
        noise[i] = fractal_noise(points, EARTH_KM / wave_km, key + field, octaves, lacunarity, 0.55)
    codes = np.empty(lon.shape[0], np.uint8)
    _decide(codes, points, height, read_grid(summary, lon, lat), noise, np.uint32(key))
    return codes


@njit(cache=True, nogil=True)
def _decide(codes: UInt8, points: Float64, height: Float64, climate: Float64, noise: Float64, key: np.uint32) -> None:
    for n in range(codes.shape[0]):
        patch, mixture = noise[0, n], noise[1, n]
        cooling = LAPSE_C_PER_M * height[n]
        mean, warmest, coldest = climate[n, 0] - cooling, climate[n, 1] - cooling, climate[n, 2] - cooling
        # Rain over what could evaporate: deserts end at about 0.5, steppes at about 1.
        wetness = climate[n, 3] / (20.0 * max(mean, 0.0) + 200.0)
        green = wetness * (1.0 + 0.5 * patch)
        code = SNOW if warmest + 2.0 * patch < 0.8 else NO_DATA
        if code == NO_DATA and wetness > 0.3:
            code = _water(noise[2, n], noise[3, n], height[n], mean, wetness)
        if code == NO_DATA and warmest + 2.0 * patch < 10.0:
            code = _tundra(green, warmest, mixture)
        if code == NO_DATA and height[n] < 9.0 and coldest > 14.0 and green > 0.75:
            code = MANGROVES
        if code == NO_DATA:
            crowd = noise[4, n] + _welcome(height[n], warmest, wetness)
            if crowd > 0.0:
                code = _settled(points[0, n], points[1, n], points[2, n], crowd, key)
        codes[n] = _vegetation(green, mean, mixture) if code == NO_DATA else code


@njit(cache=True, nogil=True)
def _water(lake: float, river: float, height: float, mean: float, wetness: float) -> np.uint8:
    """Lakes with marshes around them, more in the cold; rivers, wider where it is wet, with marshes in the plains."""
    lake += 0.22 * ramp(-mean, -4.0, 6.0) + 0.1 * ramp(wetness, 0.8, 2.0) - 0.92
    width = 0.0045 * min(wetness, 1.6)
    if lake > 0.0 or (abs(river) < width and height < 1500.0):
        return WATER
    if lake > -0.13 and wetness > 0.8 and height < 900.0:
        return WETLAND
    if abs(river) < 2.2 * width and wetness > 0.9 and height < 120.0:
        return WETLAND
    return NO_DATA


@njit(cache=True, nogil=True)
def _welcome(height: float, warmest: float, wetness: float) -> float:
    """How much a place attracts people: low, warm enough, neither dry nor soaked."""
    climate = 0.9 * max(0.0, wetness - 1.35) + 1.5 * max(0.0, 0.8 - wetness) + 0.1 * max(0.0, 21.0 - warmest)
    return 0.16 - height / 2600.0 - climate


@njit(cache=True, nogil=True)
def _settled(x: float, y: float, z: float, crowd: float, key: np.uint32) -> np.uint8:
    """Towns, at most one in a cube of 24 km, with ragged edges, and fields in parcels of 300 m."""
    scale = EARTH_KM / 24.0
    p, q, r = x * scale, y * scale, z * scale
    town = cell_hash(p, q, r, np.uint32(key + TOWNS))
    size = hash_unit(town)
    radius = 0.02 + 0.26 * size * size * size * min(1.0, 0.4 + crowd)
    p, q, r = p - math.floor(p) - 0.3, q - math.floor(q) - 0.3, r - math.floor(r) - 0.3
    p -= 0.4 * hash_unit(np.uint32(town + _ONE))
    q -= 0.4 * hash_unit(np.uint32(town + _TWO))
    r -= 0.4 * hash_unit(np.uint32(town + _THREE))
    parcel = hash_unit(cell_hash(x * EARTH_KM / 0.3, y * EARTH_KM / 0.3, z * EARTH_KM / 0.3, np.uint32(key + PARCELS)))
    if p * p + q * q + r * r < radius * radius * (0.4 + 1.2 * parcel):
        return BUILT
    return CROPS if parcel < min(1.6 * crowd, 0.85) else NO_DATA


@njit(cache=True, nogil=True)
def _tundra(green: float, warmest: float, mixture: float) -> np.uint8:
    if green < 0.35 or mixture > 0.62:
        return BARE
    if mixture < -0.5 + 0.08 * (warmest - 5.0):
        return GRASS
    return MOSS


@njit(cache=True, nogil=True)
def _vegetation(green: float, mean: float, mixture: float) -> np.uint8:
    """From bare ground over shrubs and grass to forest, which needs less rain in the cold."""
    if green < 0.5 + 0.08 * mixture:
        return BARE
    closed = 1.35 - 0.65 * ramp(-mean, -14.0, 2.0)
    if green < 0.55 * closed:
        return BARE if mixture < -0.25 else SHRUBS if mixture > 0.15 else GRASS
    if green < 0.85 * closed:
        return SHRUBS if mixture > 0.4 else TREES if mixture < -0.55 else GRASS
    if green < 1.2 * closed:
        return TREES if mixture > -0.05 else GRASS
    return TREES if mixture > -0.62 else GRASS

"""Land cover of the synthetic Earth: a WorldCover code for any place, from elevation, climate and noise down to 60 m."""

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
    grid_weights,
    hash_unit,
    ramp,
    round_coordinate,
    unit_vector,
)
from csmoe_sampler.synthetic.terrain import elevations
from csmoe_sampler.synthetic.weather import LAPSE_C_PER_M
from csmoe_sampler.types import Float32, Float64

UInt8 = npt.NDArray[np.uint8]

NO_DATA, TREES, SHRUBS, GRASS, CROPS, BUILT, BARE, SNOW, WATER, WETLAND, MANGROVES, MOSS = (
    np.uint8(code) for code in (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
)

_STRIP_M = -160.0
# Field, wave length in km, octaves, lacunarity; one table and one call, because every call is compiled anew.
_NOISE = (
    (float(PATCHES), 11.0, 4.0, 3.9),
    (float(MIXTURE), 1.9, 3.0, 5.3),
    (float(LAKES), 21.0, 2.0, 4.3),
    (float(RIVERS), 170.0, 4.0, 2.6),
    (float(PEOPLE), 520.0, 3.0, 3.7),
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


@njit(cache=True, nogil=True)
def cover_window(cover: UInt8, lon: Float64, lat: Float64, terrain: Float32, summary: Float32, key: np.uint32) -> None:
    """Fill `cover` with the codes of places in degrees, all of one two-dimensional shape."""
    for row in range(cover.shape[0]):
        cols = cover.shape[1]
        east, north = np.empty(cols), np.empty(cols)
        for col in range(cols):
            east[col], north[col] = round_coordinate(lon[row, col]), round_coordinate(lat[row, col])
        height = elevations(east, north, terrain, key)
        land = np.flatnonzero(height > 0.0)
        for col in range(cols):
            cover[row, col] = WATER if height[col] > _STRIP_M else NO_DATA
        codes = _land(east[land], north[land], height[land], summary, key)
        for i in range(land.shape[0]):
            cover[row, land[i]] = codes[i]


@njit(cache=True, nogil=True)
def _land(lon: Float64, lat: Float64, height: Float64, summary: Float32, key: np.uint32) -> UInt8:
    """Codes of places on land, (N,)."""
    place = np.empty((3, lon.shape[0]))
    for n in range(lon.shape[0]):
        place[0, n], place[1, n], place[2, n] = unit_vector(lon[n], lat[n])
    noise = np.empty((len(_NOISE), lon.shape[0]))
    for i in range(len(_NOISE)):
        field, wave_km, octaves, lacunarity = _NOISE[i]
        seed = np.uint32(key + np.uint32(field))
        noise[i] = fractal_noise(place[0], place[1], place[2], EARTH_KM / wave_km, seed, int(octaves), lacunarity, 0.55)
    patch, mixture, lakes, rivers, people = noise[0], noise[1], noise[2], noise[3], noise[4]
    codes = np.empty(lon.shape[0], np.uint8)
    for n in range(lon.shape[0]):
        mean, warmest, coldest, rain = _read(summary, lon[n], lat[n], height[n])
        # Rain over what could evaporate: deserts end at about 0.5, steppes at about 1.
        wetness = rain / (20.0 * max(mean, 0.0) + 200.0)
        code = SNOW if warmest + 2.0 * patch[n] < 0.8 else NO_DATA
        if code == NO_DATA and wetness > 0.3:
            code = _water(lakes[n], rivers[n], height[n], mean, wetness)
        green = wetness * (1.0 + 0.5 * patch[n])
        if code == NO_DATA and warmest + 2.0 * patch[n] < 10.0:
            code = _tundra(green, warmest, mixture[n])
        if code == NO_DATA and height[n] < 9.0 and coldest > 14.0 and green > 0.75:
            code = MANGROVES
        if code == NO_DATA:
            crowd = people[n] + _welcome(height[n], warmest, wetness)
            if crowd > 0.0:
                code = _settled(place[0, n], place[1, n], place[2, n], crowd, key)
        codes[n] = _vegetation(green, mean, mixture[n]) if code == NO_DATA else code
    return codes


@njit(cache=True, nogil=True)
def _read(summary: Float32, lon: float, lat: float, height: float) -> tuple[float, float, float, float]:
    """Mean, warmest and coldest month (°C) and annual rain (mm) at a place and height."""
    north, south, west, east, v, u = grid_weights(lon, lat, summary.shape[0], summary.shape[1])
    a, b, c, d = (1.0 - u) * (1.0 - v), u * (1.0 - v), (1.0 - u) * v, u * v
    nw, ne, sw, se = summary[north, west], summary[north, east], summary[south, west], summary[south, east]
    cooling = LAPSE_C_PER_M * height
    return (
        a * nw[0] + b * ne[0] + c * sw[0] + d * se[0] - cooling,
        a * nw[1] + b * ne[1] + c * sw[1] + d * se[1] - cooling,
        a * nw[2] + b * ne[2] + c * sw[2] + d * se[2] - cooling,
        a * nw[3] + b * ne[3] + c * sw[3] + d * se[3],
    )


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
    """Towns, at most one in a cube of 24 km, and fields in parcels of 300 m."""
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

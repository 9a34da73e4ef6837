"""What a scene sees of the synthetic Earth: cover, relief and climate of its pixels, and their state on a day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from numba import njit

from csmoe_sampler.synthetic.earth import Planet, season
from csmoe_sampler.synthetic.noise import (
    EARTH_KM,
    PARCELS,
    cell_hash,
    fractal_noise,
    hash_unit,
    ramp,
    round_coordinates,
    seed_key,
    unit_vectors,
)
from csmoe_sampler.synthetic.sensing.frames import Frame
from csmoe_sampler.synthetic.sensing.spectra import (
    BUILT,
    COVERS,
    CROPS,
    GRASS,
    MANGROVES,
    MOSS,
    SEA,
    SHRUBS,
    SNOW,
    TREES,
    WATER,
    WETLAND,
)
from csmoe_sampler.synthetic.weather import LAPSE_C_PER_M
from csmoe_sampler.types import Float32, Float64

UInt8 = npt.NDArray[np.uint8]

_CLIMATE_STEP = 8
_YEAR_DAYS = 365.25
_MONTH_DAYS = _YEAR_DAYS / 12.0
_TEXTURE, _RELIEF, _TINT = (32 * field for field in (16, 17, 18))
_ONE = np.uint32(1)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The pixels of a frame, each array (H, W) unless said otherwise."""

    points: Float64
    """On the unit sphere, (3, H * W)."""
    lon: float
    lat: float
    """Of the middle of the frame."""
    cover: UInt8
    """Row in the tables of `spectra`."""
    height: Float32
    """Metres."""
    rise: Float32
    """Metres upwards to a metre east and a metre north, (2, H, W); 0 on water."""
    texture: Float32
    tint: Float32
    """Noise of 2 km and finer, and of 25 km, standard deviation about 0.5 and 0.4."""
    parcel: Float32
    """A number in [0, 1) of the field in which a pixel lies."""
    climate: Float32
    """Temperature in °C at sea level and rain in mm, (2, 12, h, w), for every 8th pixel."""
    evergreen: Float32
    """Share of evergreen trees, (h, w)."""


@dataclass(frozen=True, kw_only=True)
class State:
    """The pixels of a frame on a day, each (H, W), 0-1."""

    green: Float32
    snow: Float32
    wet: Float32


def survey(planet: Planet, frame: Frame) -> Ground:
    """The ground below a frame."""
    shape = frame.height, frame.width
    lon, lat = frame.places()
    east, north = round_coordinates(lon.ravel(), lat.ravel())
    points = unit_vectors(east, north)
    key = seed_key(planet.seed)
    cover = np.zeros(256, np.uint8)
    cover[list(COVERS)] = np.arange(len(COVERS))
    classes = cover[planet.landcover(lon, lat)]
    height = planet.elevation(lon, lat)
    sparse = slice(_CLIMATE_STEP // 2, None, _CLIMATE_STEP)
    climate = _climate(planet, lon[sparse, sparse], lat[sparse, sparse], height[sparse, sparse])
    rough = height + np.minimum(6.0 + 0.06 * np.abs(height), 130.0) * fractal_noise(
        points, EARTH_KM / 2.4, key + _RELIEF, 4, 2.1, 0.55
    ).reshape(shape)
    return Ground(
        points=points,
        lon=float(np.round(lon[shape[0] // 2, shape[1] // 2], 6)),
        lat=float(np.round(lat[shape[0] // 2, shape[1] // 2], 6)),
        cover=classes,
        height=height.astype(np.float32),
        rise=_rise(rough, classes, frame.pixel_m),
        texture=fractal_noise(points, EARTH_KM / 2.1, key + _TEXTURE, 4, 2.2, 0.55).reshape(shape).astype(np.float32),
        tint=fractal_noise(points, EARTH_KM / 25.0, key + _TINT, 4, 2.3, 0.5).reshape(shape).astype(np.float32),
        parcel=_parcels(points, np.uint32(key + PARCELS)).reshape(shape),
        climate=climate,
        evergreen=_evergreen(climate),
    )


def observe(ground: Ground, when: datetime) -> State:
    """How green, snowy and wet the ground is at a time."""
    day = float(when.timetuple().tm_yday)
    warmth = _on_day(ground.climate[0], day)
    # Plants answer to the rain of the last weeks.
    rain = 0.5 * (_on_day(ground.climate[1], day) + _on_day(ground.climate[1], day - _MONTH_DAYS))
    shape = ground.cover.shape
    green, snow, wet = (np.empty(shape, np.float32) for _ in range(3))
    phase = float(season(ground.lat, day))
    pixels, climate = (ground.height, ground.texture, ground.parcel), (warmth, rain, ground.evergreen)
    _states((green, snow, wet), ground.cover, pixels, climate, phase, day / _YEAR_DAYS)
    return State(green=green, snow=snow, wet=wet)


def _climate(planet: Planet, lon: Float64, lat: Float64, height: Float64) -> Float32:
    """Temperature brought to sea level, and rain, (2, 12, h, w); at sea the mean of the land around."""
    normals = np.stack(planet.climate(lon, lat)).astype(np.float64)
    normals[0] += LAPSE_C_PER_M * np.maximum(height, 0.0)
    land = ~np.isnan(normals[0, 0])
    for values in normals.reshape(24, *land.shape):
        values[~land] = np.round(values[land].sum() / land.sum(), 3) if land.any() else 10.0
    return normals.astype(np.float32)


def _evergreen(climate: Float32) -> Float32:
    """Conifers in the cold, and where frost and drought are unknown: trees that keep their leaves."""
    temperature, rain = climate.astype(np.float64)
    mean, coldest, driest = temperature.mean(0), temperature.min(0), rain.min(0)
    cold = np.clip((5.0 - mean) / 6.0, 0.0, 1.0)
    tropical = np.clip((coldest - 14.0) / 5.0, 0.0, 1.0) * np.clip((driest - 5.0) / 45.0, 0.0, 1.0)
    return np.asarray(0.25 + 0.6 * np.maximum(cold, tropical)).astype(np.float32)


def _on_day(months: Float32, day: float) -> Float32:
    """Monthly values at a day of the year, linear between the middles of the months."""
    at = (day / _MONTH_DAYS - 0.5) % 12.0
    first = math.floor(at)
    share = np.float32(at - first)
    return np.asarray(months[first] + (months[(first + 1) % 12] - months[first]) * share)


def _rise(height: Float64, cover: UInt8, pixel_m: float) -> Float32:
    padded = np.pad(height, 1, mode="edge")
    east = (padded[1:-1, 2:] - padded[1:-1, :-2]) / (2.0 * pixel_m)
    north = (padded[:-2, 1:-1] - padded[2:, 1:-1]) / (2.0 * pixel_m)
    rise = np.stack((east, north)).astype(np.float32)
    rise[:, (cover == WATER) | (cover == SEA)] = 0.0
    return rise


@njit(cache=True, nogil=True)
def _parcels(points: Float64, key: np.uint32) -> Float32:
    """A number of the parcel of land cover that holds a point, (N,)."""
    scale = EARTH_KM / 0.3
    numbers = np.empty(points.shape[1], np.float32)
    for n in range(points.shape[1]):
        parcel = cell_hash(points[0, n] * scale, points[1, n] * scale, points[2, n] * scale, key)
        numbers[n] = hash_unit(np.uint32(parcel + _ONE))
    return numbers


@njit(cache=True, nogil=True)
def _states(
    states: tuple[Float32, ...], cover: UInt8, pixels: tuple[Float32, ...], climate: tuple[Float32, ...],
    phase: float, year: float,
) -> None:  # fmt: skip
    """Write greenness, snow and wetness.

    Args:
        states: The arrays of `State`, to be filled.
        cover: Row in the tables of `spectra`.
        pixels: Height, texture and parcel, as in `Ground`.
        climate: Temperature at sea level and rain of the day, and the share of evergreen trees, all (h, w).
        phase: Of the season, -1 to 1.
        year: Share of the year that has passed.
    """
    green, snow, wet = states
    height, texture, parcel = pixels
    warmth, rain, evergreen = climate
    for row in range(cover.shape[0]):
        i = min(row // _CLIMATE_STEP, warmth.shape[0] - 1)
        for col in range(cover.shape[1]):
            j = min(col // _CLIMATE_STEP, warmth.shape[1] - 1)
            kind, noise = cover[row, col], np.float64(texture[row, col])
            celsius = np.float64(warmth[i, j]) - LAPSE_C_PER_M * max(np.float64(height[row, col]), 0.0)
            water = np.float64(rain[i, j])
            growth = ramp(celsius, 1.0, 13.0) * ramp(water, 4.0, 70.0)
            growth = min(max(growth + 0.12 * noise * growth, 0.0), 1.0)
            field = np.float64(parcel[row, col])
            green[row, col] = _greenness(kind, growth, celsius, field, np.float64(evergreen[i, j]), phase, year)
            snow[row, col] = _snow_cover(kind, celsius, water, noise)
            wet[row, col] = min(max(ramp(water, 8.0, 170.0) + 0.1 * noise, 0.0), 1.0)


@njit(cache=True, nogil=True)
def _greenness(
    kind: int, growth: float, celsius: float, field: float, evergreen: float, phase: float, year: float
) -> float:
    if kind == TREES:
        return evergreen + (1.0 - evergreen) * growth
    if kind in (SHRUBS, WETLAND):
        return 0.3 + 0.7 * growth
    if kind in (GRASS, BUILT):
        return growth
    if kind == CROPS:
        # Fields are sown in different weeks; away from the tropics the summer leads, within them two crops a year.
        cycle = abs(2.0 * ((2.0 * year + field) % 1.0) - 1.0)
        summer = ramp(phase + 0.7 * (field - 0.5), -0.3, 0.6)
        tropical = ramp(celsius, 20.0, 25.0)
        return growth * (0.15 + 0.85 * (summer + (cycle - summer) * tropical))
    if kind == MANGROVES:
        return 0.5 + 0.5 * growth
    if kind == MOSS:
        return ramp(celsius, 0.0, 7.0)
    return 0.0


@njit(cache=True, nogil=True)
def _snow_cover(kind: int, celsius: float, water: float, noise: float) -> float:
    if kind == SNOW:
        return 0.0
    if kind in (WATER, SEA):
        return ramp(-celsius + 0.5 * noise, 4.0, 6.0)
    return ramp(-celsius + 1.2 * noise, 0.0, 3.0) * ramp(water, 1.0, 12.0)

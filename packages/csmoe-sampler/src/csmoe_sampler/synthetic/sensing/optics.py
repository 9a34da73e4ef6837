"""Pixels of Sentinel-2: reflectance of a frame on a day as digital numbers, and the scene classification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from csmoe_sampler.synthetic.noise import cell_hash, hash_unit
from csmoe_sampler.synthetic.sensing.ground import Ground, State
from csmoe_sampler.synthetic.sensing.sky import Clouds, Sun
from csmoe_sampler.synthetic.sensing.spectra import (
    BANDS,
    BARE,
    BUILT,
    COLOURS,
    CROPS,
    DORMANT,
    GREEN,
    KINDS,
    SEA,
    SNOW,
    WATER,
)
from csmoe_sampler.types import Bool, Float32

UInt16 = npt.NDArray[np.uint16]
UInt8 = npt.NDArray[np.uint8]

FACTORS = dict.fromkeys(("B02", "B03", "B04", "B08"), 1) | {
    "B01": 6, "B05": 2, "B06": 2, "B07": 2, "B8A": 2, "B09": 6, "B11": 2, "B12": 2, "SCL": 2,
}  # fmt: skip
"""Pixels of a band along the edge of one of its own."""
OFFSET_DN = 1000
"""Added to every pixel from processing baseline 04.00 on."""

_SUN_SHARE = 0.8
"""Share of the light that comes straight from the sun."""
_NOISE_DN, _NOISE_SHARE = 4.0, 0.002
_MAX_DN = 65535.0


@dataclass(frozen=True, kw_only=True)
class View:
    """All that decides how a frame looks from above at a time."""

    ground: Ground
    state: State
    clouds: Clouds
    sun: Sun
    valid: Bool
    """Which pixels the swath covers, (H, W)."""
    key: int
    """Of the sensor's noise."""


def photograph(view: View, offset_dn: int) -> Iterator[tuple[str, UInt16 | UInt8]]:
    """The bands and `SCL`, each with its digital numbers in its own pixels; 0 where there are no data."""
    ground, state, clouds = view.ground, view.state, view.clouds
    light = _illumination(ground.rise, view.sun)
    seen = {}
    for index, band in enumerate(BANDS):
        reflectance = np.empty(view.valid.shape, np.float32)
        _reflect(reflectance, ground.cover, (ground.texture, ground.tint, ground.parcel),
                 (state.green, state.snow, state.wet), light, (clouds.cloud, clouds.cirrus, clouds.shadow),
                 np.stack((DORMANT[:, index], GREEN[:, index])), tuple(COLOURS[:, index]), tuple(KINDS))  # fmt: skip
        if band in ("B04", "B08"):
            seen[band] = _means(reflectance, FACTORS["SCL"])
        factor = FACTORS[band]
        values = np.zeros((view.valid.shape[0] // factor, view.valid.shape[1] // factor), np.uint16)
        _quantise(values, _means(reflectance, factor), _centres(view.valid, factor),
                  np.uint32((view.key + index) & 0x7FFFFFFF), float(offset_dn))  # fmt: skip
        yield band, values
    yield "SCL", _classify(view, seen["B04"], seen["B08"])


def _illumination(rise: Float32, sun: Sun) -> Float32:
    """Light on the slopes over that on a plain."""
    east, north = rise[0].astype(np.float64), rise[1].astype(np.float64)
    up = max(sun.up, 0.15)
    cosine = (sun.up - sun.east * east - sun.north * north) / np.sqrt(1.0 + east * east + north * north)
    light = 1.0 - _SUN_SHARE + _SUN_SHARE * np.clip(cosine / up, 0.0, 2.2)
    return np.asarray(light, np.float32)


def _means(values: Float32, factor: int) -> Float32:
    """Means of blocks, added up in a fixed order."""
    total = np.zeros((values.shape[0] // factor, values.shape[1] // factor), np.float32)
    for row in range(factor):
        for col in range(factor):
            total += values[row::factor, col::factor]
    return np.asarray(total / np.float32(factor * factor), np.float32)


def _centres(values: Bool, factor: int) -> Bool:
    return values[factor // 2 :: factor, factor // 2 :: factor]


def _classify(view: View, red: Float32, nir: Float32) -> UInt8:
    factor = FACTORS["SCL"]
    codes = np.zeros(red.shape, np.uint8)
    _scene_classes(
        codes, _centres(view.valid, factor), view.ground.cover[::factor, ::factor], _means(view.clouds.cloud, factor),
        _means(view.clouds.cirrus, factor), _means(view.clouds.shadow, factor), _means(view.state.snow, factor),
        red, nir,
    )  # fmt: skip
    return codes


@njit(cache=True, nogil=True)
def _reflect(
    values: Float32, cover: UInt8, ground: tuple[Float32, ...], state: tuple[Float32, ...], light: Float32,
    clouds: tuple[Float32, ...], looks: Float32, colours: tuple[np.float32, ...], kinds: tuple[Float32, ...],
) -> None:  # fmt: skip
    """Reflectance of a band: the cover by its state, then snow on it, light and shadow, and clouds before it.

    The arguments are tuples of the arrays of `Ground`, `State` and `Clouds`, and the columns of a band in the tables of
    `spectra`: `looks` (2, cover) and `colours` (6,); `kinds` (4, cover) is the same for every band.
    """
    texture, tint, parcel = ground
    green, snow, wet = state
    cloud, cirrus, shadow = clouds
    snowy, cloudy, veil, shade, damp, tone = colours
    rough, tinted, soil, buried = kinds
    one = np.float32(1.0)
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            kind = cover[row, col]
            r = looks[0, kind] * (one - soil[kind] * damp * wet[row, col])
            r += (looks[1, kind] - r) * green[row, col]
            r *= one + rough[kind] * texture[row, col] + tinted[kind] * tone * tint[row, col]
            if kind in (CROPS, BUILT):
                r *= one + np.float32(0.24) * (parcel[row, col] - np.float32(0.5))
            white = snowy * (one + np.float32(0.04) * texture[row, col])
            r += (white - r) * snow[row, col] * buried[kind]
            r *= light[row, col]
            r *= one - shade * shadow[row, col] * (one - cloud[row, col])
            r += veil * cirrus[row, col]
            thick = cloud[row, col]
            r += (cloudy * (np.float32(0.72) + np.float32(0.5) * thick * thick) - r) * thick
            values[row, col] = r


@njit(cache=True, nogil=True)
def _quantise(values: UInt16, reflectance: Float32, valid: Bool, key: np.uint32, offset: float) -> None:
    """Digital numbers with the sensor's noise; 1 at least where there are data."""
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            if valid[row, col]:
                signal = 10000.0 * np.float64(reflectance[row, col])
                # The difference of two uniform numbers has a standard deviation of 0.41.
                one = hash_unit(cell_hash(float(col), float(row), 0.0, key))
                other = hash_unit(cell_hash(float(col), float(row), 1.0, key))
                signal += (one - other) * 2.45 * (_NOISE_DN + _NOISE_SHARE * signal) + offset
                values[row, col] = np.uint16(min(max(np.floor(signal + 0.5), 1.0), _MAX_DN))


@njit(cache=True, nogil=True)
def _scene_classes(
    codes: UInt8, valid: Bool, cover: UInt8, cloud: Float32, cirrus: Float32, shadow: Float32, snow: Float32,
    red: Float32, nir: Float32,
) -> None:  # fmt: skip
    """Write the codes of Sen2Cor; 0 stays where there are no data.

    3 shadow, 4 vegetation, 5 no vegetation, 6 water, 8 and 9 cloud of medium and high probability, 10 thin cirrus,
    11 snow.
    """
    for row in range(codes.shape[0]):
        for col in range(codes.shape[1]):
            if not valid[row, col]:
                continue
            kind = cover[row, col]
            if cloud[row, col] > 0.55:
                code = 9
            elif cloud[row, col] > 0.18:
                code = 8
            elif cirrus[row, col] > 0.35:
                code = 10
            elif shadow[row, col] > 0.3:
                code = 3
            elif snow[row, col] > 0.5 or kind == SNOW:
                code = 11
            elif kind in (WATER, SEA):
                code = 6
            elif kind == BARE or nir[row, col] < 2.1 * red[row, col]:
                code = 5
            else:
                code = 4
            codes[row, col] = code

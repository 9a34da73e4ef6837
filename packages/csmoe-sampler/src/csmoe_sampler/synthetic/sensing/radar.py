"""Pixels of Sentinel-1: backscatter (gamma nought, linear) of a frame on a day, with speckle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from csmoe_sampler.synthetic.noise import cell_hash, hash_unit
from csmoe_sampler.synthetic.sensing.ground import Ground, State
from csmoe_sampler.synthetic.sensing.spectra import BUILT, SEA, VH, VV, WATER
from csmoe_sampler.types import Bool, Float32, Float64

UInt8 = npt.NDArray[np.uint8]

NODATA = -32768.0
LOOKS = 4.4
"""Equivalent number of independent looks: the variance of speckle is 1 / LOOKS."""

_TABLES = {"vv": VV, "vh": VH}
_LOCAL = {"vv": 1.8, "vh": 1.3}
"""Relative gain of a slope of 1 that faces the sensor."""
_MANTISSA_BITS = 6


def sound(ground: Ground, state: State, polarization: str, look: tuple[float, float], valid: Bool, key: int) -> Float32:
    """Backscatter of `vv` or `vh`, (H, W), with few enough bits to pack well; `NODATA` off the swath.

    `look` is the direction from the sensor over the ground, east and north: slopes that rise along it are bright.
    """
    values = np.full(valid.shape, np.float32(NODATA))
    pixels = ground.texture, ground.parcel, state.green, state.snow, state.wet
    # Brightness of the side of a slope that faces the sensor, by how far it rises east and north.
    facing = look[0] * ground.rise[0].astype(np.float64) + look[1] * ground.rise[1].astype(np.float64)
    gain = np.clip(1.0 + _LOCAL[polarization] * facing, 0.3, 3.0)
    _scatter(values, valid, ground.cover, pixels, gain, (_TABLES[polarization], np.uint32(key & 0x7FFFFFFF)))
    return _shortened(values)


def _shortened(values: Float32) -> Float32:
    """Values rounded to `_MANTISSA_BITS` bits after the leading one."""
    drop = 23 - _MANTISSA_BITS
    bits = values.view(np.uint32)
    return ((bits + np.uint32(1 << (drop - 1))) >> np.uint32(drop) << np.uint32(drop)).view(np.float32)


@njit(cache=True, nogil=True)
def _speckle(x: float, y: float, key: np.uint32) -> float:
    """A number of mean 1 and variance 1 / `LOOKS`: the gamma distribution by Wilson and Hilferty's cube."""
    z: float = -2.0
    for part in range(4):
        z += hash_unit(cell_hash(x, y, float(part), key))
    root: float = 1.0 - 1.0 / (9.0 * LOOKS) + z * 1.7320508075688772 / (3.0 * np.sqrt(LOOKS))
    return root * root * root


@njit(cache=True, nogil=True)
def _scatter(
    values: Float32, valid: Bool, cover: UInt8, pixels: tuple[Float32, ...], gain: Float64,
    table_key: tuple[Float32, np.uint32],
) -> None:  # fmt: skip
    texture, parcel, green, snow, wet = pixels
    table, key = table_key
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            if not valid[row, col]:
                continue
            kind = cover[row, col]
            dry, lush = np.float64(table[0, kind]), np.float64(table[1, kind])
            moist = 0.5 * (np.float64(green[row, col]) + np.float64(wet[row, col]))
            mean = dry + (lush - dry) * moist
            noise = np.float64(texture[row, col])
            if kind in (WATER, SEA):
                # Ice scatters more than calm water.
                mean *= 1.0 + 0.25 * noise + 1.5 * np.float64(snow[row, col])
            else:
                mean *= gain[row, col] * (1.0 + 0.13 * noise)
                mean *= 1.0 - 0.3 * np.float64(snow[row, col])
            if kind == BUILT:
                mean *= 0.4 + 1.2 * np.float64(parcel[row, col])
            values[row, col] = mean * _speckle(float(col), float(row), key)

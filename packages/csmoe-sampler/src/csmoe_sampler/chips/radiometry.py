"""What the numbers of a chip mean: reflectance x 10,000 without offset, backscatter in dB."""

from __future__ import annotations

import numpy as np

from csmoe_sampler.types import Float32, Int16

MISSING_DN = -32768
"""Of `s2` in the store."""
DN_PER_REFLECTANCE = 10_000.0


def to_dn(pixels: Float32, unit: str, offset: float) -> Float32:
    """Sentinel-2 as reflectance x 10,000: digital numbers less `offset`, or scaled reflectance; NaN stays."""
    scale = DN_PER_REFLECTANCE if unit == "reflectance" else 1.0
    return pixels * np.float32(scale) - np.float32(offset)


def store_dn(dn: Float32) -> Int16:
    """Rounded (halves to even), cut to ±32767, -32768 where missing; values below zero are kept."""
    rounded = np.clip(np.rint(dn), -32767, 32767)
    return np.where(np.isnan(rounded), MISSING_DN, rounded).astype(np.int16)


def to_decibels(power: Float32) -> Float32:
    """Sentinel-1 in dB: 10 log10 of linear power, NaN where that is missing or not positive."""
    positive = power > 0
    decibels = np.full(power.shape, np.nan, np.float32)
    np.log10(power, out=decibels, where=positive)
    decibels *= np.float32(10)
    decibels[~np.isfinite(decibels)] = np.nan
    return decibels


def to_power(decibels: Float32) -> Float32:
    """Linear power of dB; NaN stays."""
    return np.asarray(np.power(np.float32(10), decibels / np.float32(10)), np.float32)


def store_decibels(decibels: Float32) -> Float32:
    """With the precision of half floats, steps of 1/64 dB up to 32 dB: the rest is speckle, and zeros compress."""
    return decibels.astype(np.float16).astype(np.float32)


def valid_share(pixels: Float32) -> float:
    """Share of the pixels, (bands, rows, columns), that are valid in all bands."""
    return float(np.isfinite(pixels).all(axis=0).mean()) if pixels.size else 0.0

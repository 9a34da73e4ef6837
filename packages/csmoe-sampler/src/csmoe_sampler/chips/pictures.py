"""Chips as pictures: true colour of Sentinel-2, false colour of Sentinel-1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from csmoe_sampler.types import Float32

Picture: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 4) red, green, blue and opacity, 0 to 255; transparent where invalid."""

TRUE_COLOR = ("B04", "B03", "B02")
REFLECTANCE_TOP = 0.3
"""Reflectance that is white in the fixed stretch."""
GAMMA = 1.8
DB_RANGES = ((-22.0, -2.0), (-28.0, -8.0), (2.0, 14.0))
"""dB of black and of full red (VV), green (VH) and blue (VV minus VH)."""


def true_color(
    reflectance: Float32, bands: Sequence[str], stretch: Literal["fixed", "percentile"] = "fixed"
) -> Picture:
    """B04, B03 and B02 as red, green and blue; without one of them, the first three bands, or the first one in grey.

    Args:
        reflectance: (bands, H, W), 0 to 1; NaN where invalid.
        bands: Names of the bands.
        stretch: `fixed` maps 0 to 0.3 to black to white with a gamma of 1.8, so that pictures can be compared;
            `percentile` maps the 2nd to the 98th percentile of all three together, so that snow and shadow show.
    """
    wanted = [list(bands).index(band) for band in TRUE_COLOR if band in bands]
    if len(wanted) < len(TRUE_COLOR):
        wanted = [0, 1, 2] if len(bands) >= 3 else [0, 0, 0]
    colors = reflectance[wanted].astype(np.float32)
    low, high = 0.0, REFLECTANCE_TOP
    if stretch == "percentile" and np.isfinite(colors).any():
        low, high = (float(edge) for edge in np.nanpercentile(colors, (2.0, 98.0)))
    return _picture([_level(color, low, high) ** np.float32(1.0 / GAMMA) for color in colors])


def false_color(backscatter_db: Float32, bands: Sequence[str]) -> Picture:
    """VV as red from -22 to -2 dB, VH as green from -28 to -8 dB, VV minus VH as blue from 2 to 14 dB.

    Open water is dark, forest bright green, bare fields reddish, towns yellow to white. One band alone is grey.

    Args:
        backscatter_db: (bands, H, W) dB; NaN where invalid.
        bands: Names of the bands.
    """
    if not {"VV", "VH"} <= set(bands):
        return _picture([_level(backscatter_db[0].astype(np.float32), *DB_RANGES[0])] * 3)
    co, cross = (backscatter_db[list(bands).index(band)].astype(np.float32) for band in ("VV", "VH"))
    return _picture([_level(x, *edges) for x, edges in zip((co, cross, co - cross), DB_RANGES, strict=True)])


def _level(values: Float32, low: float, high: float) -> Float32:
    """0 to 1 between two values; NaN stays."""
    level: Float32 = np.clip((values - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0.0, 1.0)
    return level


def _picture(levels: Sequence[Float32]) -> Picture:
    stacked = np.stack(levels, axis=-1)
    valid = np.isfinite(stacked).all(axis=-1)
    picture = np.zeros((*valid.shape, 4), np.uint8)
    picture[valid, :3] = np.rint(stacked[valid] * 255.0).astype(np.uint8)
    picture[valid, 3] = 255
    return picture

"""Where the pixels of a tile's chip are: one grid for all bands of both sensors, on the pixel lattice of Sentinel-2."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyproj

from csmoe_sampler.types import Float64

ALIGNED_PX = 1e-3
"""Grids whose pixels differ by less than this share of a pixel are the same."""
_FINEST_FIRST = ("B02", "B03", "B04", "B08")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """The pixels of a north-up file."""

    crs: str
    x_min: float
    y_max: float
    width_m: float
    height_m: float
    """In the unit of the CRS, as all of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipGrid:
    """The pixels of a chip: axis-aligned squares, row 0 in the north."""

    crs: str
    x_min: float
    y_max: float
    pixel_m: float
    rows: int
    cols: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max in the CRS."""
        x_max, y_min = self.x_min + self.cols * self.pixel_m, self.y_max - self.rows * self.pixel_m
        return self.x_min, y_min, x_max, self.y_max

    def centres(self) -> tuple[Float64, Float64]:
        """X of the columns and y of the rows, at the centres of the pixels."""
        x = self.x_min + (np.arange(self.cols, dtype=np.float64) + 0.5) * self.pixel_m
        y = self.y_max - (np.arange(self.rows, dtype=np.float64) + 0.5) * self.pixel_m
        return x, y

    def offset_in(self, lattice: Lattice) -> tuple[int, int] | None:
        """Row and column of the chip's first pixel in a file; None where their pixels are not the same."""
        if lattice.crs != self.crs:
            return None
        col, row = (self.x_min - lattice.x_min) / lattice.width_m, (lattice.y_max - self.y_max) / lattice.height_m
        drift = max(
            abs(col - round(col)),
            abs(row - round(row)),
            abs(lattice.width_m / self.pixel_m - 1) * self.cols,
            abs(lattice.height_m / self.pixel_m - 1) * self.rows,
        )
        return (round(row), round(col)) if drift < ALIGNED_PX else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a chip is to show."""

    crs: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float


def chip_size(footprint: Footprint, size_px: int | str, pixel_m: float) -> int:
    """Rows and columns of a chip; `footprint` has one pixel more than fits, since grids are snapped."""
    if isinstance(size_px, int):
        return size_px
    edge_m = max(footprint.x_max - footprint.x_min, footprint.y_max - footprint.y_min)
    return math.ceil(round(edge_m / pixel_m, 6)) + 1


def place_chip(footprint: Footprint, lattice: Lattice | None, size_px: int | str, pixel_m: float) -> ChipGrid:
    """The grid of a tile's chip.

    Its edges lie on multiples of `pixel_m` from the origin of `lattice`: with the pixels of Sentinel-2's 10, 20 or 60 m
    bands, these are read as they are. Its centre is within half a pixel of the footprint's. In the tile's own CRS the
    whole footprint is covered if `size_px` is "footprint"; in that of a neighbouring zone, where it is turned by some
    degrees, the square of that size around its centre.

    Args:
        footprint: Of the tile, in its UTM zone.
        lattice: Of the finest band of its Sentinel-2 scene. Where that is None or not in metres, the chip lies in the
            CRS of the tile, on multiples of `pixel_m`.
        size_px: Edge of the chip, or "footprint".
        pixel_m: Edge of a pixel.
    """
    usable = lattice is not None and pyproj.CRS(lattice.crs).is_projected
    crs, origin_x, origin_y = (
        (lattice.crs, lattice.x_min, lattice.y_max) if lattice and usable else (footprint.crs, 0.0, 0.0)
    )
    x, y = (footprint.x_min + footprint.x_max) / 2, (footprint.y_min + footprint.y_max) / 2
    if crs != footprint.crs:
        x, y = _transformer(footprint.crs, crs).transform(x, y)
    size = chip_size(footprint, size_px, pixel_m)
    half_m = size * pixel_m / 2
    return ChipGrid(
        crs=crs,
        x_min=origin_x + _steps(x - half_m - origin_x, pixel_m) * pixel_m,
        y_max=origin_y + _steps(y + half_m - origin_y, pixel_m) * pixel_m,
        pixel_m=pixel_m,
        rows=size,
        cols=size,
    )


def finest_band(bands: Sequence[str]) -> str:
    """The band whose file fixes the lattice: one of 10 m if there is any, otherwise the first."""
    return next((band for band in _FINEST_FIRST if band in bands), bands[0])


def _steps(distance_m: float, pixel_m: float) -> int:
    # The tiny shift keeps halves, which are common, from being rounded by the last bits of a projection.
    return math.floor(distance_m / pixel_m + 0.5 + 1e-6)


@functools.lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)

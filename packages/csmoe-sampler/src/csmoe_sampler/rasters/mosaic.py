"""Whether files go together as one raster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from csmoe_sampler.errors import RasterError
from csmoe_sampler.placement import Lattice

_OVERLAP_PX = 0.5
_SAME_SIZE = 1e-6


def check_mosaic(names: Sequence[str], lattices: Sequence[Lattice]) -> None:
    """Raises RasterError where pixels differ in size, or two files share more than half a pixel of ground."""
    _check_pixel_sizes(names, lattices)
    _check_overlaps(names, lattices)


def _check_pixel_sizes(names: Sequence[str], lattices: Sequence[Lattice]) -> None:
    first = lattices[0]
    for name, pixel in zip(names, lattices, strict=True):
        ratios = np.array([pixel.width_deg / first.width_deg, pixel.height_deg / first.height_deg])
        if np.abs(ratios - 1).max() > _SAME_SIZE:
            raise RasterError(
                f"rasters {names[0]} and {name} have pixels of different size ({first.width_deg:g} x"
                f" {first.height_deg:g} and {pixel.width_deg:g} x {pixel.height_deg:g} degrees): give rasters of one"
                " size"
            )


def _check_overlaps(names: Sequence[str], lattices: Sequence[Lattice]) -> None:
    edges = np.array(
        [(one.west, one.south, one.west + one.num_cols_once * one.width_deg, one.north) for one in lattices]
    )
    allowed = _OVERLAP_PX * np.array([lattices[0].width_deg, lattices[0].height_deg]) * (1 + _SAME_SIZE)
    tree = shapely.STRtree(shapely.box(*edges.T))
    for turn in (0.0, 360.0):
        turned = edges + np.array([turn, 0, turn, 0])
        one, other = tree.query(shapely.box(*turned.T))
        shared = np.minimum(turned[one, 2:], edges[other, 2:]) - np.maximum(turned[one, :2], edges[other, :2])
        bad = np.flatnonzero((shared > allowed).all(axis=1) & (one != other))
        if bad.size:
            first, second = sorted((names[one[bad[0]]], names[other[bad[0]]]))
            raise RasterError(
                f"rasters {first} and {second} lie over each other: leave out one of the two, or join them in the order"
                " that you want with `gdalbuildvrt`"
            )

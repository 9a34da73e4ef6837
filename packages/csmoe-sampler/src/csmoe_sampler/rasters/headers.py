"""What a raster's header says, and whether its pixels can be placed on the globe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rasterio.crs import CRS
from rasterio.enums import MaskFlags

from csmoe_sampler.errors import RasterError
from csmoe_sampler.placement import Lattice

_DEGREE_RAD = 0.017453292519943295
_SLACK_PX = 0.01
_VRT_BLOCK_PX = 2048
_REPROJECT = "pass reproject=true (--reproject) to read it through a nearest-neighbour warp to longitude and latitude"


@dataclass(frozen=True, slots=True)
class Header:
    """A raster as it is read."""

    lattice: Lattice
    dtype: str
    nodata: float | None
    block_shape: tuple[int, int]
    """Rows and columns of the blocks that are decoded as one."""
    crs: str
    """`EPSG:4326`, or the name of the geographic CRS that is taken for it."""


def name_of(href: str) -> str:
    """File name for messages and provenance: no folder, no signature."""
    path = urlsplit(href).path if "://" in href else href
    return Path(path.rstrip("/")).name or href


def read_header(dataset: Any, href: str) -> Header:
    """The header of an open rasterio dataset.

    Raises:
        RasterError: It has several bands, or its pixels are not north-up in degrees.
    """
    name = name_of(href)
    if dataset.count != 1:
        raise RasterError(f"raster {name}: has {dataset.count} bands: name one of them as vrt://FILE?bands=1")
    if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
        raise RasterError(
            f"raster {name}: marks missing pixels in a mask of its own: turn it into a no-data value with"
            " `gdalwarp -dstnodata`"
        )
    crs = geographic_crs(dataset.crs, name)
    lattice = lattice_of(tuple(dataset.transform)[:6], (dataset.height, dataset.width), name)
    rows, cols = dataset.block_shapes[0]
    if dataset.driver == "VRT":
        # Its blocks are small and its own; those that are decoded are of the files behind it.
        rows, cols = max(rows, _VRT_BLOCK_PX), max(cols, _VRT_BLOCK_PX)
    return Header(lattice, dataset.dtypes[0], dataset.nodata, (rows, cols), crs)


def geographic_crs(crs: CRS | None, name: str) -> str:
    """`EPSG:4326`, or the name of another geographic CRS in degrees, which is taken for it.

    Raises:
        RasterError: There is none, or it is not geographic, or not in degrees.
    """
    if not crs:
        raise RasterError(
            f"raster {name}: has no CRS: if its coordinates are longitude and latitude, say so with"
            " `gdal_edit.py -a_srs EPSG:4326 FILE`"
        )
    if crs.is_projected:
        raise RasterError(f"raster {name}: has the projected CRS {_crs_name(crs)}: {_REPROJECT}")
    if not crs.is_geographic or abs(crs.units_factor[1] - _DEGREE_RAD) > 1e-9:
        raise RasterError(f"raster {name}: its CRS {_crs_name(crs)} is not in degrees: {_REPROJECT}")
    return "EPSG:4326" if crs == CRS.from_epsg(4326) else _crs_name(crs)


def lattice_of(transform: Sequence[float], shape: Sequence[int], name: str) -> Lattice:
    """The pixels of a raster of `shape` (rows, columns) with the affine transform a, b, c, d, e, f.

    Raises:
        RasterError: It is rotated, or not north-up, or cannot be in degrees.
    """
    a, b, west, d, e, north = (float(number) for number in transform[:6])
    if b != 0 or d != 0 or a <= 0 or e >= 0:
        raise RasterError(
            f"raster {name}: is rotated or not north-up (transform {a:g}, {b:g}, {west:g}, {d:g}, {e:g}, {north:g}):"
            " rewrite it with `gdalwarp -t_srs EPSG:4326 -r near`"
        )
    lattice = Lattice(west, north, a, -e, int(shape[0]), int(shape[1]))
    if (
        min(west, -lattice.east) < -360 - a
        or max(north, -lattice.south) > 90 - e
        or lattice.east <= lattice.west
        or lattice.num_rows < 1
    ):
        raise RasterError(
            f"raster {name}: its bounds (west {west:g}, south {lattice.south:g}, east {lattice.east:g}, north"
            f" {north:g}) cannot be degrees: give it the CRS it has, with `gdal_edit.py -a_srs`"
        )
    return lattice


def same_pixels(one: Lattice, other: Lattice) -> bool:
    """Whether two lattices agree within a hundredth of a pixel everywhere."""
    differences = (
        (one.west - other.west) / one.width_deg,
        (one.east - other.east) / one.width_deg,
        (one.north - other.north) / one.height_deg,
        (one.south - other.south) / one.height_deg,
    )
    same_size = (one.num_rows, one.num_cols) == (other.num_rows, other.num_cols)
    return same_size and max(map(abs, differences)) < _SLACK_PX


def _crs_name(crs: CRS) -> str:
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs.to_wkt().split('"')[1])

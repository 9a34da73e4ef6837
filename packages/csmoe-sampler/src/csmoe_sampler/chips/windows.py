"""Bands of one file on the grid of a chip: read as they are where the pixels are the same, warped otherwise."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from csmoe_sampler.chips.grid import ChipGrid, Lattice
from csmoe_sampler.chips.radiometry import to_decibels, to_power
from csmoe_sampler.errors import RasterError
from csmoe_sampler.rasters.patience import BACKOFF_S, REOPENING, PatientFile
from csmoe_sampler.rasters.reading import limit_block_cache
from csmoe_sampler.types import Float32

Method = Literal["nearest", "bilinear", "cubic"]
_REACH_PX = 3
"""Pixels that resampling draws on beyond the chip; two for `cubic`."""
_EDGE_POINTS = 21
_TOLERANCE_PX = 1e-3
"""Error of the warp's approximate transformer, in pixels of the file."""

PlaceGrid = Callable[[Lattice], ChipGrid]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandFile:
    """Bands of a file, and what its values are."""

    href: str
    """Absolute, unsigned."""
    bands: tuple[int, ...] = (1,)
    """Numbers in the file, from 1."""
    nodata: float | None = None
    """Value of missing pixels beside the one that the file declares; not finite ones are missing always."""
    unit: Literal["DN", "linear", "dB"] = "DN"
    """Power in `dB` is resampled as linear power; linear power that is not positive is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How files are opened."""

    sign: Callable[[str], str] | None = None
    resampling: Method = "bilinear"
    pauses: tuple[float, ...] = BACKOFF_S


def split_address(address: str) -> tuple[str, int]:
    """File and band of `address#3`; without a number the band is 1."""
    href, mark, band = address.rpartition("#")
    return (href, int(band)) if mark and band.isdigit() else (address, 1)


def read_bands(file: BandFile, grid: ChipGrid | PlaceGrid, access: Access) -> tuple[ChipGrid, Float32]:
    """The grid, and the bands on it: float32 (bands, rows, columns), NaN where the file has no data.

    Args:
        file: What to read.
        grid: The chip's, or what makes it from the lattice of this file.
        access: Signer and resampling.

    Raises:
        RasterError: The file is missing, cannot be read in full, or has no place on the globe.
    """
    limit_block_cache()
    patient = PatientFile(file.href, access.sign, reopened=True)
    with ExitStack() as opened:

        def attempt() -> tuple[ChipGrid, Float32]:
            with rasterio.Env(**REOPENING):
                dataset = opened.enter_context(rasterio.open(patient.address()))
                lattice = _lattice_of(dataset, patient.name)
                _check_bands(dataset, file.bands, patient.name)
                chip = grid if isinstance(grid, ChipGrid) else grid(lattice)
                return chip, _read(dataset, lattice, chip, file, access.resampling)

        return patient.insist(attempt, f"reading band {', '.join(map(str, file.bands))}", opened.close, access.pauses)


def read_mask(file: BandFile, grid: ChipGrid, access: Access) -> npt.NDArray[np.uint8]:
    """A class mask on the grid: uint8 (rows, columns), the nearest class, 0 where the file has no data."""
    nearest = Access(sign=access.sign, resampling="nearest", pauses=access.pauses)
    pixels = read_bands(file, grid, nearest)[1][0]
    return np.asarray(np.nan_to_num(pixels, nan=0.0), np.uint8)


def _read(dataset: Any, lattice: Lattice, grid: ChipGrid, file: BandFile, resampling: Method) -> Float32:
    pixels = np.full((len(file.bands), grid.rows, grid.cols), np.nan, np.float32)
    offset = grid.offset_in(lattice)
    if offset is not None:
        _copy(dataset, offset, file, pixels)
        return pixels
    window = _source_window(dataset, lattice, grid)
    if window is not None:
        found = _valid_pixels(dataset, file, window)
        pixels = _warp(to_power(found) if file.unit == "dB" else found, _cut(lattice, window), grid, resampling)
    return to_decibels(pixels) if file.unit == "dB" else pixels


def _warp(pixels: Float32, lattice: Lattice, grid: ChipGrid, resampling: Method) -> Float32:
    """Pixels of a lattice on the grid.

    By a file in memory and a virtual one on top: `rasterio.warp.reproject` changes the warning filters of the process
    for every array, which threads must not do.
    """
    profile = {
        "driver": "GTiff",
        "count": len(pixels),
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": "float32",
        "crs": lattice.crs,
        "transform": rasterio.Affine(lattice.width_m, 0.0, lattice.x_min, 0.0, -lattice.height_m, lattice.y_max),
        "nodata": np.nan,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(pixels)
        with (
            memory.open() as dataset,
            WarpedVRT(
                dataset,
                crs=grid.crs,
                transform=rasterio.Affine(grid.pixel_m, 0.0, grid.x_min, 0.0, -grid.pixel_m, grid.y_max),
                height=grid.rows,
                width=grid.cols,
                src_nodata=np.nan,
                nodata=np.nan,
                resampling=Resampling[resampling],
                tolerance=_TOLERANCE_PX,
                UNIFIED_SRC_NODATA="NO",  # a pixel that one band lacks is there in the others
                **_scales(lattice, grid),
            ) as warped,
        ):
            return np.asarray(warped.read(), np.float32)


def _scales(lattice: Lattice, grid: ChipGrid) -> dict[str, str]:
    """GDAL takes a chip that lies turned in the file for a coarser one, and smooths; where it is not, this says so."""
    metres = rasterio.crs.CRS.from_user_input(lattice.crs).is_projected
    return {"XSCALE": "1", "YSCALE": "1"} if metres and grid.pixel_m < 1.05 * lattice.width_m else {}


def _cut(lattice: Lattice, window: Window) -> Lattice:
    return replace(
        lattice,
        x_min=lattice.x_min + window.col_off * lattice.width_m,
        y_max=lattice.y_max - window.row_off * lattice.height_m,
    )


def _copy(dataset: Any, offset: tuple[int, int], file: BandFile, pixels: Float32) -> None:
    """Fills the part of the chip that lies on the file, pixel for pixel."""
    row, col = offset
    top, left = max(0, row), max(0, col)
    bottom, right = min(dataset.height, row + pixels.shape[1]), min(dataset.width, col + pixels.shape[2])
    if top < bottom and left < right:
        found = _valid_pixels(dataset, file, Window(left, top, right - left, bottom - top))
        pixels[:, top - row : bottom - row, left - col : right - col] = found


def _source_window(dataset: Any, lattice: Lattice, grid: ChipGrid) -> Window | None:
    """The pixels of the file that the chip's pixels are resampled from; None where there are none."""
    west, south, east, north = transform_bounds(grid.crs, lattice.crs, *grid.bounds, densify_pts=_EDGE_POINTS)
    # A coarser grid draws on as many more pixels; east - west is the width of the chip in the unit of the file.
    reach_x = math.ceil(_REACH_PX * max(1.0, (east - west) / grid.cols / lattice.width_m))
    reach_y = math.ceil(_REACH_PX * max(1.0, (north - south) / grid.rows / lattice.height_m))
    left = max(0, math.floor((west - lattice.x_min) / lattice.width_m) - reach_x)
    right = min(dataset.width, math.ceil((east - lattice.x_min) / lattice.width_m) + reach_x)
    top = max(0, math.floor((lattice.y_max - north) / lattice.height_m) - reach_y)
    bottom = min(dataset.height, math.ceil((lattice.y_max - south) / lattice.height_m) + reach_y)
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


def _valid_pixels(dataset: Any, file: BandFile, window: Window) -> Float32:
    """The file's pixels, read at once; NaN where they are missing."""
    found = dataset.read(list(file.bands), window=window)
    valid = np.isfinite(found)
    for number, band in enumerate(file.bands):
        for nodata in (file.nodata, dataset.nodatavals[band - 1]):
            if nodata is not None and np.isfinite(nodata):
                valid[number] &= found[number] != nodata
    pixels = np.where(valid, found, np.nan)
    if file.unit == "linear":
        pixels[~(pixels > 0)] = np.nan
    return pixels.astype(np.float32)


def _lattice_of(dataset: Any, name: str) -> Lattice:
    a, b, x_min, d, e, y_max = tuple(dataset.transform)[:6]
    if not dataset.crs or b != 0 or d != 0 or a <= 0 or e >= 0:
        has = "ground control points in place of a transform (radar geometry)" if dataset.gcps[0] else "no such place"
        raise RasterError(
            f"raster {name}: chips are cut from north-up files with a CRS, and it has {has}: choose terrain-corrected "
            "products, or rewrite it with `gdalwarp`"
        )
    return Lattice(crs=_name_of(dataset.crs.to_wkt()), x_min=x_min, y_max=y_max, width_m=a, height_m=-e)


@functools.lru_cache(maxsize=256)
def _name_of(wkt: str) -> str:
    """`EPSG:32631` where it is one of EPSG's."""
    crs = rasterio.crs.CRS.from_wkt(wkt)
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else str(wkt)


def _check_bands(dataset: Any, bands: Sequence[int], name: str) -> None:
    if max(bands) > dataset.count or min(bands) < 1:
        raise RasterError(
            f"raster {name}: has {dataset.count} bands, and band {max(bands)} is asked for: correct the table of the "
            "provider"
        )

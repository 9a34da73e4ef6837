"""Monthly normals -> a GeoTIFF of Köppen-Geiger codes, in slabs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr
from affine import Affine
from dask.base import compute
from dask.delayed import delayed
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from csmoe_sampler.errors import ConfigError, RasterError, SamplerError, StorageError
from csmoe_sampler.koppen import Codes, Ranges, Rule, check_rule, classify_part
from csmoe_sampler.progress import Progress
from csmoe_sampler.storage import atomic_path
from csmoe_sampler.types import Float64, Int64

_BLOCK_PX = 256
_CHUNKS_AT_ONCE = 16
_REGULAR = 1e-3
"""Deviation from a regular grid that is taken as rounding, as a share of the step."""


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Pixels of the map along one axis."""

    cells: Int64
    """For each pixel, the position of the grid cell that it lies in."""
    edge_deg: float
    """Outer edge of the first pixel."""
    step_deg: float
    """Positive."""


def classified_map(
    temperature: xr.DataArray,
    precipitation: xr.DataArray,
    rule: Rule,
    out: Path,
    progress: Progress,
) -> None:
    """Writes the codes of both normals as a tiled, deflated uint8 GeoTIFF in EPSG:4326; 0 is no data.

    The same values give the same bytes. Cells that reach over a pole or the antimeridian, as where the outermost
    centres lie on them, are cut in two: the map then has pixels of half the step. Dask computes a few chunks at a
    time, so that memory is bounded by their size.

    Args:
        temperature: °C, dimensions `month` (12), `lat`, `lon`; a regular grid of cell centres in any direction.
        precipitation: mm a month, likewise.
        rule: See `koppen.classify`.
        out: Replaced in one step when the map is complete.
        progress: Counts rows of the grid.

    Raises:
        ConfigError: The grids differ or are not regular, or the values cannot be °C and mm a month.
        RasterError: The normals cannot be read in full.
        StorageError: `out` cannot be written.
    """
    check_rule(rule)
    temperature, precipitation = _north_west_first(temperature), _north_west_first(precipitation)
    lon, lat = temperature["lon"].values.astype(float), temperature["lat"].values.astype(float)
    _check_same(lon, precipitation["lon"].values, "longitudes")
    _check_same(lat, precipitation["lat"].values, "latitudes")
    cols, rows, ranges = _columns(lon), _rows(lat), Ranges()

    def slabs() -> Iterator[Codes]:
        progress.start("classify climate", lat.size, "rows")
        for codes, found in _classify_rows(temperature.data, precipitation.data, rule):
            ranges.include(found)
            progress.advance(codes.shape[0])
            yield codes
        progress.finish()

    with atomic_path(out) as temporary:
        try:
            _write(temporary, _blocks(slabs(), rows.cells), cols, rows, rule)
        except RasterioIOError as error:
            raise StorageError(f"{out} cannot be written: is the disk full? free space, then run again") from error
        ranges.check_units()


def _write(path: Path, blocks: Iterator[tuple[int, Codes]], cols: _Axis, rows: _Axis, rule: Rule) -> None:
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "nodata": 0,
        "width": cols.cells.size,
        "height": rows.cells.size,
        "crs": "EPSG:4326",
        "transform": Affine(cols.step_deg, 0, cols.edge_deg, 0, -rows.step_deg, rows.edge_deg),
        "tiled": True,
        "blockxsize": _BLOCK_PX,
        "blockysize": _BLOCK_PX,
        "compress": "deflate",
        "bigtiff": "if_safer",
        "num_threads": 1,  # tiles lie in the file in the order in which they are written
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.update_tags(classification_rule=rule)
        for top, block in blocks:
            raster.write(block[:, cols.cells], 1, window=Window(0, top, cols.cells.size, block.shape[0]))


def _classify_rows(temperature: Any, precipitation: Any, rule: Rule) -> Iterator[tuple[Codes, Ranges]]:
    """Codes of successive rows of Dask chunks; some rows are computed at a time."""
    temperature = temperature.rechunk({0: -1})
    precipitation = precipitation.rechunk(temperature.chunks)
    task = delayed(_classify_chunk)
    chunks = list(zip(temperature.to_delayed()[0], precipitation.to_delayed()[0], strict=True))
    step = max(1, _CHUNKS_AT_ONCE // len(chunks[0][0]))
    for start in range(0, len(chunks), step):
        rows = [[task(t, p, rule) for t, p in zip(*row, strict=True)] for row in chunks[start : start + step]]
        try:
            computed = compute(*rows)
        except SamplerError:
            raise
        except Exception as error:
            raise RasterError(f"the climate normals cannot be read in full: {error}") from error
        for parts in computed:
            ranges = Ranges()
            for _, found in parts:
                ranges.include(found)
            yield np.hstack([codes for codes, _ in parts]), ranges


def _classify_chunk(temperature: npt.NDArray[Any], precipitation: npt.NDArray[Any], rule: Rule) -> tuple[Codes, Ranges]:
    ranges = Ranges()
    return classify_part(temperature, precipitation, rule, ranges), ranges


def _blocks(slabs: Iterator[Codes], cells: Int64) -> Iterator[tuple[int, Codes]]:
    """First row and content of successive blocks of whole tiles; row i of the map is row `cells[i]`, which ascend."""
    held: list[Codes] = []
    top = first = 0
    for slab in slabs:
        inside = cells[np.searchsorted(cells, first) : np.searchsorted(cells, first + slab.shape[0])]
        held.append(slab[inside - first])
        first += slab.shape[0]
        rows = sum(part.shape[0] for part in held)
        if rows >= _BLOCK_PX:
            block = np.vstack(held)
            full = rows - rows % _BLOCK_PX
            yield top, block[:full]
            top, held = top + full, [block[full:]]
    rest = np.vstack(held)
    if rest.size:
        yield top, rest


def _north_west_first(array: xr.DataArray) -> xr.DataArray:
    """`array` as (month, lat, lon) in Dask chunks, from north to south and from 180° W eastwards."""
    array = array.transpose("month", "lat", "lon")
    if array.chunks is None:
        array = array.chunk({"lat": _BLOCK_PX})
    lat = array["lat"].values
    if lat.size > 1 and lat[0] < lat[-1]:
        array = array.isel(lat=slice(None, None, -1))
    lon = array["lon"].values.astype(float).round(6)  # -180 may be stored as a hair less
    array = array.assign_coords(lon=(lon + 180) % 360 - 180)
    first = int(array["lon"].values.argmin())
    if first:
        halves = [array.isel(lon=slice(first, None)), array.isel(lon=slice(None, first))]
        array = xr.concat(halves, "lon", coords="minimal", compat="override", join="exact")
    return array


def _check_same(temperature: Float64, precipitation: npt.NDArray[Any], quantity: str) -> None:
    limit = _REGULAR * abs(_step(temperature, quantity))
    if temperature.size != precipitation.size or np.abs(temperature - precipitation).max() > limit:
        raise ConfigError(
            f"temperature has {_span(temperature)} {quantity}, precipitation {_span(precipitation)}: "
            "bring both to the same grid"
        )


def _span(centres: npt.NDArray[Any]) -> str:
    return f"{centres.size} ({centres[0]:g} to {centres[-1]:g})"


def _step(centres: Float64, quantity: str) -> float:
    """Step of a regular axis, positive where it ascends."""
    if centres.size < 2:
        raise ConfigError(f"the normals have {centres.size} {quantity}: at least two are needed to know the cell size")
    step = float(centres[-1] - centres[0]) / (centres.size - 1)
    if np.abs(np.diff(centres) - step).max() > _REGULAR * abs(step):
        raise ConfigError(
            f"the {quantity} of the normals ({_span(centres)}) are not evenly spaced: bring them to a regular grid, "
            "on one side of the antimeridian or around the globe"
        )
    return step


def _columns(lon: Float64) -> _Axis:
    step = _step(lon, "longitudes")
    cells, edge = np.arange(lon.size), float(lon[0]) - step / 2
    if abs(step * lon.size - 360) > step / 2:
        return _Axis(cells=cells, edge_deg=edge, step_deg=step)
    step = 360 / lon.size
    if _close(lon[0], -180, step):  # the first cell lies across the antimeridian
        return _Axis(cells=np.append(np.repeat(cells, 2)[1:], 0), edge_deg=-180.0, step_deg=step / 2)
    return _Axis(cells=cells, edge_deg=-180.0 if _close(edge, -180, step) else edge, step_deg=step)


def _rows(lat: Float64) -> _Axis:
    step = -_step(lat, "latitudes")
    cells, edge = np.arange(lat.size), float(lat[0]) + step / 2
    at_north, at_south = _close(lat[0], 90, step), _close(lat[-1], -90, step)
    if at_north or at_south:  # a cell reaches over the pole
        halves = np.repeat(cells, 2)[int(at_north) : 2 * lat.size - int(at_south)]
        return _Axis(cells=halves, edge_deg=90.0 if at_north else edge, step_deg=step / 2)
    return _Axis(cells=cells, edge_deg=90.0 if _close(edge, 90, step) else edge, step_deg=step)


def _close(number: float, target: float, step: float) -> bool:
    return abs(float(number) - target) <= _REGULAR * step

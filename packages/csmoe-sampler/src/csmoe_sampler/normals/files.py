"""Files of monthly grids -> lazy arrays with dimensions `step`, `lat`, `lon`."""

from __future__ import annotations

import hashlib
import re
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask.array as da
import numpy as np
import rasterio
import rioxarray
import xarray as xr

from csmoe_sampler.errors import ConfigError, RasterError, SamplerError
from csmoe_sampler.remote import Patience, insist
from csmoe_sampler.storage import file_digest

Grids = dict[str, xr.DataArray]
"""Variables by name."""

_LAT = {"lat", "latitude", "y"}
_LON = {"lon", "longitude", "x"}
_REMOTE = ("http", "https", "s3", "gs", "az", "abfs")
_MAGIC = {
    b"\x89HDF": "h5netcdf",
    b"CDF\x01": "scipy",
    b"CDF\x02": "scipy",
    b"II*\x00": "tif",
    b"MM\x00*": "tif",
    b"II+\x00": "tif",
    b"MM\x00+": "tif",
}
_ZARR_MARKS = ("zarr.json", ".zgroup", ".zmetadata")
_CHUNK_PX = 512
_CHUNK_STEPS = 12


def open_grids(source: str, patience: Patience | None = None) -> Grids:
    """The variables of a source that are grids of longitude and latitude with one further dimension.

    Raises:
        RasterError: The source cannot be opened.
        ConfigError: It holds no such variable, or reading it needs the extra `normals` of the package.
    """
    kind = _kind(source)
    patience = (patience or Patience()) if "://" in source else Patience(retries=0)
    try:
        if kind == "tif":
            return {"bands": insist(partial(_open_tif, source), patience)}
        if kind == "folder":
            return {"bands": _open_folder(Path(source))}
        dataset = insist(partial(_open_dataset, source, kind), patience)
    except SamplerError:
        raise
    except ImportError as error:
        raise ConfigError(f"normals {source}: reading them needs more: install csmoe-sampler[normals]") from error
    except Exception as error:
        raise RasterError(f"normals {source} cannot be opened: {error}") from error
    grids = {str(name): _grid(array, patience) for name, array in dataset.data_vars.items()}
    found = {name: grid for name, grid in grids.items() if grid is not None}
    if not found:
        listing = ", ".join(f"{name}{list(map(str, v.dims))}" for name, v in dataset.data_vars.items()) or "none"
        raise ConfigError(f"normals {source} hold no variable over months, latitude and longitude: found {listing}")
    return found


def source_provenance(source: str) -> dict[str, Any]:
    """Name and content hash of a local source, or the address of a remote one."""
    if "://" in source:
        return {"href": source}
    path = Path(source)
    if path.is_file():
        return {"name": path.name, "digest": file_digest(path)}
    digest = hashlib.sha256()
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\t{file_digest(file)}\n".encode())
    return {"name": path.name, "digest": f"sha256:{digest.hexdigest()}"}


def _kind(source: str) -> str:
    """`tif`, `folder`, `zarr`, `h5netcdf` or `scipy`."""
    if "://" in source:
        suffix = Path(urlsplit(source).path.rstrip("/")).suffix.lower()
        if urlsplit(source).scheme in _REMOTE and suffix in (".zarr", ".tif", ".tiff"):
            return "zarr" if suffix == ".zarr" else "tif"
        raise RasterError(
            f"normals {source}: only Zarr stores (.zarr) and GeoTIFFs (.tif) are read from "
            f"{', '.join(_REMOTE)} addresses: download it first"
        )
    path = Path(source)
    if path.is_dir():
        return "zarr" if any((path / mark).exists() for mark in _ZARR_MARKS) else "folder"
    try:
        with path.open("rb") as file:
            kind = _MAGIC.get(file.read(4))
    except OSError as error:
        raise RasterError(f"normals {source} cannot be opened: {error.strerror}") from error
    if kind is None:
        raise RasterError(f"normals {source} are neither NetCDF nor GeoTIFF, nor a Zarr store: check the path")
    return kind


def _open_dataset(source: str, engine: str) -> xr.Dataset:
    if find_spec(engine) is None:
        raise ConfigError(f"normals {source}: reading them needs {engine}: install csmoe-sampler[normals]")
    options: dict[str, Any] = {"engine": engine, "chunks": None, "cache": False, "decode_timedelta": False}
    if engine == "zarr" and Path(source).is_dir():
        options["consolidated"] = (Path(source) / ".zmetadata").exists()
    try:
        return xr.open_dataset(source, **options)
    except ValueError:  # a calendar that xarray does not know; the order of 12 months says enough
        return xr.open_dataset(source, decode_times=False, **options)


class _Patient:
    """An array behind a network: what cannot be read is tried again, chunk by chunk."""

    def __init__(self, array: xr.DataArray, patience: Patience) -> None:
        self._array = array
        self._patience = patience
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        return insist(lambda: self._array[key].values, self._patience)


def _grid(array: xr.DataArray, patience: Patience) -> xr.DataArray | None:
    """`array` as (step, lat, lon) in chunks; None where it is not such a grid."""
    lat, lon = _dimension(array, _LAT, "latitude"), _dimension(array, _LON, "longitude")
    if lat is None or lon is None:
        return None
    single = [name for name in array.dims if array.sizes[name] == 1 and name not in (lat, lon)]
    array = array.squeeze(single, drop=True)
    steps = [name for name in array.dims if name not in (lat, lon)]
    if len(steps) != 1:
        return None
    wanted = {steps[0]: _CHUNK_STEPS, lat: _CHUNK_PX, lon: _CHUNK_PX}
    preferred = array.encoding.get("preferred_chunks", {})
    stored = [preferred.get(name, 1) for name in array.dims]
    chunks = tuple(size * max(1, wanted[name] // size) for name, size in zip(array.dims, stored, strict=True))
    nothing = np.empty((0,) * array.ndim, array.dtype)
    lazy = da.from_array(_Patient(array, patience), chunks, name=False, meta=nothing)
    coords = {name: array[name] for name in wanted if name in array.coords}
    grid = xr.DataArray(lazy, coords, array.dims, array.name, array.attrs)
    return grid.rename({steps[0]: "step", lat: "lat", lon: "lon"}).transpose("step", "lat", "lon")


def _dimension(array: xr.DataArray, names: set[str], standard_name: str) -> Any:
    """The dimension that is the latitude or the longitude, with a coordinate of its own."""
    for name in array.dims:
        if name in array.coords:
            attributes = array[name].attrs
            if str(name).lower() in names or attributes.get("standard_name") == standard_name:
                return name
    return None


def _open_tif(source: str) -> xr.DataArray:
    """The bands of a GeoTIFF as steps; scale, offset and no-data value are applied."""
    with rasterio.open(source) as raster:
        if raster.crs is not None and not raster.crs.is_geographic:
            raise ConfigError(f"normals {source} lie in {raster.crs}: bring them to longitude and latitude")
        if raster.transform.b or raster.transform.d:
            raise ConfigError(f"normals {source} lie in a rotated grid: bring them to longitude and latitude")
        rows, cols = raster.block_shapes[0]
        units = raster.units[0]
    chunks = {
        "x": cols * max(1, _CHUNK_PX // cols),
        "y": rows * max(1, _CHUNK_PX // rows) if cols < raster.width else max(rows, _CHUNK_PX**2 // cols),
    }
    with warnings.catch_warnings():  # rioxarray multiplies transforms in a way that affine 3 is about to drop
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        array = rioxarray.open_rasterio(source, chunks=chunks, mask_and_scale=True)
    assert isinstance(array, xr.DataArray)
    array = array.drop_vars(["spatial_ref", "band"], errors="ignore").rename(band="step", y="lat", x="lon")
    array.attrs = {"units": units} if units else {}
    return array


def _open_folder(folder: Path) -> xr.DataArray:
    """Twelve GeoTIFFs, one a month."""
    months = _month_files(folder)
    arrays = [_open_tif(str(path)) for path in months]
    bands = [array.sizes["step"] for array in arrays]
    if set(bands) != {1}:
        raise ConfigError(f"normals {folder}: the 12 files have up to {max(bands)} bands: one band a file is needed")
    return xr.concat(arrays, "step", coords="minimal", compat="override", join="exact", combine_attrs="override")


def _month_files(folder: Path) -> list[Path]:
    """The files of January to December: one number in their names runs from 1 to 12."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".tif", ".tiff"))
    numbers = [[int(number) for number in re.findall(r"\d+", path.stem)] for path in files]
    if len(files) == 12 and len({len(found) for found in numbers}) == 1:
        for position in range(len(numbers[0])):
            months = [found[position] for found in numbers]
            if sorted(months) == list(range(1, 13)):
                return [files[i] for i in np.argsort(months)]
    raise ConfigError(
        f"normals {folder}: found {len(files)} GeoTIFFs; 12 are needed, numbered 1 to 12 in their names, "
        "or a Zarr store"
    )

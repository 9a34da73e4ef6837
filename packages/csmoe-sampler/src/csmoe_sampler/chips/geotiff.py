"""Chips as Cloud Optimized GeoTIFFs, one folder a tile, with the names, units and scales of their bands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from csmoe_sampler.chips.rows import ChipRow, ChipRows
from csmoe_sampler.errors import RasterError
from csmoe_sampler.progress import Progress
from csmoe_sampler.storage import atomic_path, write_json

if TYPE_CHECKING:
    from csmoe_sampler.chips.export import Job

_DONE = "chip.json"


def write_geotiffs(job: Job, out: Path, progress: Progress) -> tuple[str, ...]:
    """Names of the folders; one with its `chip.json` is complete, and stays."""
    tiles = [job.rows.tile_ids[row] for row in job.wanted.tolist()]
    done = np.array([(out / tile / _DONE).exists() for tile in tiles], np.bool_)
    progress.advance(int(done.sum()))
    described: list[dict[str, Any]] = []
    for chip in job.rows.read(job.wanted[~done]):
        folder = out / chip.tile_id
        for name in chip.arrays:
            ending = f"_{chip.season}" if chip.season else ""
            write_layer(chip, name, job.rows, folder / f"{name.upper()}{ending}.tif")
        described.append({"season": chip.season, **chip.facts} if chip.season else chip.facts)
        if chip.season == job.rows.seasons[-1]:
            about = {"row": chip.row, **job.about.get(chip.tile_id, {})}
            write_json(folder / _DONE, {**about, "seasons": described} if chip.season else {**about, **chip.facts})
            described = []
            progress.advance(1)
    return tuple(tiles)


def write_layer(chip: ChipRow, name: str, rows: ChipRows, path: Path) -> None:
    """Writes the pixels of a sensor, or the mask `scl`, as one file.

    Raises:
        RasterError: GDAL refuses them.
        StorageError: The disk is full, or the place is not writable.
    """
    array, attributes = chip.arrays[name], rows.layers[name]
    names = rows.bands.get(name, (name.upper(),))
    values = array if array.ndim == 3 else array[None]
    missing = float("nan") if values.dtype.kind == "f" else attributes.get("_FillValue", 0)
    options = {
        "driver": "COG",
        "crs": chip.facts["crs"],
        "transform": _transform(chip),
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype.name,
        "nodata": missing,
        "compress": "DEFLATE",
        "predictor": "YES",
        "blocksize": 256,
        "overview_resampling": "NEAREST" if name == "scl" else "AVERAGE",
    }
    try:
        with atomic_path(path) as temporary, rasterio.open(temporary, "w", **options) as file:
            file.write(values)
            file.descriptions = names
            file.scales = [float(attributes.get("scale_factor", 1.0))] * len(values)
            file.offsets = [float(attributes.get("add_offset", 0.0))] * len(values)
            if attributes.get("units"):
                file.units = [str(attributes["units"])] * len(values)
            file.update_tags(**_tags(chip, name))
    except rasterio.errors.RasterioError as error:
        raise RasterError(f"{path}: cannot be written ({error}): check the CRS of tile {chip.tile_id}") from error


def _transform(chip: ChipRow) -> rasterio.Affine:
    left, bottom, right, top = chip.facts["bounds"]
    height, width = next(iter(chip.arrays.values())).shape[-2:]
    return rasterio.Affine((right - left) / width, 0.0, left, 0.0, (bottom - top) / height, top)


def _tags(chip: ChipRow, name: str) -> dict[str, str]:
    """Tile, time and item, as far as the store knows them."""
    sensor = "s2" if name == "scl" else name
    facts = {"tile_id": chip.tile_id} | {
        key: str(chip.facts[key])
        for key in (f"{sensor}_item", f"{sensor}_time", f"{sensor}_offset")
        if chip.facts.get(key) not in (None, "")
    }
    time = chip.facts.get(f"{sensor}_time")
    if time:
        facts["TIFFTAG_DATETIME"] = time[:19].replace("-", ":").replace("T", " ")
    return facts

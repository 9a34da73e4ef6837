"""Sentinel-2 granules on disk, small but laid out like real ones, and the table of scenes that leads to them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyproj
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.io import MemoryFile

from csmoe_sampler.scenes.assets import SceneFiles
from csmoe_sampler.scenes.table import SCENES

BANDS = {"B02": 1, "B04": 1, "B08": 1, "B11": 2, "B01": 6}
"""Band -> its pixels in pixels of the finest."""
SHAPE = (1098, 1104)
"""Rows and columns of the finest bands; real ones have ten times as many, of a tenth of the size."""
PIXEL_M = 100.0


def write_cog(
    path: Path, pixels: np.ndarray, corner: tuple[float, float], pixel_m: float, crs: str, **options: object
) -> Path:
    """A Cloud Optimized GeoTIFF with the north-western `corner`."""
    profile = {
        "driver": "GTiff",
        "crs": crs,
        "transform": Affine(pixel_m, 0, corner[0], 0, -pixel_m, corner[1]),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": 1,
        "dtype": pixels.dtype.name,
        "nodata": 0,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = {"BLOCKSIZE": "256", "COMPRESS": "DEFLATE", "OVERVIEW_RESAMPLING": "AVERAGE"} | options
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(pixels, 1)
        with memory.open() as dataset:
            rasterio.shutil.copy(dataset, str(path), driver="COG", **layout)
    return path


def write_granule(
    folder: Path,
    item: str,
    *,
    corner: tuple[float, float] = (399_960.0, 5_300_040.0),
    crs: str = "EPSG:32632",
    offset: float = 0.0,
    cloud: float = 2.0,
    seed: int = 0,
) -> dict[str, object]:
    """Writes the COGs of a granule and returns its row of `SCENES`.

    The west is nearly even, the east is a mixture; the north-eastern corner has no data, a disc is under cloud.
    """
    rng = np.random.default_rng(seed)
    rows, cols = SHAPE
    y, x = np.mgrid[:rows, :cols]
    empty = (cols - x) + y < 250
    cloudy = (y - 700) ** 2 + (x - 400) ** 2 < 120**2
    addresses = {}
    for k, (band, ratio) in enumerate(BANDS.items()):
        field = (
            300.0
            + 150 * k
            + np.where(x < 500, 0, 2500 * rng.random((rows // 12 + 1, cols // 12 + 1))[y // 12, x // 12])
        )
        dn = np.where(empty, 0, rng.normal(field, 20).clip(1, 12_000) + offset).astype(np.uint16)
        dn = dn[::ratio, ::ratio][: rows // ratio, : cols // ratio]
        addresses[band] = str(write_cog(folder / f"{item}_{band}.tif", dn, corner, PIXEL_M * ratio, crs))
    classes = np.select([empty, cloudy], [0, 9], 4).astype(np.uint8)[::2, ::2]
    mask = write_cog(folder / f"{item}_SCL.tif", classes, corner, 2 * PIXEL_M, crs, OVERVIEW_RESAMPLING="NEAREST")
    return scene_row(item, addresses | {"SCL": str(mask)}, _outline(corner, crs), offset=offset, cloud=cloud, crs=crs)


def scene_row(
    item: str,
    addresses: dict[str, str],
    geometry: shapely.Geometry,
    *,
    offset: float | None = 0.0,
    cloud: float | None = 2.0,
    crs: str = "EPSG:32632",
) -> dict[str, object]:
    """A row of `SCENES`."""
    packed = SceneFiles.pack(addresses)
    return {
        "item": item,
        "collection": "sentinel-2-l2a",
        "datetime": dt.datetime(2021, 7, 1, 10, 30, tzinfo=dt.UTC),
        "geometry": shapely.to_wkb(geometry),
        "cloud_cover": cloud,
        "offset": offset,
        "crs": crs,
        "href": packed.href,
        "stem": packed.stem,
        "files": packed.files,
    }


def scene_table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCENES)


def _outline(corner: tuple[float, float], crs: str) -> shapely.Polygon:
    """The whole granule, in longitude and latitude."""
    west, north = corner
    east, south = west + SHAPE[1] * PIXEL_M, north - SHAPE[0] * PIXEL_M
    ring = shapely.segmentize(shapely.box(west, south, east, north), 10_000)
    to_globe = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = to_globe.transform(*shapely.get_coordinates(ring).T)
    return shapely.Polygon(np.column_stack([lon, lat]))

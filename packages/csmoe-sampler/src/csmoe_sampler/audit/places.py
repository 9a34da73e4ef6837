"""Somebody's places: points, polygons or tile ids from a file, as tiles of a grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import shapely
from pyproj.exceptions import CRSError

from csmoe_sampler.errors import ConfigError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.manifest.rows import parse_leniently
from csmoe_sampler.types import Float64, Int64

INVALID, OUTSIDE = -1, -2
_ID_NAMES = ("tile_id", "grid_cell")
_LON_NAMES = ("lon", "longitude", "centre_lon", "center_lon", "x")
_LAT_NAMES = ("lat", "latitude", "centre_lat", "center_lat", "y")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where each record of a file lies."""

    tiles: Int64
    """Tile index; INVALID without a usable coordinate or id, OUTSIDE beyond the grid's rows."""
    by: str
    """How the tiles were found: `tile ids`, `coordinates` or `geometries`."""

    def __len__(self) -> int:
        return len(self.tiles)


def read_places(path: Path, grid: TileGrid) -> Places:
    """The places in a file.

    Args:
        path: CSV or Parquet with a column `tile_id` (or `grid_cell`) or with longitude and latitude; one of our
            manifests; or GeoParquet, GeoJSON, GeoPackage and whatever else GDAL reads, with points or polygons, of
            which a point inside counts.
        grid: The grid of the tiles.

    Raises:
        ConfigError: The file is missing, cannot be read, or says nowhere where its records are.
    """
    if not path.exists():
        raise ConfigError(f"places {path}: no such file")
    suffix = path.suffix.lower()
    try:
        if suffix in {".csv", ".tsv", ".txt"}:
            options = pa.csv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ",")
            return _from_table(pa.csv.read_csv(path, parse_options=options), grid, path)
        if suffix in {".parquet", ".geoparquet", ".pq"}:
            return _from_parquet(path, grid)
        return _from_frame(geopandas.read_file(path), grid)
    except (pa.ArrowException, CRSError, RuntimeError, UnicodeDecodeError) as error:
        raise ConfigError(f"places {path}: cannot be read ({str(error).splitlines()[0]})") from error


def _from_parquet(path: Path, grid: TileGrid) -> Places:
    with pq.ParquetFile(path) as file:
        names, metadata = file.schema_arrow.names, file.schema_arrow.metadata or {}
        columns = _named(names, _ID_NAMES) + _named(names, _LON_NAMES)[:1] + _named(names, _LAT_NAMES)[:1]
        if b"csmoe" in metadata and json.loads(metadata[b"csmoe"]).get("grid") != _parameters(grid):
            columns = ["lon", "lat"]  # ids of another grid name other tiles
        if columns or b"geo" not in metadata:
            return _from_table(file.read(columns=columns), grid, path)
    return _from_frame(geopandas.read_parquet(path, columns=[_primary(metadata)]), grid)


def _parameters(grid: TileGrid) -> dict[str, float]:
    return {"spacing_km": grid.spacing_km, "lat_max_deg": grid.lat_max_deg}


def _primary(metadata: dict[bytes, bytes]) -> str:
    return str(json.loads(metadata[b"geo"])["primary_column"])


def _from_table(table: pa.Table, grid: TileGrid, path: Path) -> Places:
    ids = _named(table.column_names, _ID_NAMES)
    if ids:
        text = table[ids[0]].cast(pa.string()).fill_null("").to_numpy()
        return Places(tiles=parse_leniently(grid, text), by="tile ids")
    lon, lat = _named(table.column_names, _LON_NAMES), _named(table.column_names, _LAT_NAMES)
    if not lon or not lat:
        raise ConfigError(
            f"places {path}: no column {' or '.join(_ID_NAMES)}, and no longitude and latitude, among "
            f"{', '.join(table.column_names) or 'its columns'}; rename the columns to lon and lat"
        )
    return Places(tiles=_locate(grid, _numbers(table[lon[0]]), _numbers(table[lat[0]])), by="coordinates")


def _from_frame(frame: Any, grid: TileGrid) -> Places:
    frame = frame if frame.crs is None else frame.to_crs("EPSG:4326")
    points = shapely.point_on_surface(np.asarray(frame.geometry.array))
    return Places(tiles=_locate(grid, shapely.get_x(points), shapely.get_y(points)), by="geometries")


def _locate(grid: TileGrid, lon: Float64, lat: Float64) -> Int64:
    usable = np.isfinite(lon) & np.isfinite(lat) & (lon >= -180) & (lon <= 360) & (np.abs(lat) <= 90)
    south, north = float(grid.bounds(0)[1]), float(grid.bounds(grid.size - 1)[3])
    inside = usable & (lat >= south) & (lat < north)
    tiles = np.where(usable, OUTSIDE, INVALID).astype(np.int64)
    tiles[inside] = grid.locate_index(lon[inside], lat[inside])
    return tiles


def _numbers(column: pa.ChunkedArray) -> Float64:
    """A column as numbers; what is none becomes NaN."""
    if pa.types.is_string(column.type):
        parsed = [_number(text) for text in column.to_pylist()]
        return np.array(parsed, dtype=np.float64)
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _named(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of `names` that are among `wanted`, whatever their case, the first wanted one first."""
    by_name = {name.lower(): name for name in names}
    return [by_name[name] for name in wanted if name in by_name]

"""Rows of embeddings in the layout of Major TOM's embedding sets, with a column that names the sensor.

Major TOM keeps a set for each sensor; here one file holds all, a row for each tile and sensor, or for each patch of it.
`pixel_bbox` is [x_min, y_min, x_max, y_max] in pixels of the chip, from its north-west corner; `embedding` of a tile is
the pooled feature, of a patch its token. `unique_id` is made from place, time, product and model.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from csmoe_model.embedding.utm import to_lon_lat
from csmoe_model.errors import DataError

Floats = npt.NDArray[np.float64]
_GRID_CELL = re.compile(r"(\d+)([UD])_(\d+)([LR])")
_POLYGON, _MULTIPOLYGON = 3, 6
GEOMETRY_TYPES = {_POLYGON: "Polygon", _MULTIPOLYGON: "MultiPolygon"}
"""By the second byte of their WKB."""
_HEAD = struct.Struct("<BII")
"""Byte order, kind, number of rings or polygons."""
_WGS84 = {
    "$schema": "https://proj.org/schemas/v0.7/projjson.schema.json",
    "type": "GeographicCRS",
    "name": "WGS 84",
    "datum": {
        "type": "GeodeticReferenceFrame",
        "name": "World Geodetic System 1984",
        "ellipsoid": {"name": "WGS 84", "semi_major_axis": 6378137, "inverse_flattening": 298.257223563},
    },
    "coordinate_system": {
        "subtype": "ellipsoidal",
        "axis": [
            {"name": "Geodetic latitude", "abbreviation": "Lat", "direction": "north", "unit": "degree"},
            {"name": "Geodetic longitude", "abbreviation": "Lon", "direction": "east", "unit": "degree"},
        ],
    },
    "id": {"authority": "EPSG", "code": 4326},
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """What n embeddings are of."""

    tile_id: list[str]
    sensor: list[str]
    product_id: list[str]
    time_us: npt.NDArray[np.int64]
    """(n,) Since 1970, UTC."""
    crs: list[str]
    bounds: Floats
    """(n, 4) x_min, y_min, x_max, y_max of the chip in its CRS."""
    windows: Floats
    """(n, 4) x_min, y_min, x_max, y_max in the chip, as shares of its edge, from its north-west corner."""
    chip_px: int


def schema(dim: int, number: pa.DataType) -> pa.Schema:
    """Columns, for embeddings of `dim` numbers."""
    return pa.schema(
        [
            ("unique_id", pa.string()),
            ("embedding", pa.list_(pa.field("item", number), dim)),
            ("sensor", pa.string()),
            ("timestamp", pa.string()),
            ("product_id", pa.string()),
            ("grid_cell", pa.string()),
            ("grid_row_u", pa.int16()),
            ("grid_col_r", pa.int16()),
            ("geometry", pa.binary()),
            ("centre_lat", pa.float32()),
            ("centre_lon", pa.float32()),
            ("utm_footprint", pa.string()),
            ("utm_crs", pa.string()),
            ("pixel_bbox", pa.list_(pa.field("item", pa.int32()), 4)),
        ]
    )


def rows_of(places: Places, embeddings: npt.NDArray[Any], model: str) -> tuple[pa.RecordBatch, Floats]:
    """Rows, and the extents (n, 4) of their geometries: west, south, east, north.

    Args:
        places: What they are of.
        embeddings: (n, D) Float16 or float32.
        model: Digest of the weights.

    Raises:
        DataError: A tile's name is not of the grid, or a CRS is no UTM.
    """
    corners = _corners(places)
    outlines = np.stack(to_lon_lat(corners[..., 0], corners[..., 1], places.crs), -1)
    centres = corners.mean(1)
    lon, lat = to_lon_lat(centres[:, 0], centres[:, 1], places.crs)
    geometry, extents = wkb(outlines)
    pixels = (places.windows * places.chip_px).round().astype(np.int32)
    stamps = [str(stamp).replace("T", " ") for stamp in places.time_us.astype("M8[us]").astype("M8[s]")]
    cells = np.array([grid_place(tile) for tile in places.tile_id], np.int16).reshape(-1, 2)
    made_of = zip(places.tile_id, places.sensor, places.product_id, stamps, pixels.tolist(), strict=True)
    number = pa.float16() if embeddings.dtype == np.float16 else pa.float32()
    columns = {
        "unique_id": [hashlib.sha256(repr((model, *about)).encode()).hexdigest() for about in made_of],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel(), number), embeddings.shape[1]),
        "sensor": places.sensor,
        "timestamp": stamps,
        "product_id": places.product_id,
        "grid_cell": places.tile_id,
        "grid_row_u": cells[:, 0],
        "grid_col_r": cells[:, 1],
        "geometry": geometry,
        "centre_lat": lat.astype(np.float32),
        "centre_lon": ((lon + 180) % 360 - 180).astype(np.float32),
        "utm_footprint": [_wkt(points) for points in corners.tolist()],
        "utm_crs": places.crs,
        "pixel_bbox": pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), 4),
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema(embeddings.shape[1], number)), extents


def _corners(places: Places) -> Floats:
    """(n, 4, 2) In metres, from the south-west, anticlockwise."""
    x_min, y_min, x_max, y_max = places.bounds.T
    left, top, right, bottom = places.windows.T
    west, east = (x_min + share * (x_max - x_min) for share in (left, right))
    south, north = (y_max - share * (y_max - y_min) for share in (bottom, top))
    return np.stack([[west, south], [east, south], [east, north], [west, north]]).transpose(2, 0, 1)


def grid_place(tile_id: str) -> tuple[int, int]:
    """Signed row and column of the Major TOM grid: `12U_3L` is (12, -3).

    Raises:
        DataError: It is no such name.
    """
    found = _GRID_CELL.fullmatch(tile_id)
    if not found:
        raise DataError(f"tile {tile_id!r}: is no cell of the Major TOM grid, such as 543U_17R")
    row, col = int(found[1]), int(found[3])
    return (row if found[2] == "U" else -row), (col if found[4] == "R" else -col)


def geo_metadata(bbox: Sequence[float], kinds: Sequence[str]) -> bytes:
    """The value of the key `geo` of GeoParquet 1.1."""
    column = {
        "encoding": "WKB",
        "geometry_types": sorted(kinds),
        "crs": _WGS84,
        "orientation": "counterclockwise",
        "bbox": list(bbox),
    }
    about = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return json.dumps(about, sort_keys=True, separators=(",", ":")).encode()


def wkb(outlines: Floats) -> tuple[list[bytes], Floats]:
    """Polygons of outlines (n, 4, 2) anticlockwise, and their extents (n, 4).

    They lie within longitudes +-180: what reaches beyond is cut in two.
    """
    west, east = outlines[..., 0].min(1), outlines[..., 0].max(1)
    turn = np.where(west >= 180, -360.0, np.where(east <= -180, 360.0, 0.0))
    whole = outlines + np.stack([turn, np.zeros_like(turn)], 1)[:, None]
    found = [_polygon(points) for points in whole]
    extents = np.concatenate([whole.min(1), whole.max(1)], 1)
    for edge in (-180.0, 180.0):
        for place in np.flatnonzero((whole[..., 0].min(1) < edge) & (whole[..., 0].max(1) > edge)):
            sides = [_beyond(whole[place], edge, sign) for sign in (-1.0, 1.0)]
            sides[int(edge > 0)][:, 0] -= 2 * edge
            found[place] = b"".join([_HEAD.pack(1, _MULTIPOLYGON, 2), *map(_polygon, sides)])
            extents[place, [0, 2]] = -180, 180
    return found, extents


def _beyond(points: Floats, edge: float, sign: float) -> Floats:
    """The part of a convex polygon (n, 2) on one side of a meridian: of larger longitudes where `sign` is positive."""
    depth = sign * (points[:, 0] - edge)
    kept: list[Floats] = []
    for k in range(len(points)):
        other = (k + 1) % len(points)
        if depth[k] >= 0:
            kept.append(points[k])
        if depth[k] * depth[other] < 0:
            share = depth[k] / (depth[k] - depth[other])
            kept.append(np.array([edge, points[k, 1] + share * (points[other, 1] - points[k, 1])]))
    return np.stack(kept)


def _polygon(points: Floats) -> bytes:
    ring = np.concatenate([points, points[:1]]).astype("<f8")
    return _HEAD.pack(1, _POLYGON, 1) + struct.pack("<I", len(ring)) + ring.tobytes()


def _wkt(points: Sequence[Sequence[float]]) -> str:
    return f"POLYGON (({', '.join(f'{x:.3f} {y:.3f}' for x, y in [*points, points[0]])}))"

"""Manifest <-> GeoParquet 1.1 file: equal manifests give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from csmoe_sampler.errors import ManifestError
from csmoe_sampler.manifest.schema import SCHEMA_VERSION, Manifest, schema_for
from csmoe_sampler.storage import atomic_path

ROWS_PER_GROUP = 50_000
GEOPARQUET_VERSION = "1.1.0"

_GEOMETRY_TYPES = {3: "Polygon", 6: "MultiPolygon"}
"""GEOS type number -> name in GeoParquet, of the types that a footprint can have."""

# Written out, not asked of PROJ: the datum ensemble in PROJ's own answer grows from release to release.
WGS84: dict[str, Any] = {
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


def write_manifest(table: pa.Table, metadata: dict[str, Any], path: Path) -> None:
    """Write a manifest as GeoParquet 1.1, atomically; the same table and metadata give the same bytes.

    Args:
        table: The columns of `schema_for(labels, extra columns)`, in any order, sorted by `rank`.
        metadata: The `csmoe` key: JSON-able, no NaN; `schema_version` and `extra_columns` may be left out.
        path: Target; replaced when it exists.

    Raises:
        ManifestError: Columns are missing or of another type, or hold nulls where none may be.
        StorageError: The file cannot be written.
    """
    labels = metadata["legends"]["landcover"]["labels"]
    fixed = schema_for(labels)
    extra = {field.name: field.type for field in table.schema if field.name not in fixed.names}
    table = _conform(table, schema_for(labels, extra))
    declared = {name: str(kind) for name, kind in extra.items()}
    described = {**metadata, "schema_version": SCHEMA_VERSION, "extra_columns": declared}
    keys = {b"geo": _json(geo_metadata(table["geometry"])), b"csmoe": _json(described)}
    text = [field.name for field in table.schema if field.type == pa.string()]
    with atomic_path(path) as temporary:
        pq.write_table(
            table.combine_chunks().replace_schema_metadata(keys),
            temporary,
            row_group_size=ROWS_PER_GROUP,
            compression="zstd",
            compression_level=6,
            use_dictionary=text,
            version="2.6",
        )


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; its contents are not checked (see `validate`).

    Raises:
        ManifestError: The file is missing, truncated, not Parquet, not a manifest, or of a later schema version.
    """
    manifest, _ = load(path)
    version = manifest.metadata.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ManifestError(
            f"manifest {path}: schema version {version!r}, this release reads {SCHEMA_VERSION}; "
            "use the csmoe-sampler release that wrote it, or build it again"
        )
    return manifest


def load(path: Path) -> tuple[Manifest, dict[str, Any]]:
    """The manifest in a file of any schema version, and the file's `geo` metadata ({} where absent).

    Raises:
        ManifestError: The file is missing, truncated, not Parquet, or has no readable `csmoe` key.
    """
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            table = file.read()
    except FileNotFoundError as error:
        raise ManifestError(f"manifest {path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"manifest {path}: cannot be read as Parquet ({_first_line(error)}): check the path"
        ) from error
    keys = table.schema.metadata or {}
    metadata = _decode(keys.get(b"csmoe"))
    if metadata is None:
        raise ManifestError(f"manifest {path}: Parquet, but without readable 'csmoe' metadata: not a manifest")
    return Manifest(table=table.replace_schema_metadata(None), metadata=metadata), _decode(keys.get(b"geo")) or {}


def geo_metadata(geometry: pa.ChunkedArray) -> dict[str, Any]:
    """The GeoParquet `geo` key of a column of WKB polygons."""
    shapes = shapely.from_wkb(geometry.to_numpy())
    types = [_GEOMETRY_TYPES[kind] for kind in np.unique(shapely.get_type_id(shapes))]
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": types,
        "crs": WGS84,
        "covering": {"bbox": {edge: ["bbox", edge] for edge in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if shapely.is_ccw(shapely.get_exterior_ring(shapely.get_parts(shapes))).all():
        column["orientation"] = "counterclockwise"
    if len(shapes):
        column["bbox"] = [float(edge) for edge in shapely.total_bounds(shapes)]
    return {"version": GEOPARQUET_VERSION, "primary_column": "geometry", "columns": {"geometry": column}}


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns of `schema`, in its order."""
    missing = [name for name in schema.names if name not in table.column_names]
    wrong = [
        f"{field.name} is {table.schema.field(field.name).type}, not {field.type}"
        for field in schema
        if field.name not in missing and table.schema.field(field.name).type != field.type
    ]
    nulls = [
        f"{field.name} has {table[field.name].null_count} nulls"
        for field in schema
        if not field.nullable and field.name not in missing and table[field.name].null_count
    ]
    problems = [f"no column {name}" for name in missing] + wrong + nulls
    if problems:
        raise ManifestError(f"manifest: not of the schema, nothing written: {'; '.join(problems)}")
    return table.select(schema.names).cast(schema)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _decode(content: bytes | None) -> dict[str, Any] | None:
    try:
        decoded = json.loads(content or b"")
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

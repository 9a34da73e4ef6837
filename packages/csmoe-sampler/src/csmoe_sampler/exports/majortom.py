"""Major TOM: a metadata table with the columns of its Core data sets, which its own filters take.

Of the Core columns, `parquet_url` and `parquet_row` are left out: they say where a Core data set keeps its pixels.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from csmoe_sampler.exports.task import Task
from csmoe_sampler.manifest.files import geo_metadata
from csmoe_sampler.storage import atomic_path

_ALSO = ("rank", "split", "stratum", "weight", "landcover", "climate", "s1_item", "s1_datetime")
"""Columns that go along under their own names, after those of Major TOM."""


def write(task: Task, out: Path) -> str:
    """Writes one GeoParquet file: a row a tile, or a tile and season, with its Sentinel-2 scene."""
    table = pa.concat_tables([_rows(task, season) for season in task.seasons])
    table = table.sort_by([("rank", "ascending"), ("timestamp", "ascending")])
    keys = {b"geo": json.dumps(geo_metadata(table["geometry"]), sort_keys=True).encode()}
    with atomic_path(out) as temporary:
        pq.write_table(table.combine_chunks().replace_schema_metadata(keys), temporary, compression="zstd")
    return f"{table.num_rows:,} rows"


def _rows(task: Task, season: str) -> pa.Table:
    found = task.scenes(season)
    parts = pc.extract_regex(found["tile_id"], r"^(?P<row>\d+)(?P<ns>[UD])_(?P<col>\d+)(?P<ew>[RL])$")
    columns = {
        "grid_cell": found["tile_id"],
        "grid_row_u": _signed(parts, "row", "ns", "D"),
        "grid_col_r": _signed(parts, "col", "ew", "L"),
        "product_id": found["s2_item"],
        "timestamp": found["s2_datetime"].cast(pa.timestamp("us")),  # UTC, without saying so, as in Core
        "cloud_cover": found["s2_cloud_cover"].cast(pa.float64()),
        "nodata": pc.subtract(1.0, found["s2_coverage"].cast(pa.float64())),
        "centre_lat": found["lat"],
        "centre_lon": found["lon"],
        "crs": found["crs"],
        "geometry": found["geometry"],
    }
    return pa.table(columns | {name: found[name] for name in _ALSO if name in found.column_names})


def _signed(parts: pa.ChunkedArray, number: str, side: str, negative: str) -> pa.ChunkedArray:
    value = pc.struct_field(parts, number).cast(pa.int64())
    return pc.if_else(pc.equal(pc.struct_field(parts, side), negative), pc.negate(value), value)

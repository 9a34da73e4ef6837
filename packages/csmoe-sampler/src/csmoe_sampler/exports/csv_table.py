"""CSV (RFC 4180): a line a tile, the columns of the manifest, the footprint as well-known text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import shapely
from pyarrow import csv

from csmoe_sampler.exports.task import Task, flat_columns
from csmoe_sampler.storage import atomic_path

WKT = "WKT"
"""The name by which GDAL, and so geopandas and QGIS, know a column of geometries."""


def write(task: Task, out: Path) -> str:
    """Writes one file, in pieces."""
    schema = _lines(task.manifest.table.slice(0, 0)).schema
    task.progress.start("export", len(task.manifest), "tiles")
    with atomic_path(out) as temporary, csv.CSVWriter(temporary, schema) as writer:
        for rows in task.batches():
            writer.write(_lines(rows))
    task.progress.finish()
    return f"{len(task.manifest):,} lines"


def _lines(rows: pa.Table) -> pa.Table:
    texts = shapely.to_wkt(shapely.from_wkb(rows["geometry"].to_numpy()), rounding_precision=9)
    return flat_columns(rows).append_column(WKT, pa.array(texts, pa.string()))

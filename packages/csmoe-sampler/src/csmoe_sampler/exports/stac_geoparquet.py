"""STAC-GeoParquet: an item a tile (and season) with the files of its scenes as assets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from csmoe_sampler.exports.task import Task, record_name
from csmoe_sampler.manifest.files import geo_metadata
from csmoe_sampler.scenes.assets import SceneFiles
from csmoe_sampler.storage import atomic_path

STAC_VERSION = "1.1.0"
_EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
)
_MEDIA = {
    ".tif": "image/tiff; application=geotiff",
    ".tiff": "image/tiff; application=geotiff",
    ".jp2": "image/jp2",
}
_OWN = ("rank", "split", "stratum", "weight", "landcover", "climate", "s2_item", "s1_item", "dt_days", "chip")
"""Columns of the manifest that become properties `csmoe:...`."""
_LINK = pa.struct([("href", pa.string()), ("rel", pa.string())])
_ASSET = pa.struct(
    [("href", pa.string()), ("type", pa.string()), ("roles", pa.list_(pa.string())), ("proj:code", pa.string())]
)


def write(task: Task, out: Path) -> str:
    """Writes one file, in pieces; addresses are unsigned, as in the manifest."""
    tables = {season: task.scenes(season) for season in task.seasons}
    bands = sorted({band for table in tables.values() for band in _bands(table)})
    geometry = pa.chunked_array([chunk for table in tables.values() for chunk in table["geometry"].chunks])
    keys = {
        b"geo": json.dumps(geo_metadata(geometry), sort_keys=True).encode(),
        b"stac-geoparquet": json.dumps({"version": "1.0.0"}).encode(),
    }
    schema = _items(next(iter(tables.values())).slice(0, 0), "", bands).schema.with_metadata(keys)
    task.progress.start("export", geometry.length(), "items")
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for season, table in tables.items():
            for rows in task.batches(table):
                writer.write_table(_items(rows, season, bands).replace_schema_metadata(keys))
    task.progress.finish()
    return f"{geometry.length():,} items"


def _items(rows: pa.Table, season: str, bands: list[str]) -> pa.Table:
    num = rows.num_rows
    time = rows["s2_datetime"]
    other = rows["s1_datetime"] if "s1_datetime" in rows.column_names else time
    box = pa.array(list(zip(*(rows[edge].to_pylist() for edge in ("x_min", "y_min", "x_max", "y_max")), strict=True)))
    names = [record_name(tile, season) for tile in rows["tile_id"].to_pylist()]
    columns = {
        "type": _same("Feature", num),
        "stac_version": _same(STAC_VERSION, num),
        "stac_extensions": pa.array([_EXTENSIONS] * num, pa.list_(pa.string())),
        "id": pa.array(names, pa.string()),
        "geometry": rows["geometry"],
        "bbox": rows["bbox"],
        "links": pa.array([[]] * num, pa.list_(_LINK)),
        "assets": _assets(rows, bands),
        "datetime": time,
        "start_datetime": pc.if_else(pc.less(other, time), other, time),
        "end_datetime": pc.if_else(pc.less(other, time), time, other),
        "proj:code": rows["crs"],
        "proj:bbox": box.cast(pa.list_(pa.float64())),
        "eo:cloud_cover": rows["s2_cloud_cover"].cast(pa.float64()),
    }
    return pa.table(columns | {f"csmoe:{name}": rows[name] for name in _OWN if name in rows.column_names})


def _assets(rows: pa.Table, bands: list[str]) -> pa.Array:
    """A struct of assets by band; those that a scene does not have are null."""
    kind = pa.struct([(band, _ASSET) for band in bands])
    packed = [_texts(rows, sensor) for sensor in _sensors(rows)]
    found: list[dict[str, Any]] = []
    for row in zip(*packed, strict=True):
        addresses = [(SceneFiles(*files).unpack(), crs) for *files, crs in row if files[0] is not None]
        found.append({band: _asset(href, crs) for scene, crs in addresses for band, href in scene.items()})
    return pa.array(found, kind)


def _asset(href: str, crs: str | None) -> dict[str, Any]:
    path = Path(href.partition("#")[0])
    role = "metadata" if path.suffix not in _MEDIA else "data"
    return {"href": href, "type": _MEDIA.get(path.suffix), "roles": [role], "proj:code": crs}


def _bands(rows: pa.Table) -> set[str]:
    files = [rows[f"{sensor}_files"] for sensor in _sensors(rows)]
    texts = {text for column in files for text in column.unique().to_pylist() if text is not None}
    return {band for text in texts for band in json.loads(text)}


def _sensors(rows: pa.Table) -> list[str]:
    return [sensor for sensor in ("s2", "s1") if f"{sensor}_files" in rows.column_names]


def _texts(rows: pa.Table, sensor: str) -> list[tuple[Any, ...]]:
    names = [f"{sensor}_{name}" for name in ("href", "stem", "files", "crs")]
    return list(zip(*(rows[name].to_pylist() for name in names), strict=True))


def _same(text: str, num: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), num)

"""GeoJSON (RFC 7946): a feature a tile in longitude and latitude, footprints cut at the antimeridian."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from csmoe_sampler.exports.task import Task, flat_columns
from csmoe_sampler.footprints import Geometries
from csmoe_sampler.storage import atomic_path


def write(task: Task, out: Path) -> str:
    """Writes one file, a feature a line, in pieces."""
    task.progress.start("export", len(task.manifest), "tiles")
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        before = "\n"
        for rows in task.batches():
            for feature in _features(rows):
                file.write(before + feature)
                before = ",\n"
        file.write("\n]}\n")
    task.progress.finish()
    return f"{len(task.manifest):,} features"


def _features(rows: pa.Table) -> list[str]:
    shapes = shapely.from_wkb(rows["geometry"].to_numpy())
    boxes = bboxes(shapes)
    properties = flat_columns(rows).to_pylist()
    return [
        f'{{"type":"Feature","id":{_json(values["tile_id"])},"bbox":{_json(box)},"geometry":{shape},'
        f'"properties":{_json(values)}}}'
        for shape, box, values in zip(shapely.to_geojson(shapes), boxes, properties, strict=True)
    ]


def bboxes(shapes: Geometries) -> list[list[float]]:
    """West, south, east, north of footprints; over the antimeridian, west is greater than east."""
    boxes = shapely.bounds(shapes)
    for row in np.flatnonzero(shapely.get_num_geometries(shapes) > 1):
        parts = shapely.bounds(shapely.get_parts(shapes[row]))
        eastern = parts[:, 0] > 0
        boxes[row, 0], boxes[row, 2] = parts[eastern, 0].min(), parts[~eastern, 2].max()
    found: list[list[float]] = boxes.tolist()
    return found


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

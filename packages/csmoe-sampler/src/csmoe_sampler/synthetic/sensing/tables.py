"""Item tables of the scenes: STAC-GeoParquet as providers offer it beside their catalogues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely
from shapely.geometry import shape

from csmoe_sampler.storage import write_parquet

_TIMES = ("datetime", "start_datetime", "end_datetime")
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def write_item_table(path: Path, items: Sequence[Mapping[str, Any]]) -> None:
    """Write items of a collection, one row each, in the order given.

    Properties are columns, times are timestamps, the box and the assets are structs, the geometry is WKB. The hrefs of
    assets are relative to the folder of the table and begin with `./`; the standard knows no relative ones, and
    absolute ones would tie the table to a machine.

    Args:
        path: Beside the folder of the collection, which has the collection's name.
        items: At least one.

    Raises:
        StorageError: The disk is full, or the place is not writable.
    """
    table = pa.Table.from_pylist([_row(item) for item in items])
    polygons = [shape(item["geometry"]) for item in items]
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["Polygon"],
                "bbox": [float(edge) for edge in shapely.total_bounds(polygons)],
                "covering": {"bbox": {edge: ["bbox", edge] for edge in _EDGES}},
            }
        },
    }
    write_parquet(table, path, {"geo": geo, "stac-geoparquet": {"version": "1.0.0"}})


def _row(item: Mapping[str, Any]) -> dict[str, Any]:
    folder = item["collection"]
    properties = {
        name: datetime.fromisoformat(value) if name in _TIMES else value for name, value in item["properties"].items()
    }
    return {
        "type": item["type"],
        "stac_version": item["stac_version"],
        "stac_extensions": item["stac_extensions"],
        "id": item["id"],
        "links": item["links"],
        "assets": {
            name: asset | {"href": f"./{folder}/{asset['href'].removeprefix('../')}"}
            for name, asset in item["assets"].items()
        },
        "collection": folder,
        **properties,
        "bbox": dict(zip(_EDGES, item["bbox"], strict=True)),
        "geometry": shapely.to_wkb(shape(item["geometry"])),
    }
